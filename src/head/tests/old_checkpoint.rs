//! A checkpoint of version 3 with native histograms, in full runs and in open ones, is read whole.
//!
//! `data/checkpoint-v3` was written by the code of then: two series, 40 samples each, every 15 s.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;
use std::sync::Arc;

use support::{NOW, options, tenant};
use trireme_base::Boot;
use trireme_head::{HeadError, Shard};
use trireme_model::{AnyHistogram, Histogram, HistogramSample, Span};

fn sample(n: i64) -> HistogramSample {
    let t = NOW + n * 15_000;
    let h = Histogram {
        schema: 2,
        zero_threshold: 0.001,
        zero_count: n as u64,
        count: (5 * n + 3) as u64,
        sum: n as f64 * 1.5,
        positive_spans: vec![
            Span {
                offset: -2,
                length: 2,
            },
            Span {
                offset: 1,
                length: 1,
            },
        ],
        positive_buckets: vec![n + 1, n, -n],
        ..Histogram::default()
    };

    HistogramSample {
        t,
        st: t - 60_000,
        h: AnyHistogram::Int(Arc::new(h)),
    }
}

fn holds_all(shard: &Arc<Shard>) {
    let found = shard.select(&tenant(), &[], 0, i64::MAX);
    let jobs: Vec<_> = found
        .iter()
        .map(|series| series.labels.get("job").unwrap().to_owned())
        .collect();

    assert_eq!(jobs, ["a", "b"]);
    for series in found {
        let mut samples = Vec::new();
        series.read_histograms(0, i64::MAX, &mut samples).unwrap();
        assert_eq!(samples, (0..40).map(sample).collect::<Vec<_>>());
    }
}

#[test]
fn a_checkpoint_of_version_3_with_histograms_is_read_and_written_anew() {
    let dir = tempfile::tempdir().unwrap();
    let old = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/checkpoint-v3");
    std::fs::create_dir(dir.path().join("chunks")).unwrap();

    for file in ["checkpoint", "chunks/00000001.chunks"] {
        std::fs::copy(old.join(file), dir.path().join(file)).unwrap();
    }

    let mut options = options(dir.path(), 1);
    options.own.boot = Boot(2);
    let (shard, found) = Shard::recover(options.clone(), None).unwrap();
    assert!(found.damage.is_none() && found.series == 2);

    holds_all(&shard);
    shard.checkpoint(|| Ok::<(), HeadError>(())).unwrap();
    drop(shard);

    let written = std::fs::read(dir.path().join("checkpoint")).unwrap();
    assert_eq!(written[8], 5, "the version of now");
    options.own.boot = Boot(3);
    holds_all(&Shard::recover(options, None).unwrap().0);
}
