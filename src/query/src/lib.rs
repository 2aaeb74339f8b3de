//! `Select` over head, blocks, bucket and peers; shards, merge, HA dedup.
