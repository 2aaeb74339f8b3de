//! Function calls and aggregations.

use std::sync::Arc;

use trireme_model::quote;

use super::{ParseResult, Parser, Size, Tree};
use crate::ast::{Aggregate, AggregateOp, Call, Expr, PosRange, function};
use crate::lexer::{Keyword, Kind};

/// Arguments in parentheses.
struct Arguments {
    list: Vec<Expr>,
    /// Of the largest.
    size: Size,
}

impl Parser<'_> {
    /// `name(args)`; the caller has seen name and parenthesis.
    pub(super) fn call(&mut self) -> ParseResult<Tree> {
        let name = self.next();
        let text = self.text(&name);
        let arguments = self.arguments()?;

        // Names that are keywords as well are written in any case.
        let found = match name.kind {
            Kind::Keyword(_) => function(&text.to_ascii_lowercase()),
            _ => function(text),
        };
        let Some(func) = found else {
            return Err(self.error(
                name.pos,
                format!("unknown function with name {}", quote(text)),
            ));
        };

        if func.experimental && !self.options.experimental_functions {
            let message = format!("function {} is not enabled", quote(text));
            return Err(self.error(name.pos, message));
        }

        let pos = PosRange::new(name.pos.start as usize, self.last_end());
        self.tree(
            Expr::Call(Call {
                func,
                args: arguments.list,
                pos,
            }),
            arguments.size.above(),
        )
    }

    fn arguments(&mut self) -> ParseResult<Arguments> {
        if self.accept(&Kind::LeftParen).is_none() {
            return Err(self.unexpected_here());
        }

        let mut arguments = Arguments {
            list: Vec::new(),
            size: Size::default(),
        };
        if self.accept(&Kind::RightParen).is_some() {
            return Ok(arguments);
        }

        loop {
            let argument = self.expression(0)?;
            arguments.size = arguments.size.beside(argument.size);
            arguments.list.push(argument.expr);

            if self.accept(&Kind::RightParen).is_some() {
                return Ok(arguments);
            }
            let Some(comma) = self.accept(&Kind::Comma) else {
                return Err(self.unexpected_here());
            };

            if *self.peek_kind() == Kind::RightParen {
                return Err(self.error(
                    comma.pos,
                    "trailing commas not allowed in function call args",
                ));
            }
        }
    }

    /// True if the aggregation operator at this place is used as one; else it is the name of a metric.
    pub(super) fn aggregate_follows(&self) -> bool {
        matches!(
            self.peek_second(),
            Kind::LeftParen | Kind::Keyword(Keyword::By | Keyword::Without)
        )
    }

    pub(super) fn aggregate(&mut self, op: AggregateOp) -> ParseResult<Tree> {
        let start = self.next().pos;
        self.aggregations += 1;
        let mut modifier = self.aggregate_modifier()?;
        let arguments = self.arguments()?;

        self.aggregations -= 1;
        if modifier.is_none() {
            modifier = self.aggregate_modifier()?;
        }

        let (without, grouping) = modifier.unwrap_or_default();
        let pos = PosRange::new(start.start as usize, self.last_end());
        let given = arguments.list.len();
        let mut list = arguments.list.into_iter();
        let wanted = if op.has_param() { 2 } else { 1 };
        if given == 0 {
            return Err(self.error(pos, "no arguments for aggregate expression provided"));
        }

        self.check_experimental(op, pos)?;

        let param = if op.has_param() {
            list.next().map(Box::new)
        } else {
            None
        };

        let (Some(expr), None) = (list.next(), list.next()) else {
            let message = format!(
                "wrong number of arguments for aggregate expression provided, expected {wanted}, got {given}"
            );
            return Err(self.error(pos, message));
        };

        let aggregate = Aggregate {
            op,
            expr: Box::new(expr),
            param,
            grouping,
            without,
            pos,
        };

        self.tree(Expr::Aggregate(aggregate), arguments.size.above())
    }

    fn check_experimental(&self, op: AggregateOp, pos: PosRange) -> ParseResult<()> {
        if !op.is_experimental() || self.options.experimental_functions {
            return Ok(());
        }

        let name = op.as_str();
        let message = format!(
            "{name}() is experimental and must be enabled with --enable-feature=promql-experimental-functions"
        );
        Err(self.error(pos, message))
    }

    /// `by (...)` or `without (...)`: whether it is the latter, and the labels.
    fn aggregate_modifier(&mut self) -> ParseResult<Option<(bool, Vec<Arc<str>>)>> {
        let without = match self.peek_kind() {
            Kind::Keyword(Keyword::By) => false,
            Kind::Keyword(Keyword::Without) => true,
            _ => return Ok(None),
        };
        self.next();
        Ok(Some((without, self.grouping_labels()?)))
    }
}
