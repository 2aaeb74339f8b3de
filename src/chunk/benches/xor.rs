//! Nanoseconds per sample of appending to and decoding float chunks.
#![allow(missing_docs)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use trireme_chunk::{XorAppender, decode_into};

const SAMPLES: usize = 120;

/// A counter scraped every 15 s with jitter, a constant and a noisy gauge.
fn series() -> [(&'static str, Vec<(i64, f64)>); 3] {
    let mut state = 7u64;
    let mut next = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state >> 33
    };

    let mut shape = |value: &mut dyn FnMut(u64) -> f64| {
        let mut t = 1_700_000_000_000i64;
        let mut sample = |_| {
            t += 14_995 + (next() % 10) as i64;
            (t, value(next()))
        };
        (0..SAMPLES).map(&mut sample).collect::<Vec<_>>()
    };

    let mut total = 0.0;
    [
        (
            "counter",
            shape(&mut |r| {
                total += (r % 100) as f64;
                total
            }),
        ),
        ("constant", shape(&mut |_| 1.0)),
        ("noise", shape(&mut |r| r as f64 / 7.0)),
    ]
}

fn xor(c: &mut Criterion) {
    for (name, samples) in series() {
        let mut group = c.benchmark_group(name);
        group.throughput(Throughput::Elements(SAMPLES as u64));
        let mut buf = Vec::with_capacity(2_048);

        group.bench_function("append", |b| {
            b.iter(|| {
                let mut appender = XorAppender::start(&mut buf);
                for (t, v) in &samples {
                    appender.append(&mut buf, *t, *v);
                }
                black_box(buf.len())
            });
        });

        let mut times = Vec::new();
        let mut values = Vec::new();
        group.bench_function("decode", |b| {
            b.iter(|| {
                times.clear();
                values.clear();
                decode_into(&buf, &mut times, &mut values).expect("own chunk");
                black_box(values.len())
            });
        });

        group.finish();
    }
}

criterion_group!(benches, xor);
criterion_main!(benches);
