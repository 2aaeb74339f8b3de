//! Storing, refusing, redirecting and following.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use support::{Maker, NOW, Origin, WINDOW, dump, equal, jobs, options, shard, stream, tenant};
use trireme_head::{HeadError, IngestLimits, IngestOutput, Shard, ShardOptions};
use trireme_model::{
    AnyHistogram, Exemplar, Histogram, HistogramSample, Labels, MatchOp, Matcher, MetricMetadata,
    MetricType, SeriesKey,
};
use trireme_wire::entry::EntryReader;

#[test]
fn stores_samples_and_a_follower_gets_the_same_head() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let origin = shard(dirs[0].path(), 1);
    let follower = shard(dirs[1].path(), 2);
    let mut log = Origin::new(1);

    log.log(&origin, [origin.close_window(5)]);
    let out = Maker::default()
        .up("a", &[(NOW, 1.0), (NOW + 1, 2.0)])
        .up("b", &[(NOW, 3.0)])
        .ingest(&origin, NOW);

    assert_eq!(
        (out.outcome.samples, out.outcome.duplicates, out.new_series),
        (3, 0, 2)
    );
    log.log(&origin, out.drafts);

    // Known series are not defined again, and out-of-order samples find their place.
    let out = Maker::default()
        .up("b", &[(NOW - 5, 9.0)])
        .up("a", &[(NOW + 2, 4.0)])
        .ingest(&origin, NOW);

    assert_eq!(out.new_series, 0);
    assert!(
        EntryReader::new(out.drafts[0].payload())
            .unwrap()
            .definitions()
            .next()
            .is_none()
    );

    log.log(&origin, out.drafts);
    for record in &log.records {
        follower.apply(record).unwrap();
    }

    assert_eq!(dump(&origin), dump(&follower));
    assert_eq!(
        dump(&origin)[0].1,
        [
            (NOW, 1f64.to_bits()),
            (NOW + 1, 2f64.to_bits()),
            (NOW + 2, 4f64.to_bits())
        ]
    );

    let state = follower
        .streams()
        .into_iter()
        .find(|s| s.stream == stream(1))
        .unwrap();

    assert_eq!((state.applied, state.marker), (3, Some(5)));
    assert!(follower.apply(&log.records[1]).unwrap().known);
}

#[test]
fn repeats_are_counted_logged_again_and_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let shard = shard(dir.path(), 1);
    Maker::default()
        .up("a", &[(NOW, 1.0), (NOW + 1, 2.0)])
        .ingest(&shard, NOW);

    let before = dump(&shard);
    let out = Maker::default()
        .up("a", &[(NOW, 1.0), (NOW + 1, 2.0)])
        .ingest(&shard, NOW);

    assert_eq!(
        (out.outcome.samples, out.outcome.duplicates, out.conflicts),
        (2, 2, 0)
    );
    assert_eq!(
        out.drafts.len(),
        1,
        "the answer must wait for what it repeats"
    );

    assert_eq!(dump(&shard), before);
    let out = Maker::default()
        .up("a", &[(NOW, 7.0), (NOW + 1, 0.5)])
        .ingest(&shard, NOW);

    assert_eq!((out.outcome.duplicates, out.conflicts), (0, 2));
    assert_eq!(
        dump(&shard)[0].1,
        [(NOW, 7f64.to_bits()), (NOW + 1, 2f64.to_bits())]
    );
}

