//! Long-term blocks in an object store, in Thanos's layout.
//!
//! ```text
//! <prefix>/<ULID>/chunks/000001 ...   <prefix>/<ULID>/index   <prefix>/<ULID>/meta.json (last: the block exists)
//! ```
//!
//! All tenants share one name space; a block's tenant is an external label in its `meta.json`. [`publish`] uploads a
//! local block, [`MetaCache`] knows which blocks there are, [`BucketReader`] opens one to be queried in place.
//! Store clients are those of the `object_store` crate; [`BucketConfig::open`] builds one.

mod cache;
mod check;
mod conditional;
mod config;
mod delete;
mod error;
mod fetch;
mod file;
mod header;
mod layout;
mod list;
mod publish;
mod reader;
mod reading;
mod remote;
mod scan;
mod turn;
mod wishes;

pub use cache::{CacheStats, PageCache};
pub use check::StoreCheck;
pub use conditional::ConditionalPut;
pub use config::{BucketConfig, BucketKind, install_crypto_provider};
pub use delete::{
    delete_block, mark_for_deletion, mark_no_compact, mark_no_downsample, unmark_deletion,
};
pub use error::BucketError;
pub use fetch::{block_files, read_part};
pub use list::{
    BucketBlock, Listing, MetaCache, Refreshed, fetch_deletion_mark, fetch_meta, list_blocks,
};
pub use publish::{CopyState, HashedBlock, Published, check_holder, compare, publish, verify_copy};
pub use reader::{BucketReader, ReaderOptions};
pub use reading::{LeftOut, ReadBlock, ReadRules, covered};
pub use turn::{rank, ranking};
pub use wishes::{Wishes, attempt, lacking_bytes};
