//! What a replica asks another about its blocks, in protobuf. Fields are only added; zero means absent.
//!
//! ```text
//!  asks                           answers
//!    List after a block ────────▶
//!    ◀────────────────── Listing   (a page of its blocks; a block's name follows from what is in it)
//!    Files of a block ──────────▶
//!    ◀───────────────── FileList
//!    Fetch file, offset ────────▶
//!    ◀──────── rebuild::Piece      (CRC32C of its bytes)
//! ```

use prost::{Message, Oneof};

use crate::rebuild::SnapshotFile;

/// A question.
#[derive(Clone, PartialEq, Message)]
pub struct Request {
    /// Which.
    #[prost(oneof = "Question", tags = "1, 2, 3")]
    pub question: Option<Question>,
}

/// The questions.
#[derive(Clone, PartialEq, Oneof)]
pub enum Question {
    /// Which blocks are there; answered with a [`Listing`].
    #[prost(message, tag = "1")]
    List(List),
    /// Which files a block has; answered with a [`FileList`].
    #[prost(message, tag = "2")]
    Files(BlockName),
    /// Bytes of a file; answered with a [`crate::rebuild::Piece`].
    #[prost(message, tag = "3")]
    Fetch(Fetch),
}

/// A block.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct BlockName {
    /// Its tenant.
    #[prost(string, tag = "1")]
    pub tenant: String,
    /// Its ULID as text.
    #[prost(string, tag = "2")]
    pub ulid: String,
}

/// Asks for blocks, ordered by tenant and ULID.
#[derive(Clone, PartialEq, Message)]
pub struct List {
    /// Only those behind this one; absent for the first page.
    #[prost(message, optional, tag = "1")]
    pub after: Option<BlockName>,
}

/// A page of blocks.
#[derive(Clone, PartialEq, Message)]
pub struct Listing {
    /// The blocks.
    #[prost(message, repeated, tag = "1")]
    pub blocks: Vec<ListedBlock>,
    /// There are more behind the last one.
    #[prost(bool, tag = "2")]
    pub more: bool,
    /// The last cut of windows that was made there; absent if none was. What is listed comes from it and earlier ones.
    #[prost(int64, optional, tag = "3")]
    pub cut: Option<i64>,
}

/// A block in a list.
#[derive(Clone, PartialEq, Message)]
pub struct ListedBlock {
    /// Which.
    #[prost(message, optional, tag = "1")]
    pub name: Option<BlockName>,
    /// Start of its window (ms, inclusive).
    #[prost(int64, tag = "2")]
    pub start_ms: i64,
    /// End of its window (ms, exclusive).
    #[prost(int64, tag = "3")]
    pub end_ms: i64,
    /// Bytes of its files.
    #[prost(uint64, tag = "4")]
    pub bytes: u64,
}

/// Files of a block.
#[derive(Clone, PartialEq, Message)]
pub struct FileList {
    /// Paths inside the block, with `/`, and lengths.
    #[prost(message, repeated, tag = "1")]
    pub files: Vec<SnapshotFile>,
}

/// Asks for bytes of a file of a block.
#[derive(Clone, PartialEq, Message)]
pub struct Fetch {
    /// The block.
    #[prost(message, optional, tag = "1")]
    pub name: Option<BlockName>,
    /// Path inside the block.
    #[prost(string, tag = "2")]
    pub path: String,
    /// First byte.
    #[prost(uint64, tag = "3")]
    pub offset: u64,
    /// Most bytes of the answer.
    #[prost(uint32, tag = "4")]
    pub bytes_max: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_that_never_cut_says_so() {
        let none = Listing::default();
        let zero = Listing {
            cut: Some(0),
            ..Listing::default()
        };

        for listing in [none, zero] {
            assert_eq!(
                Listing::decode(listing.encode_to_vec().as_slice()),
                Ok(listing)
            );
        }
    }
}
