//! `histogram_quantile`, `histogram_quantiles`, `histogram_fraction`: over native histograms, and over classic ones,
//! whose buckets are series of their own.

use hashbrown::HashMap;
use trireme_model::Labels;

use super::block::Block;
use super::call::{argument, string};
use super::eval::{Evaluator, hints};
use super::labels::without_metadata;
use super::row::{Cell, Meta, Row, Tag};
use super::scalar::Scalar;
use super::stream::Stream;
use crate::annotations::{self as notes, Notes};
use crate::ast::{Call, Expr, PosRange};
use crate::error::QueryError;
use crate::functions::classic::{self, ClassicBucket};
use crate::functions::quantile::is_invalid;
use crate::functions::{Notice, native};

/// The label with a classic bucket's upper bound.
const BOUND: &str = "le";

/// What is computed of each histogram.
enum Wanted<'q> {
    Quantile(Scalar),
    /// The label that says which quantile, and the quantiles.
    Quantiles(&'q str, Vec<Scalar>),
    Fraction(Scalar, Scalar),
}

/// Series that are one histogram: buckets, or a native one, at different steps perhaps both.
struct Family {
    /// Labels without the bound.
    labels: Labels,
    drop_name: bool,
    /// Bound and row, sorted by bound.
    buckets: Vec<(f64, usize)>,
    native: Option<usize>,
}

/// Families in order of first appearance.
#[derive(Default)]
struct Families {
    list: Vec<Family>,
    by_labels: HashMap<Labels, usize>,
}

impl Families {
    /// The family of these labels, a new one if they are new.
    fn find(&mut self, labels: Labels, drop_name: bool) -> &mut Family {
        let list = &mut self.list;
        let at = *self.by_labels.entry(labels).or_insert_with_key(|labels| {
            list.push(Family {
                labels: labels.clone(),
                drop_name,
                buckets: Vec::new(),
                native: None,
            });
            list.len() - 1
        });
        &mut self.list[at]
    }
}

impl<'q> Evaluator<'q> {
    pub(super) fn histogram_call(&self, call: &'q Call) -> Result<Stream<'q>, QueryError> {
        let (wanted, vector) = self.wanted(call)?;

        let block = self
            .vector(vector, hints(call.func.name))?
            .collect(self.query)?;

        self.note_invalid_quantiles(call, &wanted);
        let mut families = Histograms {
            evaluator: self,
            block,
            wanted,
            pos: vector.pos(),
            notes: Notes::default(),
        };

        let out = families.compute()?;
        self.query.merge_notes(families.notes);
        Ok(out.merge_equal_labels()?.into_stream())
    }

    /// What is asked of which vector.
    fn wanted(&self, call: &'q Call) -> Result<(Wanted<'q>, &'q Expr), QueryError> {
        Ok(match call.func.name {
            "histogram_quantile" => (
                Wanted::Quantile(self.scalar(argument(call, 0)?)?),
                argument(call, 1)?,
            ),
            "histogram_fraction" => {
                let lower = self.scalar(argument(call, 0)?)?;
                let upper = self.scalar(argument(call, 1)?)?;
                (Wanted::Fraction(lower, upper), argument(call, 2)?)
            }
            _ => {
                let label = string(argument(call, 1)?)?;
                let quantiles = call.args[2..]
                    .iter()
                    .map(|arg| self.scalar(arg))
                    .collect::<Result<_, _>>()?;
                (Wanted::Quantiles(label, quantiles), argument(call, 0)?)
            }
        })
    }

    fn note_invalid_quantiles(&self, call: &Call, wanted: &Wanted<'_>) {
        let quantiles = match wanted {
            Wanted::Quantile(q) => std::slice::from_ref(q).iter().zip(&call.args[..1]),
            Wanted::Quantiles(_, quantiles) => quantiles.iter().zip(&call.args[2..]),
            Wanted::Fraction(..) => return,
        };
        for (q, arg) in quantiles {
            for step in (0..self.steps.count).filter(|step| is_invalid(q.at(*step))) {
                self.query
                    .note(notes::invalid_quantile(q.at(step), arg.pos()));
            }
        }
    }
}

/// The histograms of one call.
struct Histograms<'a, 'q> {
    evaluator: &'a Evaluator<'q>,
    block: Block,
    wanted: Wanted<'q>,
    /// Where the vector stands.
    pos: PosRange,
    notes: Notes,
}

impl Histograms<'_, '_> {
    /// Without delayed removal names are gone by the time that notes are written.
    fn shows_names(&self) -> bool {
        self.evaluator.query.options.delayed_name_removal
    }

