//! Sizes of data directories.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Bytes of files below a directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Size {
    /// Lengths of the files.
    pub length_bytes: u64,
    /// Space they take; differs for preallocated and sparse files.
    pub allocated_bytes: u64,
}

impl Size {
    fn add(&mut self, other: Size) {
        self.length_bytes += other.length_bytes;
        self.allocated_bytes += other.allocated_bytes;
    }
}

/// The size of each entry of each directory, summed under its name; entries called like a ULID are `blocks`.
/// Files that vanish while we look are left out.
pub fn sizes(directories: &[std::path::PathBuf]) -> BTreeMap<String, Size> {
    let mut parts: BTreeMap<String, Size> = BTreeMap::new();
    for directory in directories {
        let Ok(entries) = std::fs::read_dir(directory) else {
            continue;
        };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let part = if is_ulid(&name) {
                "blocks".to_string()
            } else {
                name
            };
            parts.entry(part).or_default().add(size(&entry.path()));
        }
    }

    parts
}

fn is_ulid(name: &str) -> bool {
    name.len() == 26
        && name
            .bytes()
            .all(|b| b.is_ascii_digit() || b.is_ascii_uppercase())
}

fn size(path: &Path) -> Size {
    let Ok(meta) = std::fs::symlink_metadata(path) else {
        return Size::default();
    };

    if !meta.is_dir() {
        return Size {
            length_bytes: meta.len(),
            allocated_bytes: meta.blocks() * 512,
        };
    }

    let mut sum = Size::default();
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        sum.add(size(&entry.path()));
    }

    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_parts_and_takes_ulids_together() {
        let dir = tempfile::tempdir().expect("temporary directory");
        for (path, bytes) in [
            ("wal/0", 10),
            ("01HZXYABCDEFGHJKMNPQRSTVWX/index", 7),
            ("01HZXYABCDEFGHJKMNPQRSTVWY/a/b", 5),
        ] {
            let file = dir.path().join(path);
            std::fs::create_dir_all(file.parent().expect("has a parent")).expect("made");
            std::fs::write(file, vec![1; bytes]).expect("written");
        }

        let parts = sizes(&[dir.path().to_path_buf(), dir.path().join("missing")]);
        let lengths: Vec<_> = parts
            .iter()
            .map(|(name, size)| (name.as_str(), size.length_bytes))
            .collect();

        assert_eq!(lengths, [("blocks", 12), ("wal", 10)]);
    }
}
