//! Random series and random expressions over them.

use std::sync::Arc;

use trireme_base::SeededRng;
use trireme_model::{FloatHistogram, Labels, ResetHint, STALE_NAN, Span};
use trireme_promql::{Cancel, Columns, Select, SelectError, SelectRequest, SeriesRead, SeriesSet};

/// Series in memory.
pub struct Memory(Vec<(Labels, Arc<Columns>)>);

impl Select for Memory {
    fn select(&self, request: &SelectRequest, _: &Cancel) -> Result<SeriesSet, SelectError> {
        let matches = |labels: &Labels| {
            request
                .matchers
                .iter()
                .all(|m| m.matches(labels.get(&m.name).unwrap_or("")))
        };

        let chosen = self.0.iter().filter(|(labels, _)| matches(labels));
        let series =
            chosen.map(|(l, c)| Box::new(Read(l.clone(), Arc::clone(c))) as Box<dyn SeriesRead>);

        Ok(SeriesSet {
            series: series.collect(),
            warnings: Vec::new(),
        })
    }
}

struct Read(Labels, Arc<Columns>);

impl SeriesRead for Read {
    fn labels(&self) -> &Labels {
        &self.0
    }

    fn read_within(
        &self,
        start_ms: i64,
        end_ms: i64,
        samples_max: usize,
        out: &mut Columns,
    ) -> Result<(), SelectError> {
        let wanted = start_ms..=end_ms;
        for (i, t) in self
            .1
            .float_t
            .iter()
            .enumerate()
            .filter(|(_, t)| wanted.contains(t))
        {
            out.push_float_st(
                *t,
                self.1.float_st.get(i).copied().unwrap_or(0),
                self.1.float_v[i],
            );
        }

        for p in self.1.histograms.iter().filter(|p| wanted.contains(&p.t)) {
            out.push_histogram(p.t, p.st, Arc::clone(&p.h));
        }

        out.check_within(samples_max)
    }
}

fn pick<'a>(rng: &mut SeededRng, from: &[&'a str]) -> &'a str {
    from[rng.below(from.len() as u64) as usize]
}

/// Metrics `g` (anything), `c_total` (counter), `h` (native), `b_bucket` (classic), `mix` (both kinds), `target_info`;
/// each with `series` instances and up to `samples` samples about every 10 s.
pub fn memory(rng: &mut SeededRng, series: u64, samples: u64) -> Memory {
    let mut out = Vec::new();
    for i in 0..series {
        let instance = format!("i{i}");

        let job = format!("j{}", i % 2);
        for name in ["g", "c_total", "h", "mix", "target_info"] {
            let mut pairs = vec![("__name__", name), ("instance", &*instance), ("job", &*job)];
            if name == "target_info" {
                pairs.push(("version", if i % 2 == 0 { "1" } else { "2" }));
            }
            out.push((
                Labels::from_pairs(pairs),
                Arc::new(columns(rng, name, samples)),
            ));
        }

        for le in ["0.1", "1", "10", "+Inf"] {
            let pairs = [
                ("__name__", "b_bucket"),
                ("instance", &*instance),
                ("job", &*job),
                ("le", le),
            ];
            out.push((
                Labels::from_pairs(pairs),
                Arc::new(columns(rng, "c_total", samples)),
            ));
        }
    }

    Memory(out)
}

fn columns(rng: &mut SeededRng, name: &str, samples: u64) -> Columns {
    let mut out = Columns::default();
    let mut t = rng.below(20_000) as i64 - 60_000;
    let mut v = 0.0;

    let mut counts = [0.0; 3];
    for _ in 0..rng.below(samples + 1) {
        let gap_ms = if rng.chance(0.1) { 400_000 } else { 20_000 };
        t += 1 + rng.below(gap_ms) as i64;
        if rng.chance(0.05) {
            out.push_float(t, f64::from_bits(STALE_NAN));
            continue;
        }

        let st = if rng.chance(0.1) {
            t - rng.below(30_000) as i64
        } else {
            0
        };

        if name == "h" || (name == "mix" && rng.chance(0.5)) {
            let reset = rng.chance(0.1);
            for count in &mut counts {
                *count = if reset { 0.0 } else { *count } + rng.below(5) as f64;
            }
            out.push_histogram(t, st, Arc::new(histogram(rng, &counts)));
            continue;
        }

        v = match (name, rng.below(20)) {
            ("target_info", _) => 1.0,
            (_, 0) => 0.0,
            ("g", 1) => f64::NAN,
            ("g", 2) => f64::INFINITY,
            ("g", _) => rng.unit() * 200.0 - 100.0,
            _ => v + rng.below(10) as f64,
        };

        out.push_float_st(t, st, v);
    }

    out
}