#[test]
fn refuses_with_reasons_and_stores_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let shard = shard(dir.path(), 1);
    Maker::default().up("a", &[(NOW, 1.0)]).ingest(&shard, NOW);

    let limits = IngestLimits {
        shard_series_max: 2,
        ..IngestLimits::default()
    };
    let out = Maker::default()
        .up(
            "a",
            &[
                (NOW - 3_600_001, 1.0),
                (NOW + 5, 2.0),
                (i64::MAX, 3.0),
                (i64::MIN, 3.0),
            ],
        )
        .series(&[("job", "x")], &[(NOW, 1.0), (NOW + 1, 1.0)])
        .series(
            &[("__name__", "up"), ("job", "x"), ("job", "y")],
            &[(NOW, 1.0)],
        )
        .up("old", &[(0, 1.0)])
        .up("b", &[(NOW, 2.0)])
        .up("c", &[(NOW, 2.0)])
        .up("a", &[(NOW + 600_001, 2.0)])
        .ingest_with(&shard, NOW, &limits);

    let reasons: Vec<_> = out
        .outcome
        .rejections
        .iter()
        .map(|r| (r.reason, r.count))
        .collect();

    assert_eq!(
        reasons,
        [
            ("missing_metric_name", 2),
            ("duplicate_label_names", 1),
            ("too_old", 2),
            ("series_limit", 1),
            ("out_of_bounds", 2),
            ("too_far_in_future", 1)
        ]
    );

    assert_eq!(out.outcome.samples, 2);
    assert!(out.outcome.rejections.iter().all(|r| !r.example.is_empty()));
    assert_eq!(shard.series_count(&tenant()), 2);
    assert_eq!(dump(&shard).len(), 2);
}

#[test]
fn the_node_bounds_the_series_of_all_tenants() {
    let dir = tempfile::tempdir().unwrap();
    let shard = shard(dir.path(), 1);
    let limits = IngestLimits {
        shard_series_of_all_max: 1,
        ..IngestLimits::default()
    };

    Maker::default()
        .up("a", &[(NOW, 1.0)])
        .ingest_with(&shard, NOW, &limits);

    let out = Maker::default()
        .up("a", &[(NOW + 1, 1.0)])
        .up("b", &[(NOW, 1.0)])
        .ingest_with(&shard, NOW, &limits);

    assert_eq!(out.outcome.samples, 1, "known series go on");
    let refused: Vec<_> = out
        .outcome
        .rejections
        .iter()
        .map(|r| (r.reason, r.count))
        .collect();

    assert_eq!(refused, [("node_series_limit", 1)]);
}

#[test]
fn a_series_of_another_shard_is_redirected_and_found_there_by_its_raw_key() {
    let dir = tempfile::tempdir().unwrap();
    let shards: Vec<Arc<Shard>> = (0..4)
        .map(|n| {
            Shard::new(ShardOptions::new(
                n,
                4,
                WINDOW,
                dir.path().join(n.to_string()),
                stream(1),
            ))
            .unwrap()
        })
        .collect();

    let unsorted = [("job", "a"), ("__name__", "up")];
    let labels = Labels::from_pairs(unsorted);

    let home = SeriesKey::of(tenant().seed(), labels.as_bytes()).shard(4);
    for round in 0..2 {
        let maker = Maker::default().series(&unsorted, &[(NOW + round, 1.0)]);
        let first = maker.batch.series[0].key.shard(4);
        let mut out = IngestOutput::default();

        shards[usize::from(first)].ingest(
            &tenant(),
            &maker.batch,
            &[0],
            &IngestLimits::default(),
            NOW,
            &mut out,
        );

        if first != home {
            assert_eq!(
                (out.redirects.clone(), out.outcome.samples),
                (vec![(0, home)], 0)
            );
            out.clear();
            shards[usize::from(home)].ingest(
                &tenant(),
                &maker.batch,
                &[0],
                &IngestLimits::default(),
                NOW,
                &mut out,
            );
        }

        assert_eq!(
            (out.outcome.samples, out.new_series),
            (1, u64::from(round == 0))
        );
    }

    let found = shards[usize::from(home)].select(&tenant(), &[equal("job", "a")], 0, i64::MAX);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].labels, labels);
}

#[test]
fn tenants_see_only_their_own_series() {
    let dir = tempfile::tempdir().unwrap();
    let shard = shard(dir.path(), 1);
    Maker::default().up("a", &[(NOW, 1.0)]).ingest(&shard, NOW);
    let other = trireme_model::Tenant::new("other").unwrap();
    assert!(shard.select(&other, &[], 0, i64::MAX).is_empty());
    assert_eq!(shard.series_count(&other), 0);
    assert_eq!(shard.tenants(), [tenant()]);
}

