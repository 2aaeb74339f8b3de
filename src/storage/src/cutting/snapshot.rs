//! A snapshot for a peer: fresh checkpoints of all shards, the cut manifest and the blocks, as one moment.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use trireme_base::{Incarnation, StreamId};
use trireme_head::covered_by_all;
use trireme_wire::frame::Position;
use trireme_wire::rebuild::{Manifest, SnapshotFile};

use super::{Cutting, CuttingError};

/// File of a snapshot that names the streams that have ended, which no position of it does.
pub const ENDED: &str = "head/ended";

impl Cutting {
    /// Makes a snapshot for the replica with this incarnation.
    ///
    /// Nothing is cut meanwhile: checkpoints, cut manifest and blocks belong together. The positions in it are those up
    /// to which every shard has everything, as in any checkpoint.
    pub fn snapshot(&self, taker: Incarnation) -> Result<Arc<Manifest>, CuttingError> {
        self.ensure_replayed()?;
        let _maintenance = self.maintenance_lock.lock();
        self.snapshots.make(taker, |dir| self.fill(dir))
    }

    fn fill(&self, dir: &Path) -> Result<Manifest, CuttingError> {
        let mut manifest = Manifest {
            shards: self.shards.len() as u32,
            ..Manifest::default()
        };

        let mut positions = Vec::new();
        for shard in &self.shards {
            let report = self.checkpoint_of(shard)?;
            let options = shard.options();
            manifest.window_ms = options.window_ms;

            let place = format!("head/{:03}", options.number);
            for file in &report.files {
                let inside = file.strip_prefix(&options.dir).map_err(io::Error::other)?;
                link(
                    file,
                    dir,
                    &format!("{place}/{}", inside.display()),
                    &mut manifest.files,
                )?;
            }

            positions.push(report.positions);
        }

        self.link_cut_manifest(dir, &mut manifest.files)?;
        if self.store.log().store_ended(&dir.join(ENDED))? {
            let bytes = fs::metadata(dir.join(ENDED))?.len();
            manifest.files.push(SnapshotFile {
                path: ENDED.to_owned(),
                bytes,
            });
        }

        for block in self.local_blocks.blocks() {
            let place = format!("blocks/{}/{}", block.tenant, block.meta().ulid);
            link_all(&block.dir, dir, &place, &mut manifest.files)?;
        }

        manifest.lacks = self.store.parts().completeness.lacks_text();
        manifest.positions = covered_by_all(positions)
            .into_iter()
            .map(|(stream, seq): (StreamId, u64)| Position {
                incarnation: stream.incarnation.0,
                boot: stream.boot.0,
                seq,
            })
            .collect();

        Ok(manifest)
    }

    fn link_cut_manifest(
        &self,
        dir: &Path,
        files: &mut Vec<SnapshotFile>,
    ) -> Result<(), CuttingError> {
        if self.manifest.exists() {
            link(&self.manifest, dir, "head/cut", files)?;
        }
        Ok(())
    }
}

/// Links a file into the snapshot; only its present length belongs to it.
fn link(
    from: &Path,
    dir: &Path,
    path: &str,
    files: &mut Vec<SnapshotFile>,
) -> Result<(), CuttingError> {
    let to = dir.join(path);
    let failed = |error: io::Error| {
        io::Error::new(error.kind(), format!("link {}: {error}", from.display()))
    };

    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }

    fs::hard_link(from, &to).map_err(failed)?;
    let bytes = fs::metadata(&to).map_err(failed)?.len();
    files.push(SnapshotFile {
        path: path.to_owned(),
        bytes,
    });

    Ok(())
}

/// Links the files of a block.
fn link_all(
    from: &Path,
    dir: &Path,
    path: &str,
    files: &mut Vec<SnapshotFile>,
) -> Result<(), CuttingError> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name
            .to_str()
            .ok_or_else(|| io::Error::other("a block has a file with a strange name"))?;
        let inside = format!("{path}/{name}");
        if entry.file_type()?.is_dir() {
            link_all(&entry.path(), dir, &inside, files)?;
        } else {
            link(&entry.path(), dir, &inside, files)?;
        }
    }
    Ok(())
}
