//! The segment being written.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};

use trireme_base::durable;
use trireme_wire::record::Record;

use crate::compress::{self, Packer};
use crate::disk::{Disk, DiskFile};
use crate::format::{
    BATCH_HEADER_BYTES, BatchHeader, Layout, SEGMENT_HEADER_BYTES, SegmentHeader, segment_name,
};
use crate::{LogError, summary::Summary};

/// One open segment file. Bytes behind `bytes` are nobody's.
pub(crate) struct Segment {
    pub number: u64,
    path: PathBuf,
    file: Box<dyn DiskFile>,
    layout: Layout,
    pub bytes: u64,
    /// Up to here a sync has said that it is durable.
    pub synced_to: u64,
    ordinal: u64,
    packer: Option<Packer>,
}

/// What a segment is made of.
pub(crate) struct NewSegment<'a> {
    pub dir: &'a Path,
    pub header: SegmentHeader,
    /// Room set aside for it.
    pub space_bytes: u64,
    pub compress: bool,
    /// Records that a failed sync, or the end of an earlier process, has left in doubt. They are in the segment, durable,
    /// before it has its name.
    pub again: &'a [Record],
    pub batch_bytes_max: usize,
}

impl Segment {
    /// Makes a segment, with what it has to begin with, and then its name durable. Answers with it the first record and
    /// the offset of each batch of `again`.
    ///
    /// After an error there is no segment, and it can be tried again: what was to be in it is still with the caller.
    pub fn create(
        disk: &dyn Disk,
        new: &NewSegment<'_>,
    ) -> Result<(Self, Vec<(usize, u64)>), LogError> {
        let path = new.dir.join(segment_name(new.header.number));
        let unnamed = path.with_extension("tmp");
        let packer = new.compress.then(Packer::new).transpose();
        let packer = packer.map_err(|e| LogError::io("set up the compression of", &path, e))?;

        // An attempt that could not remove what it left behind.
        let _ = std::fs::remove_file(&unnamed);
        let file = disk
            .create(&unnamed, new.space_bytes)
            .map_err(|e| LogError::io("create", &path, e))?;
        let mut segment = Self {
            number: new.header.number,
            path,
            file,
            layout: new.header.layout(),
            bytes: 0,
            synced_to: SEGMENT_HEADER_BYTES as u64,
            ordinal: 0,
            packer,
        };

        let filled = segment.fill(new, &unnamed);
        if filled.is_err() {
            segment.remove(&unnamed);
        }

        filled.map(|places| (segment, places))
    }

    /// Removes what an attempt left behind.
    fn remove(&self, unnamed: &Path) {
        let _ = std::fs::remove_file(unnamed);
        // It may have got its name before that could be made durable.
        let _ = std::fs::remove_file(&self.path);
    }

    fn fill(
        &mut self,
        new: &NewSegment<'_>,
        unnamed: &Path,
    ) -> Result<Vec<(usize, u64)>, LogError> {
        let header = self
            .file
            .write_all(&mut [IoSlice::new(&new.header.encode())]);

        header.map_err(|e| LogError::io("write", &self.path, e))?;
        self.bytes = SEGMENT_HEADER_BYTES as u64;

        let places = self.write_again(new)?;

        self.file
            .sync()
            .map_err(|e| LogError::io("sync", &self.path, e))?;
        self.synced_to = self.bytes;
        self.file
            .publish(unnamed, &self.path)
            .map_err(|e| LogError::io("name", &self.path, e))?;

        Ok(places)
    }

    /// Writes the records that are logged again; answers the first of each batch, and where the batch is.
    fn write_again(&mut self, new: &NewSegment<'_>) -> Result<Vec<(usize, u64)>, LogError> {
        let mut places = Vec::new();

        let mut from = 0;
        while from < new.again.len() {
            let mut bytes = 0;
            let count = new.again[from..]
                .iter()
                .take_while(|record: &&Record| {
                    bytes += record.bytes().len();
                    bytes <= new.batch_bytes_max
                })
                .count()
                .max(1);
            let offset = self.write(new.again[from..from + count].iter())?;
            places.push((from, offset));
            from += count;
        }

        Ok(places)
    }

    /// Bytes that a batch of these records takes, at most.
    pub fn batch_bytes_max<'a>(&self, records: impl Iterator<Item = &'a Record>) -> u64 {
        let each = if self.packer.is_some() {
            compress::OVERHEAD_BYTES
        } else {
            0
        };
        (BATCH_HEADER_BYTES + records.map(|r| r.bytes().len() + each).sum::<usize>()) as u64
    }

    /// Writes records as one batch; answers the offset of the batch. On an error nothing of it counts.
    pub fn write<'a>(
        &mut self,
        records: impl ExactSizeIterator<Item = &'a Record> + Clone,
    ) -> Result<u64, LogError> {
        let count = records.len();
        let packed = self
            .packer
            .as_mut()
            .map(|packer| packer.pack(records.clone()));
        let body_bytes = packed.map_or_else(
            || records.clone().map(|r| r.bytes().len()).sum(),
            <[u8]>::len,
        );
        let header = BatchHeader {
            body_bytes: u32::try_from(body_bytes)
                .expect("BUG: batches are bounded far below 4 GiB"),
            ordinal: self.ordinal,
            synced_to: self.synced_to,
            records: count as u32,
            packed: packed.is_some(),
        }
        .encode(self.layout, self.bytes);

        let mut buffers = Vec::with_capacity(count + 1);
        buffers.push(IoSlice::new(&header));

        match packed {
            Some(body) => buffers.push(IoSlice::new(body)),
            None => buffers.extend(records.map(|r| IoSlice::new(r.bytes()))),
        }

        if let Err(error) = self.file.write_all(&mut buffers) {
            let error = LogError::io("write", &self.path, error);
            self.file
                .rewind(self.bytes)
                .map_err(|e| LogError::io("seek in", &self.path, e))?;
            return Err(error);
        }

        let offset = self.bytes;
        self.bytes += (BATCH_HEADER_BYTES + body_bytes) as u64;
        self.ordinal += 1;

        Ok(offset)
    }

    /// Makes everything written durable. After an error, of whatever kind, the segment must not be used any more: the
    /// system may have dropped what it could not write, and call the next sync a success.
    pub fn sync(&mut self) -> Result<(), LogError> {
        self.file
            .sync()
            .map_err(|e| LogError::io("sync", &self.path, e))?;
        self.synced_to = self.bytes;
        Ok(())
    }

    /// Ends a segment of which everything is synced: notes so in the file, gives back unused space and leaves the summary
    /// beside it. Answers up to where it is durable.
    ///
    /// All of that is a help, not a duty, so nothing of it can fail: a start reads a segment that was not closed.
    pub fn close(mut self, summary: &mut Summary) -> u64 {
        let durable = self.synced_to;
        if self.end().is_err() {
            return durable;
        }
        summary.bytes = self.bytes;
        let _ = durable::replace(&self.path.with_extension("idx"), &summary.encode());
        self.bytes
    }

    /// An empty batch carries `synced_to`: what stands before it was durable, so damage to it is damage.
    fn end(&mut self) -> io::Result<()> {
        self.write(std::iter::empty::<&Record>())
            .map_err(io::Error::other)?;
        self.file.shrink(self.bytes)?;
        self.file.sync()
    }
}
