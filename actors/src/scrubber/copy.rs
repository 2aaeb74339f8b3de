//! Copying one block: in pieces, checked as a whole, and put into its place only then.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use slog::{info, warn};
use trireme_block::{BlockMeta, INDEX_FILE, Incoming, META_FILE, is_block_file};

use super::ScrubberParts;
use super::error::ScrubError;
use super::pace::Pace;
use super::plan::Wanted;
use super::reading::{on_pool, read_through};
use super::source::Source;

/// Bytes asked for at once.
const PIECE_BYTES: u32 = 1 << 20;
/// Files of a block; the largest windows have a few dozen.
const FILES_MAX: usize = 10_000;

/// Fetches a block from the first of its sources that has a good copy. The error is the last source's.
pub(super) async fn fetch(parts: &ScrubberParts, wanted: &Wanted) -> Result<(), ScrubError> {
    let mut last = ScrubError::Nobody;
    for source in Source::of(parts, wanted) {
        let began = parts.clock.monotonic();
        match copy(parts, wanted, &source).await {
            Ok((bytes, aside)) => {
                let elapsed = parts.clock.monotonic().saturating_sub(began);
                parts
                    .metrics
                    .repaired
                    .with_label_values(&[source.kind()])
                    .inc();
                info!(parts.log, "block fetched and verified"; "tenant" => %wanted.tenant,
                    "block_id" => %wanted.ulid, "from" => %source, "bytes" => bytes,
                    "elapsed_ms" => elapsed.as_millis() as u64,
                    "set_aside" => aside.map(|path| path.display().to_string()));
                return Ok(());
            }
            // That the bucket does not have it is no failure.
            Err(ScrubError::Nobody) => {}
            Err(err) => {
                parts
                    .metrics
                    .failures
                    .with_label_values(&[err.reason()])
                    .inc();
                warn!(parts.log, "block could not be fetched"; "tenant" => %wanted.tenant,
                    "block_id" => %wanted.ulid, "from" => %source, "err" => %err);
                last = err;
            }
        }
    }

    Err(last)
}

/// Copies the block. Answers its bytes, and where a damaged one is now that was in its place.
async fn copy(
    parts: &ScrubberParts,
    wanted: &Wanted,
    source: &Source,
) -> Result<(u64, Option<PathBuf>), ScrubError> {
    let files = source.files(parts, wanted).await?;
    let bytes = check_files(&files)?;
    let room = (parts.room)();
    if bytes > room {
        return Err(ScrubError::NoRoom { bytes, room });
    }

    let dir = parts.cutting.local_blocks.tenant_dir(&wanted.tenant);
    let ulid = wanted.ulid;
    let mut copy = on_pool(parts, move || Incoming::begin(&dir, ulid)).await??;

    let mut pace = Pace::new(parts.options.copy_rate, &parts.clock);
    for (path, len) in files {
        copy = append(parts, wanted, source, (path, len), copy, &mut pace).await?;
    }

    let (copy, reread) =
        on_pool(parts, move || copy.reread().map(|reread| (copy, reread))).await??;
    check_tenant(parts, wanted, reread.meta())?;
    read_through(parts, reread, &mut pace).await?;

    let local_blocks = Arc::clone(&parts.cutting.local_blocks);
    let tenant = wanted.tenant.clone();
    let aside = on_pool(parts, move || local_blocks.put(&tenant, copy)).await??;

    Ok((bytes, aside))
}

/// Appends one file to the copy.
async fn append(
    parts: &ScrubberParts,
    wanted: &Wanted,
    source: &Source,
    (path, len): (String, u64),
    mut copy: Incoming,
    pace: &mut Pace,
) -> Result<Incoming, ScrubError> {
    let mut offset = 0;
    loop {
        pace.keep().await;
        let left = u32::try_from(len - offset)
            .unwrap_or(u32::MAX)
            .min(PIECE_BYTES);
        let piece = match left {
            0 => bytes::Bytes::new(),
            _ => source.piece(parts, wanted, &path, offset, left).await?,
        };

        offset += piece.len() as u64;
        pace.paid(piece.len());
        parts.metrics.fetched_bytes.inc_by(piece.len() as u64);

        let name = path.clone();
        copy = on_pool(parts, move || copy.append(&name, &piece).map(|()| copy)).await??;
        if offset >= len {
            return Ok(copy);
        }
    }
}

/// What somebody else says to be the files of a block must look like that. Answers the sum of their bytes.
fn check_files(files: &[(String, u64)]) -> Result<u64, ScrubError> {
    let unfit = |what: &str| Err(ScrubError::Unfit(what.to_owned()));
    let names: BTreeSet<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    if files.len() > FILES_MAX || names.len() != files.len() {
        return unfit("the list of the block's files is too long, or names one twice");
    }
    if !names.contains(META_FILE) || !names.contains(INDEX_FILE) {
        return unfit("the list of the block's files has no meta or no index");
    }

    if let Some(stray) = names.iter().find(|name| !is_block_file(name)) {
        return unfit(&format!("{stray:?} is no file of a block"));
    }

    Ok(files
        .iter()
        .fold(0, |sum: u64, (_, bytes)| sum.saturating_add(*bytes)))
}

/// The bucket has blocks of all tenants, and equal samples have equal names.
fn check_tenant(
    parts: &ScrubberParts,
    wanted: &Wanted,
    meta: &BlockMeta,
) -> Result<(), ScrubError> {
    let said = meta
        .external_labels()
        .and_then(|labels| labels.get(&parts.cutting.style.tenant_label));
    match said {
        Some(said) if said != wanted.tenant.as_str() => Err(ScrubError::Unfit(format!(
            "it is a block of tenant {said:?}"
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lists_that_are_a_block_are_accepted() {
        let list = |names: &[&str]| {
            names
                .iter()
                .map(|n| ((*n).to_owned(), 7))
                .collect::<Vec<_>>()
        };

        assert_eq!(
            check_files(&list(&["chunks/000001", "index", "meta.json"])).ok(),
            Some(21)
        );

        for bad in [
            &["index", "meta.json", "../../identity.toml"][..],
            &["index", "meta.json", "index"],
            &["index", "chunks/000001"],
            &["meta.json", "chunks/000001"],
            &[],
        ] {
            assert!(check_files(&list(bad)).is_err(), "{bad:?}");
        }

        let huge = [
            ("meta.json".to_owned(), u64::MAX),
            ("index".to_owned(), u64::MAX),
        ];

        assert_eq!(check_files(&huge).ok(), Some(u64::MAX));
    }
}