    /// The name for a note.
    fn name_of<'a>(&self, labels: &'a Labels) -> &'a str {
        if self.shows_names() {
            labels.metric_name()
        } else {
            ""
        }
    }

    fn families(&mut self) -> Vec<Family> {
        let mut families = Families::default();

        for (series, (meta, row)) in self.block.metas.iter().zip(&self.block.rows).enumerate() {
            if !row.has_floats_only() {
                families.find(meta.labels.clone(), meta.drop_name).native = Some(series);
            }

            if row.floats().next().is_none() {
                continue;
            }

            let text = meta.labels.get(BOUND).unwrap_or("");
            match text.parse::<f64>().ok().filter(|bound| !bound.is_nan()) {
                Some(bound) => {
                    let labels = meta.labels.without(&[BOUND]);
                    let family = families.find(labels, meta.drop_name);
                    family.buckets.push((bound, series));
                }
                None => {
                    let note = notes::bad_bucket_label(self.name_of(&meta.labels), text, self.pos);
                    self.notes.add(note);
                }
            }
        }

        for family in &mut families.list {
            family.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        }

        families.list
    }

    fn compute(&mut self) -> Result<Block, QueryError> {
        let steps = self.block.steps;
        let mut out = Block::new(steps);

        let mut buckets = Vec::new();
        for family in self.families() {
            self.evaluator.query.check()?;

            let mut rows = OutputRows::new(self.evaluator, &family);
            for step in 0..steps {
                self.fill_buckets(&family, step, &mut buckets);

                let native = family
                    .native
                    .filter(|i| self.block.rows[*i].tag(step) == Tag::Histogram);

                match (native, buckets.is_empty()) {
                    (None, true) => {}
                    (Some(_), false) => {
                        let note =
                            notes::mixed_classic_native(self.name_of(&family.labels), self.pos);
                        self.notes.add(note);
                    }
                    (Some(series), true) => self.native(&family.labels, series, step, &mut rows)?,
                    (None, false) => self.classic(&family.labels, &mut buckets, step, &mut rows)?,
                }
            }

            rows.store(&mut out)?;
        }

        Ok(out)
    }

    /// The buckets of a family that have a count at a step.
    #[inline]
    fn fill_buckets(&self, family: &Family, step: usize, buckets: &mut Vec<ClassicBucket>) {
        buckets.clear();
        for (upper, series) in &family.buckets {
            if let Cell::Float(count) = self.block.rows[*series].cell(step) {
                buckets.push(ClassicBucket {
                    upper: *upper,
                    count,
                });
            }
        }
    }

    fn native(
        &mut self,
        labels: &Labels,
        series: usize,
        step: usize,
        rows: &mut OutputRows<'_>,
    ) -> Result<(), QueryError> {
        let Cell::Histogram(h) = self.block.rows[series].cell(step) else {
            return Ok(());
        };

        let nameless = Labels::empty();
        let labels = if self.shows_names() {
            labels
        } else {
            &nameless
        };

        let mut notice = Notice {
            labels,
            pos: self.pos,
            notes: &mut self.notes,
        };

        match &self.wanted {
            Wanted::Quantile(q) => {
                rows.set(None, step, native::quantile(q.at(step), h, &mut notice))
            }
            Wanted::Quantiles(label, quantiles) => {
                for q in quantiles {
                    let q = q.at(step);
                    rows.set(Some((label, q)), step, native::quantile(q, h, &mut notice))?;
                }
                Ok(())
            }
            Wanted::Fraction(lower, upper) => {
                let fraction = native::fraction(lower.at(step), upper.at(step), h, &mut notice);
                rows.set(None, step, fraction)
            }
        }
    }

    fn classic(
        &mut self,
        labels: &Labels,
        buckets: &mut Vec<ClassicBucket>,
        step: usize,
        rows: &mut OutputRows<'_>,
    ) -> Result<(), QueryError> {
        let evaluator = self.evaluator;
        let name = self.name_of(labels);
        let pos = self.pos;
        let t = evaluator.steps.time(step);
        let notes = &mut self.notes;
        let mut quantile = |q: f64, buckets: &mut Vec<ClassicBucket>| {
            let (value, forced) = classic::quantile(q, buckets);
            if let Some(f) = forced {
                notes.add(notes::forced_monotonicity(
                    name,
                    pos,
                    t,
                    f.bucket_min,
                    f.bucket_max,
                    f.diff_max,
                ));
            }
            value
        };

        match &self.wanted {
            Wanted::Quantile(q) => rows.set(None, step, quantile(q.at(step), buckets)),
            Wanted::Quantiles(label, quantiles) => {
                for q in quantiles {
                    let value = quantile(q.at(step), &mut buckets.clone());
                    rows.set(Some((label, q.at(step))), step, value)?;
                }
                Ok(())
            }
            Wanted::Fraction(lower, upper) => rows.set(
                None,
                step,
                classic::fraction(lower.at(step), upper.at(step), buckets),
            ),
        }
    }
}

