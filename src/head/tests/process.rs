//! A real log, a real head, a process that is killed: what was acknowledged is there after every start.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};

use support::{Maker, WINDOW, dump, tenant};
use trireme_base::{Boot, Incarnation, StreamId, SystemClock};
use trireme_head::{
    CutManifest, CutSource, HeadError, IngestLimits, IngestOutput, Shard, ShardOptions, cut_windows,
};
use trireme_log::{CompletionTag, Log, LogError, LogObserver, LogOptions, OwnPlace, ReplayWatch};
use trireme_wire::record::Record;

const DIR: &str = "TRIREME_HEAD_TEST_DIR";
const BOOT: &str = "TRIREME_HEAD_TEST_BOOT";
const SHARDS: u16 = 2;
/// Time of the first sample; each tag is a second later.
const START: i64 = 1_700_006_400_000;

/// What a node does with its log's news, in small.
#[derive(Default)]
struct Node {
    shards: OnceLock<Vec<Arc<Shard>>>,
    print: bool,
    /// Highest tag by own seq.
    tags: parking_lot::Mutex<BTreeMap<u64, u64>>,
}

impl LogObserver for Node {
    fn written(&self, record: &Record, own: Option<OwnPlace>) {
        if let Some(own) = own {
            self.shards
                .get()
                .into_iter()
                .flatten()
                .for_each(|shard| shard.own_written(record));
            self.tags.lock().insert(record.seq(), own.tag.0);
        }
    }

    fn durable(&self, positions: &[(StreamId, u64)]) {
        let mut tags = self.tags.lock();
        let seq = positions.iter().map(|(_, seq)| *seq).max().unwrap_or(0);
        let rest = tags.split_off(&(seq + 1));
        let done = std::mem::replace(&mut *tags, rest);
        if let (Some(tag), true) = (done.values().max(), self.print) {
            println!("acked {tag}");
        }
    }

    fn refused(&self, _: CompletionTag, _: &LogError) {}
    fn failed(&self, _: &LogError) {}
}

fn start(dir: &Path, boot: u32, print: bool) -> (Vec<Arc<Shard>>, Log) {
    let own = StreamId {
        incarnation: Incarnation(1),
        boot: Boot(boot),
    };
    let manifest = CutManifest::load(&dir.join("cut")).unwrap();
    let mut shards = Vec::new();

    let mut all = Vec::new();
    for n in 0..SHARDS {
        let options = ShardOptions::new(n, SHARDS, WINDOW, dir.join(format!("head{n}")), own);
        let (shard, found) = Shard::recover(options, manifest.as_ref()).unwrap();
        all.push(found.positions);
        shards.push(shard);
    }

    let from = common(&all);
    let node = Arc::new(Node {
        print,
        ..Node::default()
    });

    node.shards.set(shards.clone()).ok().unwrap();
    let options = LogOptions {
        segment_bytes: 256 << 10,
        ..LogOptions::default()
    };
    let (log, found) = Log::open(
        &dir.join("log"),
        options,
        own,
        &from,
        node,
        Arc::new(SystemClock::new()),
    )
    .unwrap();

    assert!(found.damage.is_empty());
    let plan = log.plan_replay(&from).unwrap();
    log.replay(
        &plan,
        SHARDS,
        2,
        &ReplayWatch::default(),
        |shard, record| {
            shards[usize::from(shard)].apply(record).unwrap();
        },
    )
    .unwrap();

    (shards, log)
}

/// Where all shards have each stream; a stream that one does not know counts as 0 there.
fn common(all: &[Vec<(StreamId, u64)>]) -> Vec<(StreamId, u64)> {
    let of = |positions: &Vec<(StreamId, u64)>, s| {
        positions
            .iter()
            .find(|(id, _)| *id == s)
            .map_or(0, |(_, seq)| *seq)
    };

    let least = |s: StreamId| {
        all.iter()
            .map(|positions| of(positions, s))
            .min()
            .unwrap_or(0)
    };

    all.iter()
        .flatten()
        .map(|(s, _)| (*s, least(*s)))
        .collect::<BTreeMap<_, _>>()
        .into_iter()
        .collect()
}

