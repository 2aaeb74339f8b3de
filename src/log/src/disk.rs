//! The few file operations on segments, behind a trait so that tests can fill the disk, fail a sync and spoil sectors.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use trireme_base::durable;

/// Makes and opens files of segments.
pub trait Disk: Send + Sync + 'static {
    /// Creates a file that must not exist, with `bytes` of space set aside.
    fn create(&self, path: &Path, bytes: u64) -> io::Result<Box<dyn DiskFile>>;

    /// Opens a file for reading.
    fn open(&self, path: &Path) -> io::Result<Box<dyn ReadFile>> {
        Ok(Box::new(File::open(path)?))
    }
}

/// A segment being written, always at its end.
pub trait DiskFile: Send {
    /// Writes all buffers at the current place.
    fn write_all(&mut self, buffers: &mut [IoSlice<'_>]) -> io::Result<()>;

    /// Goes to `offset`; used to forget a batch that was not written whole.
    fn rewind(&mut self, offset: u64) -> io::Result<()>;

    /// Makes what was written durable.
    fn sync(&mut self) -> io::Result<()>;

    /// Gives back the space behind `bytes`.
    fn shrink(&mut self, bytes: u64) -> io::Result<()>;

    /// Gives the file, which was created as `from`, its name, durably.
    fn publish(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)?;
        durable::sync_dir(to.parent().unwrap_or(Path::new(".")))
    }
}

/// A segment being read.
pub trait ReadFile: Send {
    /// Its length in bytes.
    fn bytes(&self) -> io::Result<u64>;

    /// Fills `buffer` with what stands at `offset`.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

/// The file system.
#[derive(Debug, Default, Clone, Copy)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create(&self, path: &Path, bytes: u64) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes) {
            Ok(()) => {}
            // Without the call the file grows as it is written: slower syncs, nothing else.
            Err(
                rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS | rustix::io::Errno::INVAL,
            ) => {}
            Err(error) => {
                drop(file);
                let _ = std::fs::remove_file(path);
                return Err(error.into());
            }
        }

        Ok(Box::new(file))
    }
}

impl DiskFile for File {
    fn write_all(&mut self, mut buffers: &mut [IoSlice<'_>]) -> io::Result<()> {
        while !buffers.is_empty() {
            match self.write_vectored(&buffers[..buffers.len().min(1024)]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => IoSlice::advance_slices(&mut buffers, n),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn rewind(&mut self, offset: u64) -> io::Result<()> {
        io::Seek::seek(self, io::SeekFrom::Start(offset)).map(|_| ())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn shrink(&mut self, bytes: u64) -> io::Result<()> {
        self.set_len(bytes)
    }
}

impl ReadFile for File {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, buffer, offset)
    }
}
