//! What can go wrong with the bucket.

use trireme_base::ErrorKind;
use trireme_block::BlockError;

/// Why something in the bucket could not be done.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// The store refused or failed; the client has tried again already.
    #[error("{place}: {source}")]
    Store {
        /// Object or operation.
        place: String,
        /// The failure.
        source: object_store::Error,
    },
    /// A local block or the content of an object is bad.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// The bucket holds another block under the same name.
    #[error("{place} in the bucket differs from ours: {what}")]
    Differs {
        /// Object.
        place: String,
        /// How.
        what: String,
    },
    /// The settings make no store.
    #[error("bucket settings: {0}")]
    Config(String),
}

impl BucketError {
    /// The kind that callers act on.
    pub fn kind(&self) -> ErrorKind {
        use object_store::Error as Store;
        match self {
            Self::Store { source, .. } => match source {
                Store::NotFound { .. } => ErrorKind::NotFound,
                Store::InvalidPath { .. }
                | Store::NotSupported { .. }
                | Store::UnknownConfigurationKey { .. } => ErrorKind::Invalid,
                _ => ErrorKind::Unavailable,
            },
            Self::Block(error) => error.kind(),
            Self::Differs { .. } => ErrorKind::Corrupt,
            Self::Config(_) => ErrorKind::Invalid,
        }
    }
}

/// Adds the object to an error of the store.
pub(crate) fn at(place: &impl ToString) -> impl FnOnce(object_store::Error) -> BucketError {
    let place = place.to_string();
    move |source| BucketError::Store { place, source }
}