/// Results of one family: one series, or one for each quantile.
struct OutputRows<'a> {
    evaluator: &'a Evaluator<'a>,
    family: &'a Family,
    rows: Vec<(Option<u64>, Labels, Row)>,
}

impl<'a> OutputRows<'a> {
    fn new(evaluator: &'a Evaluator<'a>, family: &'a Family) -> Self {
        Self {
            evaluator,
            family,
            rows: Vec::new(),
        }
    }

    /// Sets the result at a step, in the series of a quantile (with its label name) or in the only one.
    fn set(
        &mut self,
        quantile: Option<(&str, f64)>,
        step: usize,
        v: f64,
    ) -> Result<(), QueryError> {
        let key = quantile.map(|(_, q)| q.to_bits());
        let at = match self.rows.iter().position(|(k, ..)| *k == key) {
            Some(at) => at,
            None => {
                let mut labels = self.family.labels.clone();
                if let Some((name, q)) = quantile {
                    let mut builder = labels.to_builder();
                    builder.set(name, &format_quantile(q));
                    labels = builder.finish();
                }
                self.rows
                    .push((key, labels, Row::empty(self.evaluator.steps.count)));
                self.rows.len() - 1
            }
        };

        let row = &mut self.rows[at].2;
        if row.tag(step) != Tag::Empty {
            return Err(super::block::same_labelset());
        }

        row.set_float(step, v);
        Ok(())
    }

    fn store(self, out: &mut Block) -> Result<(), QueryError> {
        let query = self.evaluator.query;

        let delayed = query.options.delayed_name_removal;
        for (_, labels, row) in self.rows {
            let labels = if delayed {
                labels
            } else {
                without_metadata(&labels)
            };

            out.held.hold(&query.budget, row.samples())?;
            out.push(
                Meta {
                    labels,
                    drop_name: delayed || self.family.drop_name,
                },
                row,
            );
        }

        Ok(())
    }
}

/// A number as exposition formats write it: with a point or an exponent.
fn format_quantile(q: f64) -> String {
    let text = trireme_model::format_float(q);
    if q.is_finite() && !text.contains(['.', 'e']) {
        format!("{text}.0")
    } else {
        text
    }
}