#[test]
fn selects_like_prometheus_with_absent_labels_as_empty() {
    let dir = tempfile::tempdir().unwrap();
    let shard = shard(dir.path(), 1);

    let mut maker = Maker::default();
    for (job, zone) in [("a", "x"), ("a", "y"), ("b", "x"), ("c", "")] {
        maker = maker.series(
            &[("__name__", "up"), ("job", job), ("zone", zone)],
            &[(NOW, 1.0)],
        );
    }

    maker.ingest(&shard, NOW);
    let count = |matchers: &[(&str, MatchOp, &str)]| {
        let matchers: Vec<_> = matchers
            .iter()
            .map(|(n, op, v)| Matcher::new(n, *op, v).unwrap())
            .collect();
        shard.select(&tenant(), &matchers, NOW, NOW).len()
    };

    use MatchOp::{Equal, NotEqual, NotRegex, Regex};
    type Case<'a> = (&'a [(&'a str, MatchOp, &'a str)], usize);

    let cases: &[Case<'_>] = &[
        (&[], 4),
        (&[("job", Equal, "a")], 2),
        (&[("job", Equal, "nope")], 0),
        (&[("nope", Equal, "x")], 0),
        (&[("nope", Equal, "")], 4),
        (&[("zone", Equal, "")], 1),
        (&[("zone", NotEqual, "")], 3),
        (&[("zone", NotEqual, "x")], 2),
        (&[("zone", Regex, "x|y")], 3),
        (&[("zone", Regex, "x|")], 3),
        (&[("zone", NotRegex, "x|")], 1),
        (&[("zone", Regex, ".*")], 4),
        (&[("zone", Regex, ".+")], 3),
        (&[("job", Regex, "[ab]"), ("zone", NotEqual, "y")], 2),
        (&[("job", NotRegex, "a|b"), ("zone", Equal, "")], 1),
    ];

    for (matchers, want) in cases {
        assert_eq!(count(matchers), *want, "{matchers:?}");
    }

    assert!(
        shard
            .select(&tenant(), &[], NOW + WINDOW * 2, NOW + WINDOW * 3)
            .is_empty()
    );

    let mut names = Vec::new();
    shard.label_names(&tenant(), &[], 0, i64::MAX, |name| {
        names.push(name.to_owned())
    });
    names.sort();
    assert_eq!(names, ["__name__", "job", "zone"]);

    let values = |matchers: &[Matcher]| {
        jobs(&shard, matchers, NOW, NOW)
            .into_iter()
            .collect::<Vec<_>>()
    };

    assert_eq!(values(&[]), ["a", "b", "c"]);
    assert_eq!(values(&[equal("zone", "x")]), ["a", "b"]);
    assert!(jobs(&shard, &[], NOW + WINDOW * 2, NOW + WINDOW * 3).is_empty());

    let counts = shard.counts(&tenant());
    assert_eq!(
        (counts.series, counts.chunks, counts.label_names.len()),
        (4, 4, 3)
    );
    assert_eq!(
        counts.oldest_window_ms,
        Some(NOW.div_euclid(WINDOW) * WINDOW)
    );

    let mut zones = Vec::new();
    shard.each_value(&tenant(), "zone", |value, series| {
        zones.push((value.to_string(), series))
    });
    zones.sort_unstable();
    assert_eq!(zones, [("x".to_owned(), 2), ("y".to_owned(), 1)]);
}

