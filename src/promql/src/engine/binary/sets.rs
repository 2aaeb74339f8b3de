//! `and`, `or` and `unless`.

use super::matching::groups;
use crate::ast::{BinaryOp, VectorMatching};
use crate::engine::block::Block;
use crate::engine::query::Pace;
use crate::engine::row::Tag;
use crate::error::QueryError;

/// Applies a set operator step by step.
pub(super) fn set_operation(
    op: BinaryOp,
    mut lhs: Block,
    mut rhs: Block,
    matching: &VectorMatching,
    mut pace: Pace<'_>,
) -> Result<Block, QueryError> {
    let steps = lhs.steps;
    for group in groups(&lhs, &rhs, matching) {
        for step in 0..steps {
            pace.work(group.left.len() + group.right.len())?;
            if op == BinaryOp::Or {
                if any_at(&lhs, &group.left, step) {
                    clear_at(&mut rhs, &group.right, step);
                }
            } else if any_at(&rhs, &group.right, step) != (op == BinaryOp::And) {
                clear_at(&mut lhs, &group.left, step);
            }
        }
    }

    let mut out = Block::new(steps);
    let right = if op == BinaryOp::Or {
        Some(&mut rhs)
    } else {
        None
    };

    for block in [Some(&mut lhs), right].into_iter().flatten() {
        let rows = std::mem::take(&mut block.rows).into_iter();
        for (meta, row) in std::mem::take(&mut block.metas).into_iter().zip(rows) {
            if !row.is_empty() {
                out.push(meta, row);
            }
        }
        out.adopt(block);
    }

    if op == BinaryOp::Or {
        out.merge_equal_labels()
    } else {
        Ok(out)
    }
}

#[inline]
fn any_at(block: &Block, series: &[usize], step: usize) -> bool {
    series
        .iter()
        .any(|i| block.rows[*i].tag(step) != Tag::Empty)
}

#[inline]
fn clear_at(block: &mut Block, series: &[usize], step: usize) {
    series.iter().for_each(|i| block.rows[*i].clear(step));
}
