//! Reading chunk files.

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use trireme_chunk::Encoding;

use super::{CHUNKS_DIR, HEADER, MAGIC, segment_name};
use crate::codec::{Cursor, Malformed, checked};
use crate::error::{at, io_at};
use crate::pages::Window;
use crate::{BlockError, LocalFile, RangeRead};

/// The most bytes of a length before a chunk.
const LENGTH_BYTES: usize = 5;

/// The chunk files of a block.
pub struct ChunkReader {
    segments: Vec<Arc<dyn RangeRead>>,
}

/// Where a chunk lies: file, first byte and the byte behind its checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Extent {
    pub(crate) segment: usize,
    pub(crate) start: u64,
    pub(crate) end: u64,
}

impl ChunkReader {
    /// Takes the files in order and checks their headers.
    pub fn open(segments: Vec<Arc<dyn RangeRead>>) -> Result<Self, BlockError> {
        for (number, file) in segments.iter().enumerate() {
            let place = place(number);
            let header = file.read_at(0, HEADER.len()).map_err(io_at(&place))?;

            let mut c = Cursor::new(&header);
            if c.u32() != Ok(MAGIC) {
                return Err(BlockError::corrupt(
                    place,
                    "does not begin with the magic number of a chunk file",
                ));
            }

            match c.u8().map_err(|e| e.at(&*place))? {
                1 => {}
                version => {
                    return Err(BlockError::Unsupported {
                        place,
                        what: format!("chunk file version {version}"),
                    });
                }
            }
        }
        Ok(Self::unchecked(segments))
    }

    /// Takes the files in order, each of which is far away: that its header is right shows when its chunks are read, each
    /// with a checksum of its own.
    pub fn unchecked(segments: Vec<Arc<dyn RangeRead>>) -> Self {
        Self { segments }
    }

    /// Opens the files in the `chunks` directory of a block.
    pub fn open_dir(block: &Path) -> Result<Self, BlockError> {
        let dir = block.join(CHUNKS_DIR);

        let mut count = 0;
        for entry in std::fs::read_dir(&dir).map_err(at(&dir))? {
            let name = entry.map_err(at(&dir))?.file_name();
            let is_segment = name
                .to_str()
                .is_some_and(|n| n.len() == 6 && n.bytes().all(|b| b.is_ascii_digit()));
            count += usize::from(is_segment);
        }

        let mut segments: Vec<Arc<dyn RangeRead>> = Vec::with_capacity(count);
        for number in 0..count {
            let path = dir.join(segment_name(number));
            segments.push(Arc::new(LocalFile::open(&path).map_err(at(&path))?));
        }

        Self::open(segments)
    }

    /// Number of files.
    pub fn segment_count(&self) -> usize {
        self.segments.len()
    }

    /// A file by its number from 0.
    pub(crate) fn segment(&self, number: usize) -> &dyn RangeRead {
        &*self.segments[number]
    }

    /// Reads a chunk and checks its checksum. For many of them use `ChunkReader::reader`.
    pub fn read(&self, reference: u64) -> Result<(Encoding, Bytes), BlockError> {
        self.reader()
            .read(reference)
            .map(|(encoding, data, _)| (encoding, data))
    }

    /// Says that chunks of a series will be read, each at most `bytes_max` long; gives their bytes, at most, or 0 if the
    /// files are near.
    pub(crate) fn want(&self, references: impl Iterator<Item = u64>, bytes_max: u64) -> u64 {
        let mut references = references.peekable();

        let mut bytes = 0;
        while let Some(reference) = references.next() {
            let (number, start) = place_of(reference);
            let Some(file) = self.segments.get(number).filter(|file| file.is_far()) else {
                continue;
            };

            let next = references
                .peek()
                .map(|next| place_of(*next))
                .filter(|(segment, _)| *segment == number);
            let end = next
                .map(|(_, next)| next)
                .filter(|next| *next > start && *next - start <= bytes_max);
            let end = end
                .unwrap_or_else(|| start.saturating_add(bytes_max))
                .min(file.len());

            file.want(start..end);
            bytes += end.saturating_sub(start);
        }

        bytes
    }

