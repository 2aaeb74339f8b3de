//! Arithmetic and comparisons between two vectors.

use std::collections::BTreeMap;

use hashbrown::{HashMap, HashSet};
use trireme_model::Labels;

use super::elements::{Element, changes_meaning, element_op};
use super::matching::{MatchGroup, MatchKey, groups};
use super::sets::set_operation;
use crate::annotations::Note;
use crate::ast::{Binary, MatchCardinality, VectorMatching};
use crate::engine::block::Block;
use crate::engine::eval::Evaluator;
use crate::engine::labels::{display, without_metadata};
use crate::engine::query::Pace;
use crate::engine::row::{Cell, Meta, Out, Row, Tag};
use crate::engine::stream::Stream;
use crate::error::QueryError;
use crate::select::SelectHints;

impl<'q> Evaluator<'q> {
    /// An operator between two vectors.
    pub(in crate::engine) fn vector_vector(&self, b: &'q Binary) -> Result<Stream<'q>, QueryError> {
        let lhs = self
            .vector(&b.lhs, SelectHints::default())?
            .collect(self.query)?;
        let rhs = self
            .vector(&b.rhs, SelectHints::default())?
            .collect(self.query)?;
        let default = VectorMatching::default();
        let matching = b.matching.as_ref().unwrap_or(&default);
        if b.op.is_set() {
            return Ok(set_operation(b.op, lhs, rhs, matching, self.query.pace())?.into_stream());
        }

        let drop_now = b.return_bool && !self.query.options.delayed_name_removal;
        let mut join = Join::new(b, matching, lhs, rhs, drop_now);

        let mut pace = self.query.pace();
        for group in groups(&join.lhs, &join.rhs, matching) {
            join.group(&group, &mut pace)?;
        }

        for (_, note) in std::mem::take(&mut join.notes).into_values() {
            self.query.note(note);
        }

        let mut out = join.out;
        for row in &out.rows {
            out.held.hold(&self.query.budget, row.samples())?;
        }

        Ok(out.merge_equal_labels()?.into_stream())
    }
}

/// The "many" and the "one" partner of a pair; `None` for one that is filled in.
type Pair = (Option<usize>, Option<usize>);

struct Join<'a> {
    b: &'a Binary,
    matching: &'a VectorMatching,
    key: MatchKey<'a>,
    lhs: Block,
    rhs: Block,
    /// True if the left side is the one that may have several series in a group (or both have one).
    many_left: bool,
    /// A `bool` comparison drops the name now, not at the end of the query.
    drop_now: bool,
    /// Steps at which there is something to pair: both sides have samples, or one has and the other is filled in.
    live: Vec<bool>,
    out: Block,
    /// Output row of each pair of this group.
    pairs: HashMap<Pair, usize>,
    /// Of each step the note about the last pair, as only that one is told.
    notes: BTreeMap<usize, (usize, Note)>,
}

impl<'a> Join<'a> {
    fn new(
        b: &'a Binary,
        matching: &'a VectorMatching,
        lhs: Block,
        rhs: Block,
        drop_now: bool,
    ) -> Self {
        let steps = lhs.steps;
        let fills = matching.fill_left.is_some() || matching.fill_right.is_some();
        let present = |block: &Block, step| {
            block
                .rows
                .iter()
                .any(|row: &Row| row.tag(step) != Tag::Empty)
        };

        let live = |step| match (present(&lhs, step), present(&rhs, step)) {
            (true, true) => true,
            (false, false) => false,
            _ => fills,
        };

        let live = (0..steps).map(live).collect();
        Self {
            b,
            live,
            matching,
            key: MatchKey::new(matching),
            lhs,
            rhs,
            many_left: matching.card != MatchCardinality::OneToMany,
            drop_now,
            out: Block::new(steps),
            pairs: HashMap::new(),
            notes: BTreeMap::new(),
        }
    }

    fn many(&self) -> &Block {
        if self.many_left { &self.lhs } else { &self.rhs }
    }

    fn one(&self) -> &Block {
        if self.many_left { &self.rhs } else { &self.lhs }
    }

    /// Computes all steps of the series that belong together.
    fn group(&mut self, group: &MatchGroup, pace: &mut Pace<'_>) -> Result<(), QueryError> {
        let (many, one) = if self.many_left {
            (&group.left, &group.right)
        } else {
            (&group.right, &group.left)
        };

        let fill_left = self.matching.fill_left;
        let fill_right = self.matching.fill_right;
        let (fill_many, fill_one) = if self.many_left {
            (fill_left, fill_right)
        } else {
            (fill_right, fill_left)
        };

        if one.is_empty() && (many.is_empty() || fill_one.is_none()) {
            return Ok(());
        }

        self.pairs.clear();

        let mut matched: HashSet<Labels> = HashSet::new();
        for step in 0..self.out.steps {
            if !self.live[step] {
                continue;
            }

            pace.work(many.len() + one.len())?;
            let partner = self.only_one(one, step)?;
            let mut matches = 0;

            matched.clear();
            for &series in many {
                if self.many().rows[series].tag(step) == Tag::Empty {
                    continue;
                }
                if partner.is_none() && fill_one.is_none() {
                    continue;
                }

                self.pair(
                    (Some(series), partner),
                    step,
                    fill_one,
                    &mut matches,
                    &mut matched,
                )?;
            }

            if let (Some(_), Some(_), 0) = (partner, fill_many, matches) {
                self.pair((None, partner), step, fill_many, &mut matches, &mut matched)?;
            }
        }

        Ok(())
    }