#[test]
fn reads_only_the_asked_range_from_open_and_full_chunks() {
    let dir = tempfile::tempdir().unwrap();
    let shard = shard(dir.path(), 1);

    let base = NOW - WINDOW / 4;
    for n in 0..1_000 {
        Maker::default()
            .up("a", &[(base + n * 1_000, n as f64 * 0.1)])
            .ingest(&shard, NOW);
    }

    let series = &shard.select(&tenant(), &[], base, base)[0];
    for (start, end) in [
        (0, i64::MAX),
        (base + 100_500, base + 220_000),
        (base + 999_000, base + 999_000),
        (0, base - 1),
    ] {
        let mut times = Vec::new();
        let mut values = Vec::new();
        series.read(start, end, &mut times, &mut values).unwrap();

        let want: Vec<i64> = (0..1_000)
            .map(|n| base + n * 1_000)
            .filter(|t| (start..=end).contains(t))
            .collect();

        assert_eq!(times, want);
        assert!(
            times
                .iter()
                .zip(&values)
                .all(|(t, v)| *v == ((t - base) / 1_000) as f64 * 0.1)
        );
    }
}

#[test]
fn histograms_exemplars_metadata_and_start_timestamps_reach_followers() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let origin = shard(dirs[0].path(), 1);
    let follower = shard(dirs[1].path(), 2);
    let mut log = Origin::new(1);
    let mut maker = Maker::default().up("a", &[(NOW, 1.0)]);

    maker.batch.start_timestamps = vec![NOW - 9];
    let h = AnyHistogram::Int(Arc::new(Histogram {
        count: 7,
        positive_buckets: vec![7],
        ..Histogram::default()
    }));

    maker.batch.histograms = vec![HistogramSample {
        t: NOW + 1,
        st: 5,
        h,
    }];

    maker.batch.exemplars = vec![Exemplar {
        labels: Labels::from_pairs([("trace_id", "x")]),
        v: 1.0,
        t: NOW,
    }];

    maker.batch.series[0].histograms = 0..1;
    maker.batch.series[0].exemplars = 0..1;
    let mut out = maker.ingest(&origin, NOW);

    assert_eq!(
        (
            out.outcome.samples,
            out.outcome.histograms,
            out.outcome.exemplars
        ),
        (1, 1, 1)
    );

    let metadata = MetricMetadata {
        kind: MetricType::Gauge,
        unit: String::new(),
        help: "is it up".into(),
    };

    origin.ingest_metadata(&tenant(), &[("up".into(), metadata.clone())], &mut out);
    log.log(&origin, out.drafts);

    for record in &log.records {
        follower.apply(record).unwrap();
    }

    for head in [&origin, &follower] {
        let series = &head.select(&tenant(), &[], NOW, NOW)[0];
        let mut found = Vec::new();
        series.read_histograms(0, i64::MAX, &mut found).unwrap();

        let mut times = Vec::new();
        let mut starts = Vec::new();
        let has_histograms = series
            .read_with_starts(0, i64::MAX, &mut times, &mut Vec::new(), &mut starts)
            .unwrap();

        assert_eq!((times, starts), (vec![NOW], vec![NOW - 9]));
        assert_eq!(
            (found.len(), found[0].t, found[0].st, has_histograms),
            (1, NOW + 1, 5, true)
        );
        assert_eq!(
            head.exemplars(&tenant(), &[equal("job", "a")], NOW, NOW)[0]
                .1
                .len(),
            1
        );

        assert_eq!(
            head.metadata(&tenant(), Some("up")),
            [("up".to_owned(), metadata.clone())]
        );
    }
}

