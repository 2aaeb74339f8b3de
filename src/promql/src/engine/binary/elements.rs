//! One operator applied to one pair of elements.

use std::sync::Arc;

use trireme_model::{FloatHistogram, ResetHint};

use crate::annotations::{self as notes, HistogramOperation, Note};
use crate::ast::{BinaryOp, PosRange};
use crate::engine::row::{Cell, Out};

/// What comes out.
pub(super) enum Element {
    /// Nothing: the operator is not defined for these types.
    None,
    /// A new value.
    Out(Out),
    /// Whether a comparison holds.
    Compared(bool),
}

/// What comes out, and what is to be said about it.
pub(super) struct Outcome {
    pub(super) element: Element,
    pub(super) note: Option<Note>,
}

/// An operator between two numbers; comparisons give 0 or 1.
pub(crate) fn scalar_op(op: BinaryOp, l: f64, r: f64) -> f64 {
    arithmetic(op, l, r)
        .or_else(|| compare(op, l, r).map(|b| f64::from(u8::from(b))))
        .unwrap_or(f64::NAN)
}

#[inline]
fn arithmetic(op: BinaryOp, l: f64, r: f64) -> Option<f64> {
    Some(match op {
        BinaryOp::Add => l + r,
        BinaryOp::Sub => l - r,
        BinaryOp::Mul => l * r,
        BinaryOp::Div => l / r,
        BinaryOp::Mod => l % r,
        BinaryOp::Pow => l.powf(r),
        BinaryOp::Atan2 => l.atan2(r),
        _ => return None,
    })
}

#[inline]
#[allow(clippy::float_cmp)]
fn compare(op: BinaryOp, l: f64, r: f64) -> Option<bool> {
    Some(match op {
        BinaryOp::Eq => l == r,
        BinaryOp::Ne => l != r,
        BinaryOp::Lt => l < r,
        BinaryOp::Le => l <= r,
        BinaryOp::Gt => l > r,
        BinaryOp::Ge => l >= r,
        _ => return None,
    })
}

/// True for the operators whose result is no longer the metric it was.
pub(super) fn changes_meaning(op: BinaryOp) -> bool {
    matches!(
        op,
        BinaryOp::Add
            | BinaryOp::Sub
            | BinaryOp::Mul
            | BinaryOp::Div
            | BinaryOp::Mod
            | BinaryOp::Pow
            | BinaryOp::Atan2
    )
}

/// Applies an operator to two elements, neither of which is empty.
pub(super) fn element_op(op: BinaryOp, l: Cell<'_>, r: Cell<'_>, pos: PosRange) -> Outcome {
    let element = match (l, r) {
        (Cell::Float(a), Cell::Float(b)) => floats(op, a, b),
        (Cell::Float(a), Cell::Histogram(h)) if op == BinaryOp::Mul => {
            histogram(scaled(h, |h| h.mul(a)))
        }
        (Cell::Histogram(h), Cell::Float(b)) => match op {
            BinaryOp::Mul => histogram(scaled(h, |h| h.mul(b))),
            BinaryOp::Div => histogram(scaled(h, |h| h.div(b))),
            BinaryOp::TrimUpper => histogram(h.keep_below(b)),
            BinaryOp::TrimLower => histogram(h.keep_above(b)),
            _ => Element::None,
        },
        (Cell::Histogram(a), Cell::Histogram(b)) => match op {
            BinaryOp::Add | BinaryOp::Sub => return combined(op, a, b, pos),
            BinaryOp::Eq => Element::Compared(a.equals(b)),
            BinaryOp::Ne => Element::Compared(!a.equals(b)),
            _ => Element::None,
        },
        _ => Element::None,
    };

    let is_defined = !matches!(element, Element::None);
    Outcome {
        element,
        note: (!is_defined)
            .then(|| notes::incompatible_types(type_of(l), op.as_str(), type_of(r), pos)),
    }
}

#[inline]
fn floats(op: BinaryOp, a: f64, b: f64) -> Element {
    if let Some(v) = arithmetic(op, a, b) {
        return Element::Out(Out::Float(v));
    }
    compare(op, a, b).map_or(Element::None, Element::Compared)
}

fn histogram(h: FloatHistogram) -> Element {
    Element::Out(Out::histogram(h))
}

fn type_of(cell: Cell<'_>) -> &'static str {
    if matches!(cell, Cell::Histogram(_)) {
        "histogram"
    } else {
        "float"
    }
}

fn scaled(h: &Arc<FloatHistogram>, f: impl FnOnce(&mut FloatHistogram)) -> FloatHistogram {
    let mut h = (**h).clone();
    f(&mut h);
    h.compact();
    h
}

fn combined(op: BinaryOp, a: &FloatHistogram, b: &FloatHistogram, pos: PosRange) -> Outcome {
    let (operation, result) = {
        let mut h = a.clone();
        let (operation, outcome) = match op {
            BinaryOp::Add => (HistogramOperation::Add, h.add(b)),
            _ => (HistogramOperation::Sub, h.sub(b)),
        };
        (operation, outcome.map(|outcome| (h, outcome)))
    };

    let Ok((mut h, outcome)) = result else {
        let note = notes::incompatible_bucket_layout(op.as_str(), pos);
        return Outcome {
            element: Element::None,
            note: Some(note),
        };
    };

    if outcome.reset_collision {
        let note = notes::counter_reset_collision(operation, pos);
        return Outcome {
            element: Element::None,
            note: Some(note),
        };
    }

    if op == BinaryOp::Sub {
        h.reset_hint = ResetHint::Gauge;
    }

    h.compact();
    let note = outcome
        .bounds_reconciled
        .then(|| notes::mismatched_custom_buckets(operation, pos));

    Outcome {
        element: Element::Out(Out::histogram(h)),
        note,
    }
}