    /// The series of the "one" side that has a sample.
    fn only_one(&self, one: &[usize], step: usize) -> Result<Option<usize>, QueryError> {
        let mut present = one
            .iter()
            .copied()
            .filter(|i| self.one().rows[*i].tag(step) != Tag::Empty);
        let first = present.next();
        let (Some(a), Some(b)) = (first, present.next()) else {
            return Ok(first);
        };

        let labels = |i: usize| &self.one().metas[i].labels;
        let first = labels(a).min(labels(b));
        let second = labels(a).max(labels(b));
        let side = if self.many_left { "right" } else { "left" };

        Err(QueryError::execution(format!(
            "found duplicate series for the match group {} on the {side} hand-side of the operation: [{}, {}];\
             many-to-many matching not allowed: matching labels must be unique on one side",
            display(&self.key.of(labels(a))),
            display(first),
            display(second),
        )))
    }

    fn pair(
        &mut self,
        pair: Pair,
        step: usize,
        fill: Option<f64>,
        matches: &mut usize,
        matched: &mut HashSet<Labels>,
    ) -> Result<(), QueryError> {
        let filled = || Cell::Float(fill.unwrap_or(f64::NAN));
        let many = pair
            .0
            .map_or_else(filled, |i| self.many().rows[i].cell(step));
        let one = pair
            .1
            .map_or_else(filled, |i| self.one().rows[i].cell(step));
        let (l, r) = if self.many_left {
            (many, one)
        } else {
            (one, many)
        };

        let outcome = element_op(self.b.op, l, r, self.b.pos);
        let kept = match outcome.element {
            Element::None => None,
            Element::Out(out) => Some(Some(out)),
            Element::Compared(holds) if self.b.return_bool => {
                Some(Some(Out::Float(f64::from(u8::from(holds)))))
            }
            Element::Compared(true) => Some(match l {
                Cell::Float(v) => Some(Out::Float(v)),
                Cell::Histogram(h) => Some(Out::Histogram(std::sync::Arc::clone(h))),
                Cell::Empty => None,
            }),
            Element::Compared(false) => Some(None),
        };

        if let Some(note) = outcome.note {
            let order = pair.0.unwrap_or(usize::MAX);
            match self.notes.get(&step) {
                Some((present, _)) if *present > order => {}
                _ => drop(self.notes.insert(step, (order, note))),
            }
        }

        let Some(value) = kept else { return Ok(()) };
        *matches += 1;

        let at = self.output_row(pair);
        if self.matching.card == MatchCardinality::OneToOne {
            if *matches > 1 {
                return Err(QueryError::execution(
                    "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)",
                ));
            }
        } else if !matched.insert(self.out.metas[at].labels.clone()) {
            return Err(QueryError::execution(
                "multiple matches for labels: grouping labels must ensure unique matches",
            ));
        }

        if let Some(value) = value {
            self.out.rows[at].set(step, value);
        }

        Ok(())
    }

    fn output_row(&mut self, pair: Pair) -> usize {
        if let Some(at) = self.pairs.get(&pair) {
            return *at;
        }

        let at = self.out.rows.len();
        let meta = self.result_meta(pair);
        self.out.push(meta, Row::empty(self.out.steps));
        self.pairs.insert(pair, at);

        at
    }

    /// Labels of a result: those of the "many" side, and what the "one" side lends. A filled in partner has the
    /// match labels only.
    fn result_meta(&self, (many, one): Pair) -> Meta {
        let many_meta = many.map(|i| &self.many().metas[i]);
        let one_meta = one.map(|i| &self.one().metas[i]);
        let empty = Labels::empty();
        let partner =
            |other: Option<&Meta>| other.map_or_else(|| empty.clone(), |m| self.key.of(&m.labels));
        let mut labels = many_meta.map_or_else(|| partner(one_meta), |m| m.labels.clone());
        let lent = one_meta.map_or_else(|| partner(many_meta), |m| m.labels.clone());

        if changes_meaning(self.b.op) || self.drop_now {
            labels = without_metadata(&labels);
        }

        if self.matching.card == MatchCardinality::OneToOne {
            let names: Vec<&str> = self.matching.labels.iter().map(AsRef::as_ref).collect();
            labels = if self.matching.on {
                labels.only(&names)
            } else {
                labels.without(&names)
            };
        }

        if !self.matching.include.is_empty() {
            let mut builder = labels.to_builder();
            for name in &self.matching.include {
                builder.set(name, lent.get(name).unwrap_or(""));
            }
            labels = builder.finish();
        }

        // As in Prometheus, a comparison takes back that a name was to be removed at the end of the query.
        Meta {
            labels,
            drop_name: self.b.return_bool,
        }
    }
}
