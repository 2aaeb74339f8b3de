//! A file that the disk cannot read is damage and nothing worse: the node starts, names the file, and is whole again (I2).

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use trireme_integration::{
    Group, SampleSet, Series, blocks_in, first_differences, now_ms, until, until_for,
};

const TENANT: &str = "default-tenant";
/// A debug build on a busy machine.
const BOUND: Duration = Duration::from_secs(90);

/// Writes through all nodes in turn until node 2 has so many blocks more than before, and a few times more.
async fn write_blocks(group: &Group, more: usize, written: &mut SampleSet) -> anyhow::Result<()> {
    let dir = group.nodes()[2].data_dir().join("blocks").join(TENANT);
    let enough = blocks_in(&dir)?.len() + more;
    let mut turn = 0_usize;

    until_for("there are more blocks", BOUND, async || {
        let at = now_ms();
        let series: Vec<Series> = (0..40)
            .map(|i: i64| {
                Series::new(
                    "sectors",
                    &[("i", &i.to_string())],
                    &[(at, (at % 1_000 + i) as f64)],
                )
            })
            .collect();

        turn += 1;
        group.client(turn % 3).write(&series).await?.success()?;
        series.iter().for_each(|series| series.add_to(written));

        let found = blocks_in(&dir)?.len();
        ensure!(found >= enough && turn > 6, "{found} of {enough}");
        Ok(())
    })
    .await
}

/// Files below `dir` whose paths end so, the newest first.
fn found(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();

    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            let text = path.to_string_lossy().into_owned();
            if path.is_dir() {
                let is_old = ["damaged-", "quarantine-", "snapshots"]
                    .iter()
                    .any(|name| text.contains(name));
                dirs.extend((!is_old).then_some(path));
            } else if text.ends_with(ending) {
                found.push((entry.metadata().and_then(|meta| meta.modified()).ok(), path));
            }
        }
    }

    found.sort();
    found.into_iter().rev().map(|(_, path)| path).collect()
}

/// Folder and ending of a file, which of them counted from the newest, from where it is bad, and whether the log has to
/// name it.
type BadFile = (&'static str, &'static str, usize, u64, bool);

/// What the log has to name if a file cannot be read: the block it is of, or the file, which may get another ending.
fn name_of(path: &Path) -> String {
    let block = path
        .iter()
        .filter_map(|part| part.to_str())
        .find(|part| part.len() == 26);
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    block.or(stem).unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_cannot_be_read_costs_nothing() -> anyhow::Result<()> {
    let mut group = Group::of(3)
        .short_windows(2)
        .set("bucket.type=none")
        .set("storage.scrub_interval=2s")
        .set("checkpoint.interval=300ms")
        .prepare()?;

    let disk = group.node(2).make_faulty()?;
    for node in 0..3 {
        group.node(node).start()?;
    }

    for node in 0..3 {
        group.node(node).ready().await?;
    }

    let mut written = SampleSet::default();
    let dir = group.nodes()[2].data_dir().to_owned();

    let rounds: [(usize, &[BadFile]); 5] = [
        (
            3,
            &[
                ("log", ".log", 0, 4_096, true),
                ("blocks", "/index", 0, 0, true),
                ("", "/processes", 0, 0, false),
            ],
        ),
        (
            2,
            &[
                ("head", "/checkpoint", 0, 4_096, true),
                ("log", "/base", 0, 0, true),
                ("blocks", "/chunks/000001", 0, 0, true),
                ("blocks", "/meta.json", 1, 0, true),
                ("", "/scrubbed", 0, 0, false),
            ],
        ),
        (0, &[("log", ".log", 0, 0, true)]),
        (0, &[("head", "/checkpoint", 0, 0, true)]),
        // The node has a new identity after this one.
        (0, &[("head", "/cut", 0, 0, true)]),
    ];

    for (blocks, files) in rounds {
        write_blocks(&group, blocks, &mut written)
            .await
            .with_context(|| format!("before {files:?}"))?;
        until("node 2 has such files", async || {
            let lacks = files.iter().find(|(folder, ending, nth, ..): &&BadFile| {
                found(&dir.join(folder), ending).len() <= *nth
            });
            ensure!(lacks.is_none(), "not {lacks:?}");
            Ok(())
        })
        .await?;

        group.node(2).kill()?;

        let mut told = Vec::new();
        for (folder, ending, nth, from, is_told) in files {
            let mut newest = found(&dir.join(folder), ending).into_iter();
            let path = newest.nth(*nth).with_context(|| format!("no {ending}"))?;
            disk.spoil(&path, (*from).min(path.metadata()?.len() / 2)..u64::MAX)?;
            told.extend(is_told.then(|| name_of(&path)));
        }

        let before = group.nodes()[2].log().len();
        let hits = disk.hits();
        group.node(2).start()?;
        group
            .node(2)
            .ready()
            .await
            .with_context(|| format!("with bad {files:?}"))?;

        until_for("the damage is told", BOUND, async || {
            ensure!(disk.hits() > hits, "nothing bad was read");
            let log = group.nodes()[2].log();
            let loud: Vec<&str> = log[before..]
                .lines()
                .filter(|line: &&str| line.contains("WARN") || line.contains("ERRO"))
                .collect();
            let silent = told
                .iter()
                .find(|name| !loud.iter().any(|line| line.contains(*name)));
            ensure!(silent.is_none(), "{silent:?} is not named");
            Ok(())
        })
        .await?;

        until_for("node 2 is whole again", BOUND, async || {
            first_differences(
                ("written", &written),
                ("n2", &group.client(2).export().await?),
            )
        })
        .await
        .with_context(|| format!("after {files:?}"))?;

        disk.heal_reads();
    }

    first_differences(("written", &written), ("held", &group.converged().await?))?;
    group.stop().await
}
