//! In-memory shards: series index, open chunks, windows, checkpoints.