#[test]
fn exemplars_that_cannot_be_kept_cost_no_sample_and_those_alone_need_a_known_series() {
    let dir = tempfile::tempdir().unwrap();
    let shard = shard(dir.path(), 1);
    let exemplar = |t, trace: &str| Exemplar {
        labels: Labels::from_pairs([("trace_id", trace)]),
        v: 1.0,
        t,
    };

    // Of the first series, before its sample; of a series without any; of one with a sample.
    let mut maker = Maker::default()
        .up("a", &[])
        .up("stranger", &[])
        .up("a", &[(NOW, 1.0)]);
    let umlauts = "ü".repeat(120);

    maker.batch.exemplars = vec![
        exemplar(NOW, "alone"),
        exemplar(NOW, "lost"),
        exemplar(NOW - 3 * 3_600_000, "old"),
        exemplar(0, "zero"),
        exemplar(NOW, &"x".repeat(121)),
        exemplar(NOW, &umlauts),
    ];

    for (series, range) in [0..1, 1..2, 2..6].into_iter().enumerate() {
        maker.batch.series[series].exemplars = range;
    }

    for _ in 0..2 {
        let mut out = IngestOutput::default();
        shard.ingest(
            &tenant(),
            &maker.batch,
            &maker.idx(),
            &IngestLimits::default(),
            NOW,
            &mut out,
        );

        assert!(out.outcome.rejections.is_empty(), "{:?}", out.outcome);
        assert_eq!((out.outcome.samples, out.outcome.exemplars), (1, 2));
        let mut dropped: Vec<_> = out
            .outcome
            .dropped
            .iter()
            .map(|r| (r.reason, r.count))
            .collect();

        dropped.sort_unstable();
        let want = [
            ("exemplar_labels_too_long", 1),
            ("exemplar_of_unknown_series", 1),
            ("exemplar_too_old", 2),
        ];

        assert_eq!(dropped, want);
    }

    let kept = shard.exemplars(&tenant(), &[], 0, i64::MAX);
    assert_eq!(
        (kept.len(), kept[0].1.len()),
        (1, 2),
        "the second time brings nothing new: {kept:?}"
    );
}

#[test]
fn replicas_have_the_same_metadata_whoever_heard_it_first() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let shards = [shard(dirs[0].path(), 1), shard(dirs[1].path(), 2)];
    let help = |text: &str| {
        vec![(
            "up".to_owned(),
            MetricMetadata {
                help: text.to_owned(),
                ..MetricMetadata::default()
            },
        )]
    };

    let mut logs = [Origin::new(1), Origin::new(2)];
    for ((shard, log), text) in shards
        .iter()
        .zip(&mut logs)
        .zip(["said here", "said there"])
    {
        let mut out = IngestOutput::default();
        shard.ingest_metadata(&tenant(), &help(text), &mut out);
        log.log(shard, out.drafts);
    }

    for (shard, other) in [(0, 1), (1, 0)] {
        for record in &logs[other].records {
            shards[shard].apply(record).unwrap();
        }
    }

    let all = |shard: &Shard| shard.metadata(&tenant(), None);
    assert_eq!(
        (all(&shards[0]).len(), all(&shards[0])),
        (2, all(&shards[1]))
    );
}

#[test]
fn an_undefined_reference_is_an_error_and_a_damaged_payload_too() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let origin = shard(dirs[0].path(), 1);
    let follower = shard(dirs[1].path(), 2);
    let mut log = Origin::new(1);

    log.log(
        &origin,
        Maker::default()
            .up("a", &[(NOW, 1.0)])
            .ingest(&origin, NOW)
            .drafts,
    );

    log.log(
        &origin,
        Maker::default()
            .up("a", &[(NOW + 1, 1.0)])
            .ingest(&origin, NOW)
            .drafts,
    );

    assert!(matches!(
        follower.apply(&log.records[1]),
        Err(HeadError::UnknownReference { count: 1, .. })
    ));

    let mut draft =
        trireme_wire::record::RecordDraft::new(0, trireme_wire::record::RecordKind::Samples);
    draft
        .payload_mut()
        .extend_from_slice(&[1, b'a', 2, 255, 0, 0, 0]);

    assert!(matches!(
        follower.apply(&draft.seal(stream(9), 1)),
        Err(HeadError::Entry { .. })
    ));

    let _ = options(dirs[0].path(), 1);
}