fn histogram(rng: &mut SeededRng, counts: &[f64; 3]) -> FloatHistogram {
    let custom = rng.chance(0.15);
    let count: f64 = counts.iter().sum();
    FloatHistogram {
        reset_hint: match rng.below(8) {
            0 => ResetHint::Reset,
            1 => ResetHint::NotReset,
            2 => ResetHint::Gauge,
            _ => ResetHint::Unknown,
        },
        schema: if custom { -53 } else { rng.below(3) as i32 },
        zero_threshold: if custom {
            0.0
        } else {
            [0.001, 0.6][rng.below(2) as usize]
        },
        zero_count: if custom { 0.0 } else { rng.below(3) as f64 },
        count,
        sum: if rng.chance(0.05) {
            f64::NAN
        } else {
            count * 1.5
        },
        positive_spans: vec![
            Span {
                offset: 0,
                length: 2,
            },
            Span {
                offset: 1 - i32::from(custom),
                length: 1,
            },
        ],
        positive_buckets: counts.to_vec(),
        custom_values: if custom {
            vec![1.0, 2.0 + rng.below(2) as f64, 5.0]
        } else {
            Vec::new()
        },
        ..FloatHistogram::default()
    }
}

/// Series whose histograms do not hold together: spans without buckets, odd schemas, NaN everywhere.
pub fn malformed(rng: &mut SeededRng) -> Memory {
    let odd = |rng: &mut SeededRng| {
        [0.0, 1.0, -3.0, f64::NAN, f64::INFINITY, 1e308][rng.below(6) as usize]
    };

    let mut out = Vec::new();
    for name in ["g", "h", "mix"] {
        let mut columns = Columns::default();
        for i in 0..30 {
            let spans = |rng: &mut SeededRng| {
                let span = |rng: &mut SeededRng| Span {
                    offset: rng.next_u64() as i32 >> rng.below(31),
                    length: rng.next_u64() as u32 >> rng.below(32),
                };
                (0..rng.below(4)).map(|_| span(rng)).collect::<Vec<_>>()
            };

            let h = FloatHistogram {
                schema: [0, 3, -4, 8, -53, 40, i32::MIN, i32::MAX][rng.below(8) as usize],
                zero_threshold: odd(rng),
                zero_count: odd(rng),
                count: odd(rng),
                sum: odd(rng),
                positive_spans: spans(rng),
                positive_buckets: (0..rng.below(5)).map(|_| odd(rng)).collect(),
                negative_spans: spans(rng),
                negative_buckets: (0..rng.below(5)).map(|_| odd(rng)).collect(),
                custom_values: (0..rng.below(5)).map(|_| odd(rng)).collect(),
                ..FloatHistogram::default()
            };

            columns.push_histogram(i * 15_000, 0, Arc::new(h));
        }

        out.push((
            Labels::from_pairs([("__name__", name), ("instance", "i1")]),
            Arc::new(columns),
        ));
    }

    Memory(out)
}

