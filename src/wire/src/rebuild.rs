//! What a replica that is being rebuilt asks a peer, in protobuf. Fields are only added; zero means absent.
//!
//! ```text
//!  rebuilt                      source
//!    Begin ────────────────────▶  checkpoints, cut manifest and blocks are linked into a snapshot
//!    ◀──────────────── Manifest
//!    Fetch file, offset ───────▶
//!    ◀─────────────────── Piece   (CRC32C of its bytes)
//!    Sum file ─────────────────▶
//!    ◀──────────────── Checksum   (CRC32C of the whole file)
//! ```

use prost::{Message, Oneof};

use crate::frame::Position;

/// A question to the source.
#[derive(Clone, PartialEq, Message)]
pub struct Request {
    /// Which.
    #[prost(oneof = "Question", tags = "1, 2, 3")]
    pub question: Option<Question>,
}

/// The questions.
#[derive(Clone, PartialEq, Oneof)]
pub enum Question {
    /// Make a snapshot; answered with a [`Manifest`]. The one made before for the same replica is let go.
    #[prost(message, tag = "1")]
    Begin(Begin),
    /// Bytes of a file; answered with a [`Piece`].
    #[prost(message, tag = "2")]
    Fetch(Fetch),
    /// Checksum of a file; answered with a [`Checksum`].
    #[prost(message, tag = "3")]
    Sum(Sum),
}

/// Asks for a snapshot.
#[derive(Clone, PartialEq, Message)]
pub struct Begin {}

/// Asks for bytes of a file of a snapshot.
#[derive(Clone, PartialEq, Message)]
pub struct Fetch {
    /// The snapshot.
    #[prost(fixed64, tag = "1")]
    pub snapshot: u64,
    /// Number of the file in the manifest.
    #[prost(uint32, tag = "2")]
    pub file: u32,
    /// First byte.
    #[prost(uint64, tag = "3")]
    pub offset: u64,
    /// Most bytes of the answer.
    #[prost(uint32, tag = "4")]
    pub bytes_max: u32,
}

/// Asks for the checksum of a file of a snapshot.
#[derive(Clone, PartialEq, Message)]
pub struct Sum {
    /// The snapshot.
    #[prost(fixed64, tag = "1")]
    pub snapshot: u64,
    /// Number of the file in the manifest.
    #[prost(uint32, tag = "2")]
    pub file: u32,
}

/// A file of a snapshot.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct SnapshotFile {
    /// Where it belongs, below the data directory, with `/`.
    #[prost(string, tag = "1")]
    pub path: String,
    /// Its length.
    #[prost(uint64, tag = "2")]
    pub bytes: u64,
}

/// What a snapshot holds.
#[derive(Clone, PartialEq, Message)]
pub struct Manifest {
    /// Its number, unique at the source.
    #[prost(fixed64, tag = "1")]
    pub snapshot: u64,
    /// Length of a window (ms).
    #[prost(int64, tag = "2")]
    pub window_ms: i64,
    /// Shards.
    #[prost(uint32, tag = "3")]
    pub shards: u32,
    /// Its files.
    #[prost(message, repeated, tag = "4")]
    pub files: Vec<SnapshotFile>,
    /// Per stream the seq up to which everything is in it.
    #[prost(message, repeated, tag = "5")]
    pub positions: Vec<Position>,
    /// What is known to be missing at the source, as its own note of that says; empty if nothing is.
    #[prost(string, tag = "6")]
    pub lacks: String,
}

/// Bytes of a file.
#[derive(Clone, PartialEq, Message)]
pub struct Piece {
    /// CRC32C of `data`.
    #[prost(fixed32, tag = "1")]
    pub crc32c: u32,
    /// The bytes; fewer than asked for only at the end of the file.
    #[prost(bytes = "bytes", tag = "2")]
    pub data: bytes::Bytes,
}

/// Checksum of a file.
#[derive(Clone, PartialEq, Message)]
pub struct Checksum {
    /// CRC32C of its bytes.
    #[prost(fixed32, tag = "1")]
    pub crc32c: u32,
}

impl Piece {
    /// A piece with its checksum.
    pub fn of(data: bytes::Bytes) -> Self {
        Self {
            crc32c: crc32c::crc32c(&data),
            data,
        }
    }

    /// True if the bytes are those that were sent.
    pub fn is_whole(&self) -> bool {
        crc32c::crc32c(&self.data) == self.crc32c
    }
}

impl Manifest {
    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// The first path that does not lie inside a head or a block, if there is one: a source cannot write elsewhere.
    pub fn stray_path(&self) -> Option<&str> {
        self.files
            .iter()
            .map(|file| file.path.as_str())
            .find(|path| !is_inside(path))
    }
}

fn is_inside(path: &str) -> bool {
    let mut parts = path.split('/');
    let first = parts.next().unwrap_or_default();
    let rest: Vec<&str> = parts.collect();

    matches!(first, "head" | "blocks")
        && !rest.is_empty()
        && rest.iter().all(|part: &&str| {
            !part.is_empty() && *part != "." && *part != ".." && !part.contains(['\\', '\0'])
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_paths_outside_head_and_blocks() {
        let manifest = |path: &str| Manifest {
            files: vec![SnapshotFile {
                path: path.to_owned(),
                bytes: 1,
            }],
            ..Manifest::default()
        };

        for good in [
            "head/cut",
            "head/000/chunks/00000001.chunks",
            "blocks/a/01ARZ3NDEKTSV4RRFFQ69G5FAV/index",
        ] {
            assert_eq!(manifest(good).stray_path(), None, "{good}");
        }

        for bad in [
            "",
            "/etc/passwd",
            "head",
            "head/",
            "head/../identity.toml",
            "log/base",
            "blocks//x",
            "head/./x",
        ] {
            assert_eq!(manifest(bad).stray_path(), Some(bad));
        }
    }

    #[test]
    fn a_piece_knows_its_bytes() {
        let mut piece = Piece::of(bytes::Bytes::from_static(b"abc"));
        assert!(piece.is_whole());
        piece.data = bytes::Bytes::from_static(b"abd");
        assert!(!piece.is_whole());
    }
}
