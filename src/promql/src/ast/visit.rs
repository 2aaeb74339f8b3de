//! Walking over an expression.

use super::Expr;

impl Expr {
    /// The direct sub-expressions, in evaluation order: an aggregation's parameter before its vector.
    pub fn children(&self) -> Vec<&Self> {
        match self {
            Self::Number(_) | Self::String(_) | Self::Vector(_) | Self::Matrix(_) => Vec::new(),
            Self::Subquery(e) => vec![&e.expr],
            Self::Paren(e) => vec![&e.expr],
            Self::Unary(e) => vec![&e.expr],
            Self::Binary(e) => vec![&e.lhs, &e.rhs],
            Self::Aggregate(e) => e
                .param
                .iter()
                .map(AsRef::as_ref)
                .chain([e.expr.as_ref()])
                .collect(),
            Self::Call(e) => e.args.iter().collect(),
        }
    }

    /// The direct sub-expressions, to be changed.
    pub fn children_mut(&mut self) -> Vec<&mut Self> {
        match self {
            Self::Number(_) | Self::String(_) | Self::Vector(_) | Self::Matrix(_) => Vec::new(),
            Self::Subquery(e) => vec![&mut e.expr],
            Self::Paren(e) => vec![&mut e.expr],
            Self::Unary(e) => vec![&mut e.expr],
            Self::Binary(e) => vec![&mut e.lhs, &mut e.rhs],
            Self::Aggregate(e) => e
                .param
                .iter_mut()
                .map(AsMut::as_mut)
                .chain([e.expr.as_mut()])
                .collect(),
            Self::Call(e) => e.args.iter_mut().collect(),
        }
    }

    /// Calls `f` on this expression and on everything below it, parents first.
    pub fn walk<'a>(&'a self, f: &mut dyn FnMut(&'a Self)) {
        f(self);
        for child in self.children() {
            child.walk(f);
        }
    }

    /// Calls `f` on this expression and on everything below it, parents first, to change them.
    pub fn walk_mut(&mut self, f: &mut dyn FnMut(&mut Self)) {
        f(self);
        for child in self.children_mut() {
            child.walk_mut(f);
        }
    }
}