/// A random expression that is an instant vector (or a scalar), `depth` levels deep at most.
pub fn expression(rng: &mut SeededRng, depth: u32) -> String {
    if depth == 0 {
        return selector(rng);
    }

    let inner = |rng: &mut SeededRng| expression(rng, depth - 1);
    match rng.below(14) {
        0 => selector(rng),
        1 | 2 => over_range(rng, depth),
        3 | 4 => {
            let op = pick(
                rng,
                &[
                    "sum", "avg", "min", "max", "count", "group", "stddev", "stdvar",
                ],
            );
            format!("{op} {} ({})", grouping(rng), inner(rng))
        }
        5 => {
            let op = pick(
                rng,
                &["topk", "bottomk", "quantile", "limit_ratio", "limitk"],
            );
            let param = pick(rng, &["1", "2", "0.5", "0.9", "(1 + 0 * time())"]);
            // limitk takes the first ones; an order that all steps share, only selectors have.
            let vector = if op == "limitk" {
                selector(rng)
            } else {
                inner(rng)
            };
            format!("{op} {} ({param}, {vector})", grouping(rng))
        }
        6 => format!("count_values {} (\"value\", {})", grouping(rng), inner(rng)),
        7 => {
            let op = pick(
                rng,
                &[
                    "+", "-", "*", "/", "%", "^", "atan2", "==", "!=", ">", "<= bool", "> bool",
                    "</", ">/",
                ],
            );

            let scalar = pick(rng, &["2", "0.5", "time()", "-1", "NaN", "(1 / 0)"]);

            let op_left = op.trim_end_matches(" bool");
            if rng.chance(0.7) || matches!(op_left, "</" | ">/") {
                format!("({}) {op} {scalar}", inner(rng))
            } else {
                format!("{scalar} {op} ({})", inner(rng))
            }
        }
        8 | 9 => {
            let op = pick(
                rng,
                &[
                    "+", "-", "*", "/", "==", "!=", "> bool", "<", "and", "or", "unless",
                ],
            );

            let is_set = matches!(op, "and" | "or" | "unless");
            let matching = match rng.below(5) {
                0 => "on (instance)",
                1 => "ignoring (job)",
                2 if !is_set => "on (instance) group_left (version)",
                3 if !is_set => "on (instance, le) fill (1)",
                _ => "",
            };

            format!("({}) {op} {matching} ({})", inner(rng), inner(rng))
        }
        10 => {
            let name = pick(
                rng,
                &[
                    "abs",
                    "ceil",
                    "sgn",
                    "sqrt",
                    "ln",
                    "histogram_count",
                    "histogram_sum",
                    "histogram_avg",
                    "histogram_stddev",
                    "hour",
                    "day_of_year",
                    "timestamp",
                    "absent",
                    "-",
                    "info",
                ],
            );
            format!("{name}({})", inner(rng))
        }
        11 => match rng.below(4) {
            0 => format!("histogram_quantile(0.9, {})", inner(rng)),
            1 => format!("histogram_fraction(0, 2, {})", inner(rng)),
            2 => format!("histogram_quantiles({}, \"q\", 0.1, 0.5)", inner(rng)),
            _ => format!("clamp({}, -5, 5)", inner(rng)),
        },
        12 => match rng.below(3) {
            0 => format!(
                "label_replace({}, \"job\", \"x-$1\", \"instance\", \"(i[01])\")",
                inner(rng)
            ),
            1 => format!(
                "label_join({}, \"__name__\", \"_\", \"job\", \"instance\")",
                inner(rng)
            ),
            _ => format!("vector(scalar({}))", inner(rng)),
        },
        _ => format!("({})", inner(rng)),
    }
}

fn grouping(rng: &mut SeededRng) -> &'static str {
    match rng.below(5) {
        0 => "by (job)",
        1 => "without (instance)",
        2 => "by (__name__, le)",
        3 => "by (le)",
        _ => "",
    }
}

fn modifiers(rng: &mut SeededRng) -> &'static str {
    match rng.below(8) {
        0 => " offset 1m",
        1 => " offset -45s",
        2 => " @ 120",
        3 => " @ 90 offset 20s",
        _ => "",
    }
}

fn name(rng: &mut SeededRng) -> &'static str {
    match rng.below(8) {
        0 => "g",
        1 | 2 => "c_total",
        3 => "h",
        4 => "b_bucket",
        5 => "mix",
        6 => "{__name__=~\"g|c_total\"}",
        _ => "g{instance=\"i1\"}",
    }
}

fn selector(rng: &mut SeededRng) -> String {
    let smoothed = if rng.chance(0.1) { " smoothed" } else { "" };
    format!("{}{smoothed}{}", name(rng), modifiers(rng))
}

fn over_range(rng: &mut SeededRng, depth: u32) -> String {
    let range = if depth > 1 && rng.chance(0.3) {
        let step = pick(rng, &["", "7s", "25s"]);
        format!(
            "({})[2m:{step}]{}",
            expression(rng, depth - 1),
            modifiers(rng)
        )
    } else {
        format!(
            "{}[{}]{}",
            name(rng),
            pick(rng, &["15s", "1m", "5m"]),
            modifiers(rng)
        )
    };

    let plain = [
        "rate",
        "increase",
        "delta",
        "irate",
        "idelta",
        "changes",
        "resets",
        "deriv",
        "avg_over_time",
        "sum_over_time",
        "min_over_time",
        "max_over_time",
        "count_over_time",
        "first_over_time",
        "last_over_time",
        "present_over_time",
        "absent_over_time",
        "stddev_over_time",
        "mad_over_time",
        "ts_of_first_over_time",
        "ts_of_last_over_time",
        "ts_of_max_over_time",
        "ts_of_min_over_time",
    ];

    match rng.below(10) {
        0 => format!("quantile_over_time(0.3, {range})"),
        1 => format!("predict_linear({range}, 60)"),
        2 => format!("double_exponential_smoothing({range}, 0.5, 0.5)"),
        3 if !range.starts_with('(') => {
            let modifier = pick(rng, &["anchored", "smoothed"]);
            let at = range.find(']').map_or(range.len(), |i| i + 1);
            let (selector, rest) = range.split_at(at);
            let function = pick(rng, &["rate", "increase", "delta"]);
            format!("{function}({selector} {modifier}{rest})")
        }
        _ => format!("{}({range})", pick(rng, &plain)),
    }
}
