//! Arithmetic and comparisons between two vectors.

use std::collections::BTreeMap;

use hashbrown::{HashMap, HashSet};
use trireme_model::Labels;

use super::elements::{Element, changes_meaning, element_op};
use super::matching::{MatchGroup, MatchKey, groups};
use super::sets::set_operation;
use crate::annotations::Note;
use crate::ast::{Binary, Expr, MatchCardinality, VectorMatching};
use crate::engine::block::Block;
use crate::engine::eval::Evaluator;
use crate::engine::labels::{display, without_metadata};
use crate::engine::query::{Pace, Query};
use crate::engine::row::{Cell, Meta, Out, Row, Tag};
use crate::engine::stream::Stream;
use crate::error::QueryError;
use crate::select::SelectHints;

impl<'q> Evaluator<'q> {
    /// An operator between two vectors.
    pub(in crate::engine) fn vector_vector(&self, b: &'q Binary) -> Result<Stream<'q>, QueryError> {
        let lhs = self.block(&b.lhs)?;
        let rhs = self.block(&b.rhs)?;
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

        join.finish(self.query)
    }

    /// All elements of a vector.
    fn block(&self, expr: &'q Expr) -> Result<Block, QueryError> {
        self.vector(expr, SelectHints::default())?
            .collect(self.query)
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
        let live = (0..steps)
            .map(|step| match (any_at(&lhs, step), any_at(&rhs, step)) {
                (true, true) => true,
                (false, false) => false,
                _ => fills,
            })
            .collect();
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

    /// The result; tells the notes.
    fn finish<'q>(self, query: &Query<'_>) -> Result<Stream<'q>, QueryError> {
        for (_, note) in self.notes.into_values() {
            query.note(note);
        }

        let mut out = self.out;
        for row in &out.rows {
            out.held.hold(&query.budget, row.samples())?;
        }

        Ok(out.merge_equal_labels()?.into_stream())
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
            matched.clear();
            let matches = self.pair_all(many, partner, step, fill_one, &mut matched)?;

            if let (Some(_), Some(_), 0) = (partner, fill_many, matches) {
                let mut matches = 0;
                self.pair((None, partner), step, fill_many, &mut matches, &mut matched)?;
            }
        }

        Ok(())
    }

    /// Computes a step of the series of the "many" side; gives how many of them have a result.
    #[inline]
    fn pair_all(
        &mut self,
        many: &[usize],
        partner: Option<usize>,
        step: usize,
        fill: Option<f64>,
        matched: &mut HashSet<Labels>,
    ) -> Result<usize, QueryError> {
        let mut matches = 0;
        if partner.is_none() && fill.is_none() {
            return Ok(matches);
        }

        for &series in many {
            if self.many().rows[series].tag(step) != Tag::Empty {
                let pair = (Some(series), partner);
                self.pair(pair, step, fill, &mut matches, matched)?;
            }
        }

        Ok(matches)
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

        let a = &self.one().metas[a].labels;
        let b = &self.one().metas[b].labels;
        let side = if self.many_left { "right" } else { "left" };

        Err(QueryError::execution(format!(
            "found duplicate series for the match group {} on the {side} hand-side of the operation: [{}, {}];\
             many-to-many matching not allowed: matching labels must be unique on one side",
            display(&self.key.of(a)),
            display(a.min(b)),
            display(a.max(b)),
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
        let filled = Cell::Float(fill.unwrap_or(f64::NAN));
        let many = pair.0.map_or(filled, |i| self.many().rows[i].cell(step));
        let one = pair.1.map_or(filled, |i| self.one().rows[i].cell(step));
        let (l, r) = if self.many_left {
            (many, one)
        } else {
            (one, many)
        };

        let outcome = element_op(self.b.op, l, r, self.b.pos);
        let kept = kept(outcome.element, l, self.b.return_bool);
        if let Some(note) = outcome.note {
            self.note(step, pair.0.unwrap_or(usize::MAX), note);
        }

        let Some(value) = kept else { return Ok(()) };
        *matches += 1;

        let at = self.output_row(pair);
        self.check_unique(at, *matches, matched)?;

        if let Some(value) = value {
            self.out.rows[at].set(step, value);
        }

        Ok(())
    }

    /// Only the note about the last pair of a step is told.
    fn note(&mut self, step: usize, order: usize, note: Note) {
        match self.notes.get(&step) {
            Some((present, _)) if *present > order => {}
            _ => drop(self.notes.insert(step, (order, note))),
        }
    }

    /// Refuses a row that is the result of a second pair of a step.
    #[inline]
    fn check_unique(
        &self,
        at: usize,
        matches: usize,
        matched: &mut HashSet<Labels>,
    ) -> Result<(), QueryError> {
        if self.matching.card == MatchCardinality::OneToOne {
            if matches > 1 {
                return Err(QueryError::execution(
                    "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)",
                ));
            }
        } else if !matched.insert(self.out.metas[at].labels.clone()) {
            return Err(QueryError::execution(
                "multiple matches for labels: grouping labels must ensure unique matches",
            ));
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
        let mut labels =
            many_meta.map_or_else(|| self.match_labels(one_meta), |m| m.labels.clone());
        let lent = one_meta.map_or_else(|| self.match_labels(many_meta), |m| m.labels.clone());

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
            labels = self.with_lent(&labels, &lent);
        }

        // As in Prometheus, a comparison takes back that a name was to be removed at the end of the query.
        Meta {
            labels,
            drop_name: self.b.return_bool,
        }
    }

    /// Labels with those that the "one" side lends to them.
    fn with_lent(&self, labels: &Labels, lent: &Labels) -> Labels {
        let mut builder = labels.to_builder();
        for name in &self.matching.include {
            builder.set(name, lent.get(name).unwrap_or(""));
        }
        builder.finish()
    }

    /// The match labels of a series; none if there is none.
    fn match_labels(&self, other: Option<&Meta>) -> Labels {
        other.map_or_else(Labels::empty, |meta| self.key.of(&meta.labels))
    }
}

fn any_at(block: &Block, step: usize) -> bool {
    block.rows.iter().any(|row| row.tag(step) != Tag::Empty)
}

/// What a pair leaves in the result: none, an empty element, or a value. A comparison that filters keeps `l`.
#[inline]
fn kept(element: Element, l: Cell<'_>, return_bool: bool) -> Option<Option<Out>> {
    match element {
        Element::None => None,
        Element::Out(out) => Some(Some(out)),
        Element::Compared(holds) if return_bool => {
            Some(Some(Out::Float(f64::from(u8::from(holds)))))
        }
        Element::Compared(true) => Some(match l {
            Cell::Float(v) => Some(Out::Float(v)),
            Cell::Histogram(h) => Some(Out::Histogram(std::sync::Arc::clone(h))),
            Cell::Empty => None,
        }),
        Element::Compared(false) => Some(None),
    }
}
