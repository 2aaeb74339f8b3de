//! Reading around sectors that the disk cannot read.

use std::io;
use std::ops::Range;

use trireme_base::is_unreadable;

use crate::disk::ReadFile;

/// What is read at once where something cannot be read. Disks lose sectors, file systems read pages.
const PAGE_BYTES: u64 = 4096;

/// A file whose unreadable pages read as zeros, so that the checks of what they hold find them damaged.
pub(crate) struct Salvage {
    file: Box<dyn ReadFile>,
    pub bytes: u64,
    /// Pages that could not be read.
    lost: Vec<Range<u64>>,
}

impl Salvage {
    pub fn new(file: Box<dyn ReadFile>) -> io::Result<Self> {
        let bytes = file.bytes()?;
        Ok(Self {
            file,
            bytes,
            lost: Vec::new(),
        })
    }

    /// Fills `buffer` with what stands at `offset`.
    pub fn read(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        match self.file.read_exact_at(buffer, offset) {
            Err(error) if is_unreadable(&error) => self.read_pages(buffer, offset),
            other => other,
        }
    }

    fn read_pages(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset + buffer.len() as u64;

        let mut at = offset;
        while at < end {
            let next = ((at / PAGE_BYTES + 1) * PAGE_BYTES).min(end);
            let part = &mut buffer[(at - offset) as usize..(next - offset) as usize];
            match self.file.read_exact_at(part, at) {
                Err(error) if is_unreadable(&error) => {
                    part.fill(0);
                    self.note(at..next);
                }
                other => other?,
            }
            at = next;
        }

        Ok(())
    }

    fn note(&mut self, lost: Range<u64>) {
        if !self.has_lost(&lost) {
            self.lost.push(lost);
        }
    }

    /// True if a part of the range could not be read.
    pub fn has_lost(&self, range: &Range<u64>) -> bool {
        self.lost
            .iter()
            .any(|lost| lost.start < range.end && range.start < lost.end)
    }
}