    /// Reads chunks one after the other.
    pub(crate) fn reader(&self) -> ChunkPass<'_> {
        ChunkPass {
            chunks: self,
            window: None,
        }
    }
}

/// One pass over chunks; cheapest in the order in which they lie.
pub(crate) struct ChunkPass<'a> {
    chunks: &'a ChunkReader,
    window: Option<(usize, Window<'a>)>,
}

impl<'a> ChunkPass<'a> {
    /// Chunks of a series lie together: all from the first to the last of them are read at once.
    pub(crate) fn expect(&mut self, references: RangeInclusive<u64>) {
        let first = *references.start();
        let last = *references.end();
        let (segment, start) = place_of(first);

        let bytes = place_of(last).1.saturating_sub(start);
        if place_of(last).0 == segment
            && let Some(window) = self.window(segment)
        {
            window.expect(bytes);
        }
    }

    fn window(&mut self, segment: usize) -> Option<&mut Window<'a>> {
        if self
            .window
            .as_ref()
            .is_none_or(|(known, _)| *known != segment)
        {
            let file = self.chunks.segments.get(segment)?;
            self.window = Some((segment, Window::new(&**file)));
        }
        self.window.as_mut().map(|(_, window)| window)
    }

    /// A chunk and where it lies.
    pub(crate) fn read(&mut self, reference: u64) -> Result<(Encoding, Bytes, Extent), BlockError> {
        let (encoding, data, extent) = self.read_any(reference)?;
        let encoding = Encoding::try_from(encoding).map_err(|e| BlockError::Unsupported {
            place: chunk_place(reference),
            what: e.to_string(),
        })?;
        Ok((encoding, data, extent))
    }

    /// A chunk of any encoding, with the byte that says which, and where it lies.
    pub(crate) fn read_any(&mut self, reference: u64) -> Result<(u8, Bytes, Extent), BlockError> {
        let (segment, start) = place_of(reference);
        let file_len = self.chunks.segments.get(segment).map(|file| file.len());
        let (Some(file_len), Some(window)) = (file_len, self.window(segment)) else {
            return Err(Malformed("is in a file that does not exist").at(chunk_place(reference)));
        };

        let rest = file_len.saturating_sub(start) as usize;
        let head = window
            .get(start, LENGTH_BYTES.min(rest))
            .map_err(|e| io_at(&chunk_place(reference))(e))?;
        let mut c = Cursor::new(&head);
        let len = framed_length(&mut c, rest).map_err(|e| e.at(chunk_place(reference)))?;

        let first = start + c.position() as u64;
        let region = window
            .get(first, len)
            .map_err(|e| io_at(&chunk_place(reference))(e))?;
        let content = checked(&region)
            .map_err(|e| e.at(chunk_place(reference)))?
            .len();

        Ok((
            region[0],
            region.slice(1..content),
            Extent {
                segment,
                start,
                end: first + len as u64,
            },
        ))
    }
}

/// How many bytes follow the length of a chunk: its encoding, its data and its checksum. No more than `rest`.
fn framed_length(c: &mut Cursor<'_>, rest: usize) -> Result<usize, Malformed> {
    usize::try_from(c.uvarint()?)
        .ok()
        .and_then(|len| len.checked_add(5))
        .filter(|len| *len <= rest)
        .ok_or(Malformed("is longer than its file"))
}

/// Number of the file and offset in it.
fn place_of(reference: u64) -> (usize, u64) {
    ((reference >> 32) as usize, reference & u64::from(u32::MAX))
}

/// Name of a chunk file inside its block.
fn place(segment: usize) -> String {
    format!("{CHUNKS_DIR}/{}", segment_name(segment))
}

/// Name of a chunk for error messages.
pub(crate) fn chunk_place(reference: u64) -> String {
    let segment = (reference >> 32) as usize;
    format!(
        "{}: chunk at {}",
        place(segment),
        reference & u64::from(u32::MAX)
    )
}
