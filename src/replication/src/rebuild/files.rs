//! The files of a snapshot and how much of each is here.

use trireme_base::NodeName;
use trireme_wire::rebuild::Manifest;

use super::Action;

/// What is here of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Have {
    /// All of it, compared and durable.
    Whole,
    /// The first bytes, not compared.
    Part(u64),
}

#[derive(Debug)]
pub(super) struct Files {
    manifest: Manifest,
    have: Vec<Have>,
    /// Files before this one are whole.
    at: usize,
}

impl Files {
    pub(super) fn new(manifest: Manifest, have: impl Fn(&str, u64) -> Have) -> Self {
        let have = manifest
            .files
            .iter()
            .map(|file| match have(&file.path, file.bytes) {
                Have::Part(bytes) if bytes > file.bytes => Have::Part(0),
                other => other,
            });

        let have = have.collect();
        Self {
            manifest,
            have,
            at: 0,
        }
    }

    pub(super) fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    pub(super) fn is_done(&self) -> bool {
        self.have.iter().all(|have| *have == Have::Whole)
    }

    pub(super) fn bytes_total(&self) -> u64 {
        self.manifest.bytes()
    }

    pub(super) fn bytes_done(&self) -> u64 {
        self.have
            .iter()
            .zip(&self.manifest.files)
            .map(
                |(have, file): (&Have, &trireme_wire::rebuild::SnapshotFile)| match have {
                    Have::Whole => file.bytes,
                    Have::Part(bytes) => *bytes,
                },
            )
            .sum()
    }

    /// One file after the other: a whole one survives a crash and a change of the source.
    pub(super) fn next(&mut self, source: &NodeName, piece_bytes: u32) -> Action {
        while self.have.get(self.at) == Some(&Have::Whole) {
            self.at += 1;
        }

        let source = source.clone();
        let snapshot = self.manifest.snapshot;
        let file = self.at;
        let (Some(Have::Part(offset)), Some(entry)) =
            (self.have.get(file), self.manifest.files.get(file))
        else {
            return Action::Wait;
        };

        if *offset >= entry.bytes {
            return Action::Check {
                source,
                snapshot,
                file,
            };
        }

        let bytes_max = u32::try_from(entry.bytes - offset)
            .unwrap_or(u32::MAX)
            .min(piece_bytes);

        Action::Fetch {
            source,
            snapshot,
            file,
            offset: *offset,
            bytes_max,
        }
    }

    pub(super) fn fetched(&mut self, file: usize, bytes: u64) {
        if let Some(Have::Part(have)) = self.have.get_mut(file) {
            *have += bytes;
        }
    }

    pub(super) fn checked(&mut self, file: usize, is_equal: bool) {
        if let Some(have) = self.have.get_mut(file) {
            *have = if is_equal { Have::Whole } else { Have::Part(0) };
        }
    }
}
