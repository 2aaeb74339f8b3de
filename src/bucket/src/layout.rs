//! Names of objects.

use object_store::path::Path;
use trireme_block::META_FILE;
use ulid::Ulid;

/// An object of a block; `rel` may have slashes.
pub(crate) fn object(ulid: Ulid, rel: &str) -> Path {
    Path::from(format!("{ulid}/{rel}"))
}

/// The object whose presence makes the block exist.
pub(crate) fn meta(ulid: Ulid) -> Path {
    object(ulid, META_FILE)
}

/// Says that a block is to be deleted.
pub(crate) const DELETION_MARK: &str = "deletion-mark.json";
/// Says that a block is not to be compacted.
pub(crate) const NO_COMPACT_MARK: &str = "no-compact-mark.json";
pub(crate) const NO_DOWNSAMPLE_MARK: &str = "no-downsample-mark.json";

/// The block that a path or a common prefix belongs to.
pub(crate) fn ulid_of(path: &Path) -> Option<Ulid> {
    let first = path.parts().next()?;
    let name = first.as_ref();
    (name.len() == 26).then(|| Ulid::from_string(name).ok())?
}
