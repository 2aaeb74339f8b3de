//! Copying what no log can give any more from a peer.

use trireme_base::{Clock, NodeName};
use trireme_replication::{Action, RebuildReason, SourceFault};

use super::{Event, World};
use crate::staging;

/// Steps of a copy within a tick of its node.
const STEPS: usize = 4;

impl World {
    /// Does what the rebuild of a node wants next. Where logs are kept for everybody, none may be wanted.
    pub(super) fn rebuild(&mut self, node: usize) -> Result<(), String> {
        for _ in 0..STEPS {
            let Some(process) = &mut self.machines[node].process else {
                return Ok(());
            };

            let action = process.rebuild_step();
            match action {
                Action::Wait => return Ok(()),
                Action::Need(reason) => self.need_rebuild(node, reason)?,
                Action::Complete | Action::Revoke(_) => {
                    self.note(|| format!("n{node} needs no copy: {action:?}"));
                    self.with_staging(node, |staging, dir| staging.clear(dir))?;
                }
                Action::Begin(source) => self.begin_copy(node, &source)?,
                Action::Fetch {
                    source,
                    snapshot,
                    file,
                    offset,
                    bytes_max,
                } => {
                    let piece = self
                        .source(node, &source)
                        .map(|p| p.piece(snapshot, file, offset, bytes_max.into()));
                    self.fetched(node, file, offset, piece)?;
                }
                Action::Check {
                    source,
                    snapshot,
                    file,
                } => {
                    let whole = self
                        .source(node, &source)
                        .map(|p| p.piece(snapshot, file, 0, u64::MAX));
                    self.checked(node, file, whole)?;
                }
                Action::Install => return self.install(node),
            }
        }
        Ok(())
    }

    fn need_rebuild(&mut self, node: usize, reason: RebuildReason) -> Result<(), String> {
        self.note(|| format!("n{node} needs a copy of a peer: {reason:?}"));
        if !self.scenario.may_rebuild {
            return Err(format!(
                "n{node} wants to be rebuilt ({}), and no log was let go",
                reason.text()
            ));
        }

        self.summary.rebuilds += 1;
        let staging = &mut self.machines[node].staging;
        (staging.reason, staging.is_undecided) = (Some(reason), false);

        Ok(())
    }

    /// The process of a peer that a node can ask.
    fn source(&self, node: usize, source: &NodeName) -> Option<&crate::process::Process> {
        let peer = self.names.iter().position(|name| name == source)?;
        self.machines[peer]
            .process
            .as_ref()
            .filter(|_| self.reaches(node, peer))
    }

    fn begin_copy(&mut self, node: usize, source: &NodeName) -> Result<(), String> {
        let taker = self.machines[node]
            .process
            .as_ref()
            .map(|process| process.identity.incarnation);
        let peer = self.names.iter().position(|name| name == source);
        let (Some(taker), Some(peer)) = (taker, peer) else {
            return Ok(());
        };

        let reached = self.reaches(node, peer);
        let giver = self.machines[peer].process.as_mut().filter(|_| reached);
        let made = giver.map_or_else(
            || Err("not reached".to_owned()),
            |giver| giver.snapshot(taker),
        );

        self.note(|| match &made {
            Ok(manifest) => format!("n{node} copies {} files of {source}", manifest.files.len()),
            Err(why) => format!("{source} gives n{node} no snapshot: {why}"),
        });

        match made {
            Ok(manifest) => {
                let manifest = (*manifest).clone();
                let source = source.clone();
                let begun = manifest.clone();
                self.with_staging(node, |staging, dir| staging.begin(dir, source, manifest))?;
                let machine = &mut self.machines[node];
                let dir = machine.dir.clone();
                if let Some(process) = &mut machine.process {
                    process
                        .rebuild()
                        .began(begun, |path, bytes| staging::have(&dir, path, bytes));
                }
            }
            Err(_) => self.source_failed(node, SourceFault::NoAnswer),
        }

        // The source has flushed its log.
        self.machines[peer].note_safe();
        self.settle(peer)
    }

    fn source_failed(&mut self, node: usize, fault: SourceFault) {
        let Some(process) = &mut self.machines[node].process else {
            return;
        };
        let now = process.clock.monotonic();
        process.rebuild().failed(fault, now);
    }

    /// The path of a file that a node copies; nothing if a source did not give what was asked for.
    fn copied(
        &mut self,
        node: usize,
        file: usize,
        piece: &Option<Option<Vec<u8>>>,
    ) -> Option<String> {
        match piece {
            None => self.source_failed(node, SourceFault::NoAnswer),
            Some(None) => self.source_failed(node, SourceFault::SnapshotGone),
            Some(Some(_)) => {
                let process = self.machines[node].process.as_mut()?;
                return Some(process.rebuild().manifest()?.files.get(file)?.path.clone());
            }
        }
        None
    }

    fn fetched(
        &mut self,
        node: usize,
        file: usize,
        offset: u64,
        piece: Option<Option<Vec<u8>>>,
    ) -> Result<(), String> {
        let path = self.copied(node, file, &piece);
        let (Some(path), Some(Some(bytes))) = (path, piece) else {
            return Ok(());
        };

        self.with_staging(node, |_, dir| staging::write(dir, &path, offset, &bytes))?;
        if let Some(process) = &mut self.machines[node].process {
            process.rebuild().fetched(file, bytes.len() as u64);
        }

        Ok(())
    }

    fn checked(
        &mut self,
        node: usize,
        file: usize,
        whole: Option<Option<Vec<u8>>>,
    ) -> Result<(), String> {
        let path = self.copied(node, file, &whole);
        let (Some(path), Some(Some(bytes))) = (path, whole) else {
            return Ok(());
        };

        let is_equal = self.with_staging(node, |_, dir| staging::check(dir, &path, &bytes))?;
        if let Some(process) = &mut self.machines[node].process {
            let now = process.clock.monotonic();
            process.rebuild().checked(file, is_equal, now);
        }

        Ok(())
    }

    /// Everything is copied: the process starts anew to install it, unless that would lose something.
    fn install(&mut self, node: usize) -> Result<(), String> {
        let machine = &mut self.machines[node];
        let copy = machine
            .staging
            .copy
            .as_ref()
            .map(|(_, manifest)| manifest.clone());

        let (Some(process), Some(manifest)) = (&mut machine.process, copy) else {
            return Ok(());
        };

        let verified = process.verify_copy(&machine.dir);
        if let Some(stream) = process.would_lose(&manifest, &machine.dir) {
            let now = process.clock.monotonic();
            process.rebuild().not_installed(now);
            self.note(|| format!("n{node} has more of {stream} than the snapshot"));
            return Ok(());
        }

        verified.map_err(|e| format!("n{node} cannot read what it has copied: {e}"))?;
        machine.staging.is_ready = true;
        self.summary.copies += 1;
        self.note(|| format!("n{node} has copied everything"));
        self.crash(node, true);
        self.after(50_000, Event::Start(node));

        Ok(())
    }

    pub(super) fn with_staging<T>(
        &mut self,
        node: usize,
        change: impl FnOnce(&mut staging::Staging, &std::path::Path) -> std::io::Result<T>,
    ) -> Result<T, String> {
        let machine = &mut self.machines[node];
        change(&mut machine.staging, &machine.dir).map_err(|e| format!("n{node} cannot copy: {e}"))
    }
}
