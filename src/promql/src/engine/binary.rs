//! Binary operators.

mod elements;
mod matching;
mod sets;
mod vectors;

pub(crate) use elements::scalar_op;
use elements::{Element, element_op};

use super::eval::Evaluator;
use super::row::{Cell, Row};
use super::scalar::Scalar;
use super::stream::Stream;
use crate::ast::Binary;
use crate::error::QueryError;

impl<'q> Evaluator<'q> {
    /// An operator between a vector and a scalar; `swapped` if the scalar is on the left.
    pub(super) fn vector_scalar(
        &self,
        b: &'q Binary,
        vector: Stream<'q>,
        scalar: Scalar,
        swapped: bool,
    ) -> Result<Stream<'q>, QueryError> {
        let op = b.op;
        let return_bool = b.return_bool;
        let pos = b.pos;
        let changed = vector.map(move |_, row, worker| {
            for step in 0..row.steps() {
                let cell = row.cell(step);
                if matches!(cell, Cell::Empty) {
                    continue;
                }

                let number = Cell::Float(scalar.at(step));
                let (lhs, rhs) = if swapped {
                    (number, cell)
                } else {
                    (cell, number)
                };

                let outcome = element_op(op, lhs, rhs, pos);
                if let Some(note) = outcome.note {
                    worker.notes.add(note);
                }

                put(row, step, outcome.element, return_bool);
            }
            Ok(())
        });

        if op.is_comparison() && !return_bool || is_trim(b) {
            Ok(changed)
        } else {
            changed.drop_names(self.query)
        }
    }
}

/// Puts what came out where an operand of the vector stood.
#[inline]
fn put(row: &mut Row, step: usize, element: Element, return_bool: bool) {
    match element {
        Element::None => row.clear(step),
        Element::Out(out) => row.set(step, out),
        Element::Compared(holds) if return_bool => row.set_float(step, f64::from(u8::from(holds))),
        // A comparison filters; what passes keeps the vector's value, wherever it stands.
        Element::Compared(true) => {}
        Element::Compared(false) => row.clear(step),
    }
}

/// True for the operators that trim histograms, which keep the metric's name.
fn is_trim(b: &Binary) -> bool {
    matches!(
        b.op,
        crate::ast::BinaryOp::TrimLower | crate::ast::BinaryOp::TrimUpper
    )
}
