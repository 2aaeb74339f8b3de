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
            match op {
                BinaryOp::Or => {
                    if group
                        .left
                        .iter()
                        .any(|i| lhs.rows[*i].tag(step) != Tag::Empty)
                    {
                        group.right.iter().for_each(|i| rhs.rows[*i].clear(step));
                    }
                }
                _ => {
                    let on_right = group
                        .right
                        .iter()
                        .any(|i| rhs.rows[*i].tag(step) != Tag::Empty);
                    if on_right != (op == BinaryOp::And) {
                        group.left.iter().for_each(|i| lhs.rows[*i].clear(step));
                    }
                }
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
