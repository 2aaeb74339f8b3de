//! As of which time `info` reads its metadata: that of the samples of its first argument, if they all have one.

use crate::ast::{At, Call, Expr, ValueType};
use crate::engine::eval::Evaluator;
use crate::engine::steps::TimeShift;

/// When a selector reads: pinned or not, and moved by how much (ms).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reference {
    at: Option<At>,
    offset: i64,
}

impl Reference {
    const STEP: Self = Self {
        at: None,
        offset: 0,
    };

    /// What modifiers inside make of it: a time pinned further in decides, offsets up to there add up.
    fn then(self, at: Option<At>, offset: i64) -> Self {
        match at {
            Some(_) => Self { at, offset },
            None => Self {
                at: self.at,
                offset: self.offset.saturating_add(offset),
            },
        }
    }

    /// One form for one moment.
    fn normal(self) -> Self {
        match self.at {
            Some(At::Timestamp(t)) => Self {
                at: Some(At::Timestamp(t.saturating_sub(self.offset))),
                offset: 0,
            },
            _ => self,
        }
    }
}

/// Calls `found` for each way by which vectors come into an expression: with its reference, or with `None` where there is
/// no selector. Scalars shift nothing, and neither does the label selector of an `info` further in.
fn references(expr: &Expr, outer: Reference, found: &mut dyn FnMut(Option<Reference>)) {
    match expr {
        Expr::Vector(v) => found(Some(outer.then(v.at, v.offset.ms))),
        Expr::Matrix(m) => found(Some(outer.then(m.selector.at, m.selector.offset.ms))),
        Expr::Subquery(s) => references(&s.expr, outer.then(s.at, s.offset.ms), found),
        Expr::Paren(p) => references(&p.expr, outer, found),
        Expr::Unary(u) => references(&u.expr, outer, found),
        Expr::Aggregate(a) => references(&a.expr, outer, found),
        Expr::Binary(b) => {
            let sides = [&b.lhs, &b.rhs];
            sides
                .iter()
                .filter(|e| is_vector(e))
                .for_each(|e| references(e, outer, found));
        }
        Expr::Call(c) => match vectors_of(c) {
            args if args.is_empty() => found(None),
            args => args
                .into_iter()
                .for_each(|arg| references(arg, outer, found)),
        },
        Expr::Number(_) | Expr::String(_) => found(None),
    }
}

fn is_vector(expr: &Expr) -> bool {
    matches!(expr.value_type(), ValueType::Vector | ValueType::Matrix)
}

/// The arguments whose samples become those of the call.
fn vectors_of(call: &Call) -> Vec<&Expr> {
    let considered = if call.func.name == "info" {
        1
    } else {
        call.args.len()
    };
    call.args
        .iter()
        .take(considered)
        .filter(|arg| is_vector(arg))
        .collect()
}

/// The reference that all ways share, if there is one.
fn shared(expr: &Expr, normal: impl Fn(Reference) -> Reference) -> Option<Reference> {
    let mut all: Vec<Option<Reference>> = Vec::new();
    references(expr, Reference::STEP, &mut |found| {
        all.push(found.map(&normal))
    });

    let first = all.first().copied().flatten()?;
    all.iter()
        .all(|other| *other == Some(first))
        .then_some(first)
}

/// True if `info` over this argument reads its metadata as of one moment, whatever the step.
pub(in crate::engine) fn is_pinned(arg: &Expr) -> bool {
    shared(arg, Reference::normal).is_some_and(|reference| reference.at.is_some())
}

impl Evaluator<'_> {
    /// The time at which the metadata of `arg` is read at each step; that of the step if there is no other for all.
    pub(super) fn info_shift(&self, arg: &Expr) -> TimeShift {
        let reference = shared(arg, |reference: Reference| {
            let at = self.shift(reference.at, 0).at.map(At::Timestamp);
            Reference { at, ..reference }.normal()
        })
        .unwrap_or(Reference::STEP);
        self.shift(reference.at, reference.offset)
    }
}
