//! The segment being written.

use std::io::IoSlice;
use std::path::{Path, PathBuf};

use trireme_wire::record::Record;

use crate::compress::{self, Packer};
use crate::disk::{self, Disk, DiskFile};
use crate::format::{BATCH_HEADER_BYTES, BatchHeader, SEGMENT_HEADER_BYTES, SegmentHeader, segment_name};
use crate::{LogError, summary::Summary};

/// One open segment file. Bytes behind `bytes` are nobody's.
pub(crate) struct Segment {
    pub number: u64,
    path: PathBuf,
    file: Box<dyn DiskFile>,
    pub bytes: u64,
    synced_to: u64,
    ordinal: u64,
    packer: Option<Packer>,
}

impl Segment {
    /// Makes a segment and its name durable.
    pub fn create(
        disk: &dyn Disk,
        dir: &Path,
        header: SegmentHeader,
        space_bytes: u64,
    ) -> Result<Self, LogError> {
        let path = dir.join(segment_name(header.number));
        let packer = header.packed.then(Packer::new).transpose();
        let packer = packer.map_err(|e| LogError::io("set up the compression of", &path, e))?;
        let mut file = disk.create(&path, space_bytes).map_err(|e| LogError::io("create", &path, e))?;
        let ready = file
            .write_all(&mut [IoSlice::new(&header.encode())])
            .and_then(|()| file.sync())
            .and_then(|()| disk::sync_dir(dir));
        if let Err(error) = ready {
            // The number will be tried again; a half-made file must not be in the way.
            let _ = std::fs::remove_file(&path);
            return Err(LogError::io("create", &path, error));
        }
        let bytes = SEGMENT_HEADER_BYTES as u64;
        Ok(Self { number: header.number, path, file, bytes, synced_to: bytes, ordinal: 0, packer })
    }

    /// Bytes that a batch of these records takes, at most.
    pub fn batch_bytes_max<'a>(&self, records: impl Iterator<Item = &'a Record>) -> u64 {
        let each = if self.packer.is_some() { compress::OVERHEAD_BYTES } else { 0 };
        (BATCH_HEADER_BYTES + records.map(|r| r.bytes().len() + each).sum::<usize>()) as u64
    }

    /// Writes records as one batch; answers the offset of the batch. On an error nothing of it counts.
    pub fn write<'a>(
        &mut self,
        records: impl ExactSizeIterator<Item = &'a Record> + Clone,
    ) -> Result<u64, LogError> {
        let count = records.len();
        let packed = self.packer.as_mut().map(|packer| packer.pack(records.clone()));
        let body_bytes = packed.map_or_else(|| records.clone().map(|r| r.bytes().len()).sum(), <[u8]>::len);
        let header = BatchHeader {
            body_bytes: u32::try_from(body_bytes).expect("BUG: batches are bounded far below 4 GiB"),
            ordinal: self.ordinal,
            synced_to: self.synced_to,
            records: count as u32,
            packed: packed.is_some(),
        }
        .encode();
        let mut buffers = Vec::with_capacity(count + 1);
        buffers.push(IoSlice::new(&header));
        match packed {
            Some(body) => buffers.push(IoSlice::new(body)),
            None => buffers.extend(records.map(|r| IoSlice::new(r.bytes()))),
        }
        if let Err(error) = self.file.write_all(&mut buffers) {
            let error = LogError::io("write", &self.path, error);
            self.file.rewind(self.bytes).map_err(|e| LogError::io("seek in", &self.path, e))?;
            return Err(error);
        }
        let offset = self.bytes;
        self.bytes += (BATCH_HEADER_BYTES + body_bytes) as u64;
        self.ordinal += 1;
        Ok(offset)
    }

    /// Makes everything written durable. After an error the segment must not be used any more.
    pub fn sync(&mut self) -> Result<(), LogError> {
        self.file.sync().map_err(|e| LogError::io("sync", &self.path, e))?;
        self.synced_to = self.bytes;
        Ok(())
    }

    /// Syncs, notes so in the file, gives back unused space and leaves the summary beside it.
    pub fn close(mut self, summary: &mut Summary) -> Result<(), LogError> {
        if self.bytes > self.synced_to {
            self.sync()?;
        }
        // An empty batch carries `synced_to`: what stands before it was durable, so damage to it is damage.
        // It is a help, not a duty: a full disk must not hinder closing.
        let _ = self.write(std::iter::empty::<&Record>());
        self.file.shrink(self.bytes).map_err(|e| LogError::io("truncate", &self.path, e))?;
        self.sync()?;
        summary.bytes = self.bytes;
        let sidecar = self.path.with_extension("idx");
        disk::replace(&sidecar, &summary.encode()).map_err(|e| LogError::io("write", &sidecar, e))
    }
}
