//! `[log]`: the write-ahead log.

use serde::{Deserialize, Serialize};

use crate::units::{ByteSize, Span};

/// When a write counts as durable on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// After fsync.
    Fsync,
    /// After the write to the operating system; fsync follows every `log.sync_interval`.
    Memory,
}

/// How log records are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogCompression {
    /// As they are.
    None,
    /// Each by itself with zstd.
    Zstd,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Log {
    /// `fsync` or `memory`.
    pub durability: Durability,
    /// Time between fsyncs with `memory`.
    pub sync_interval: Span,
    /// `none` or `zstd`; what is on disk is read either way.
    pub compression: LogCompression,
    /// Size of a segment file.
    pub segment_bytes: ByteSize,
    /// Bytes waiting for the log before writes are answered 503.
    pub queue_bytes: ByteSize,
    /// Log kept for a replica that is away; beyond it the replica has to be rebuilt.
    pub retention_bytes: ByteSize,
    /// Log older than this is not kept for a replica that is away either.
    pub retention: Span,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            durability: Durability::Fsync,
            sync_interval: Span::from_secs(1),
            compression: LogCompression::None,
            segment_bytes: ByteSize(128 << 20),
            queue_bytes: ByteSize(64 << 20),
            retention_bytes: ByteSize(64 << 30),
            retention: Span::from_secs(72 * 3600),
        }
    }
}