/// Appends one sample to each of ten series; which samples follows from the tag.
fn write(shards: &[Arc<Shard>], log: &Log, tag: u64) {
    let mut maker = Maker::default();
    for job in 0..10 {
        maker = maker.up(
            &format!("job{job}"),
            &[(START + tag as i64 * 1_000, (tag * 10 + job) as f64)],
        );
    }

    let mut drafts = Vec::new();
    for shard in shards {
        let number = shard.options().number;
        let idx: Vec<u32> = maker
            .idx()
            .into_iter()
            .filter(|i: &u32| maker.batch.series[*i as usize].key.shard(SHARDS) == number)
            .collect();

        let mut out = IngestOutput::default();
        shard.ingest(
            &tenant(),
            &maker.batch,
            &idx,
            &IngestLimits::default(),
            START + tag as i64 * 1_000,
            &mut out,
        );

        drafts.append(&mut out.drafts);
    }

    while log.admit().is_err() {
        std::thread::yield_now();
    }

    log.append_own(drafts, CompletionTag(tag)).unwrap();
}

/// Not a test of its own: the child of the test below.
#[test]
fn child_that_writes_until_killed() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let dir = Path::new(&dir);
    let boot: u32 = std::env::var(BOOT).unwrap().parse().unwrap();
    let (shards, log) = start(dir, boot, true);
    let window = START / WINDOW;

    shards.iter().for_each(|s| {
        log.append_own(vec![s.close_window(window - 1)], CompletionTag(0))
            .unwrap()
    });

    // Tags go on where any start before could have stopped.
    for tag in u64::from(boot) * 10_000.. {
        write(&shards, &log, tag);
        if tag % 40 == 0 {
            let mut covered = Vec::new();
            for shard in &shards {
                let report = shard
                    .checkpoint(|| log.flush().map_err(|e| HeadError::Settings(e.to_string())))
                    .unwrap();
                covered.push(report.positions);
            }
            log.trim(&common(&covered)).unwrap();
        }
    }
}

#[test]
fn a_killed_process_has_every_acknowledged_sample_after_each_start() {
    let dir = tempfile::tempdir().unwrap();

    let mut acked: BTreeMap<u32, u64> = BTreeMap::new();
    for boot in 1..=5u32 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_writes_until_killed", "--nocapture"])
            .env(DIR, dir.path())
            .env(BOOT, boot.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();

        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();

        let mut seen = 0;
        while seen < 3 + boot * 7 {
            let line = lines.next().unwrap().unwrap();
            if let Some(tag) = line.strip_prefix("acked ").and_then(|t| t.parse().ok()) {
                acked.insert(boot, tag);
                seen += 1;
            }
        }

        child.kill().unwrap();
        child.wait().unwrap();

        for tag in lines
            .map_while(Result::ok)
            .filter_map(|l| l.strip_prefix("acked ").and_then(|t| t.parse().ok()))
        {
            acked.insert(boot, tag);
        }

        // Look without a trace: a start of a copy.
        let copy = tempfile::tempdir().unwrap();
        assert!(
            Command::new("cp")
                .arg("-r")
                .arg(dir.path())
                .arg(copy.path())
                .status()
                .unwrap()
                .success()
        );

        let home = copy.path().join(dir.path().file_name().unwrap());
        let (shards, log) = start(&home, 100, false);
        let all: BTreeMap<String, Vec<(i64, u64)>> = shards.iter().flat_map(dump).collect();

        assert_eq!(all.len(), 10);
        for (labels, samples) in &all {
            let job: u64 = labels
                .split("job")
                .nth(2)
                .unwrap()
                .trim_end_matches(['"', '}'])
                .parse()
                .unwrap();

            assert!(samples.windows(2).all(|w| w[0].0 < w[1].0));

            for (boot, last) in &acked {
                for tag in u64::from(*boot) * 10_000..=*last {
                    let want = (
                        START + tag as i64 * 1_000,
                        ((tag * 10 + job) as f64).to_bits(),
                    );
                    assert!(
                        samples.binary_search(&want).is_ok(),
                        "boot {boot} tag {tag} of {labels} is missing"
                    );
                }
            }
        }

        // And the cut of all windows has the same samples.
        let k = cut_windows(&shards, i64::MAX)
            .iter()
            .map(|w| w.window)
            .max()
            .unwrap()
            + 1;

        shards.iter().for_each(|s| drop(s.begin_cut(k).unwrap()));

        let mut cut = 0;
        for window in cut_windows(&shards, k) {
            let mut source = CutSource::open(&shards, &window.tenant, window.window, k);
            let mut series = trireme_block::SeriesInput::default();
            while trireme_block::SeriesSource::next(&mut source, &mut series).unwrap() {
                cut += series.times.len();
            }
        }

        assert_eq!(cut, all.values().map(Vec::len).sum::<usize>());
        drop(log);
    }
}