#[test]
fn a_further_tenant_is_refused_and_metadata_without_room_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let options = ShardOptions {
        tenants_max: 1,
        metadata_max: 2,
        ..options(dir.path(), 1)
    };

    let shard = Shard::new(options).unwrap();
    Maker::default().up("a", &[(NOW, 1.0)]).ingest(&shard, NOW);
    let other = trireme_model::Tenant::new("other").unwrap();
    let maker = Maker::default().up("a", &[(NOW, 1.0)]);
    let mut out = IngestOutput::default();

    shard.ingest(
        &other,
        &maker.batch,
        &[0],
        &IngestLimits::default(),
        NOW,
        &mut out,
    );

    assert_eq!(
        out.outcome
            .rejections
            .iter()
            .map(|r| r.reason)
            .collect::<Vec<_>>(),
        ["tenant_limit"]
    );

    assert!(out.drafts.is_empty() && shard.tenants() == [tenant()]);
    shard.ingest_metadata(
        &other,
        &[("m0".to_owned(), MetricMetadata::default())],
        &mut out,
    );

    assert_eq!(shard.tenants(), [tenant()]);
    out.clear();

    for n in 0..4 {
        let metadata = MetricMetadata {
            kind: MetricType::Counter,
            ..MetricMetadata::default()
        };
        shard.ingest_metadata(&tenant(), &[(format!("m{n}"), metadata)], &mut out);
    }

    let kept: Vec<_> = shard
        .metadata(&tenant(), None)
        .into_iter()
        .map(|(name, _)| name)
        .collect();

    assert_eq!(kept, ["m0", "m1"]);
    let dropped: Vec<_> = out
        .outcome
        .dropped
        .iter()
        .map(|r| (r.reason, r.count))
        .collect();

    assert_eq!(
        (dropped, out.outcome.rejections.is_empty()),
        (vec![("metadata_limit", 2)], true)
    );

    // A repetition waits for a quorum too, so it leads to a record.
    out.clear();
    let metadata = MetricMetadata {
        kind: MetricType::Counter,
        ..MetricMetadata::default()
    };

    shard.ingest_metadata(&tenant(), &[("m0".to_owned(), metadata)], &mut out);
    assert_eq!(out.drafts.len(), 1);
}

#[test]
fn no_batch_makes_a_record_over_its_bound() {
    let dir = tempfile::tempdir().unwrap();
    let shard = shard(dir.path(), 1);
    let samples: Vec<_> = (0..300_000)
        .map(|n| (NOW - WINDOW / 2 + n, (n as f64).sin()))
        .collect();
    let mut maker = Maker::default().up("a", &samples);
    let many = Histogram {
        positive_buckets: vec![1; 70_000],
        ..Histogram::default()
    };

    maker.batch.histograms = vec![HistogramSample {
        t: NOW,
        st: 0,
        h: AnyHistogram::Int(Arc::new(many)),
    }];

    maker.batch.series[0].histograms = 0..1;
    let long = "x".repeat(5_000);
    maker.batch.exemplars = vec![Exemplar {
        labels: Labels::from_pairs([("a", long.as_str())]),
        v: 1.0,
        t: NOW,
    }];

    maker.batch.series[0].exemplars = 0..1;
    let import = IngestLimits {
        backfill_window_ms: 2 * WINDOW,
        ..IngestLimits::default()
    };
    let out = maker.ingest_with(&shard, NOW + WINDOW, &import);
    let reasons: Vec<_> = out
        .outcome
        .rejections
        .iter()
        .map(|r| (r.reason, r.count))
        .collect();

    assert_eq!(reasons, [("histogram_too_large", 1)]);
    let dropped: Vec<_> = out
        .outcome
        .dropped
        .iter()
        .map(|r| (r.reason, r.count))
        .collect();

    assert_eq!(dropped, [("exemplar_labels_too_long", 1)]);
    assert!(out.outcome.samples == 300_000 && out.drafts.len() > 1);
    assert!(out.drafts.iter().all(|d| d.len() < 3 << 20));

    let follower = support::shard(&dir.path().join("follower"), 2);
    let mut log = Origin::new(1);
    log.log(&shard, out.drafts);

    for record in &log.records {
        follower.apply(record).unwrap();
    }

    assert_eq!(dump(&follower), dump(&shard));
}
