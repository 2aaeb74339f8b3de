//! Operators, parentheses and literals.

use std::sync::Arc;

use super::{ParseResult, Parser, Size, Tree};
use crate::ast::{
    Binary, BinaryOp, Expr, NumberLiteral, Paren, PosRange, StringLiteral, Unary, UnaryOp,
};
use crate::durations::parse_duration;
use crate::lexer::{Keyword, Kind, Token, UnquoteError, parse_number, unquote};

impl Parser<'_> {
    /// An expression of operators that bind at least as strongly as `precedence_min`.
    pub(super) fn expression(&mut self, precedence_min: u8) -> ParseResult<Tree> {
        self.nested(|p| {
            let mut lhs = p.prefixed()?;
            while let Kind::Op(op) = *p.peek_kind() {
                let precedence = op.precedence();
                if precedence < precedence_min {
                    break;
                }
                let op_pos = p.next().pos;
                lhs = p.binary(lhs, op, op_pos)?;
            }
            Ok(lhs)
        })
    }

    fn binary(&mut self, lhs: Tree, op: BinaryOp, op_pos: PosRange) -> ParseResult<Tree> {
        let modifiers = self.binary_modifiers()?;
        let rhs_min = op.precedence() + u8::from(!op.is_right_associative());
        let rhs = self.expression(rhs_min)?;

        let pos = lhs.expr.pos().merge(rhs.expr.pos());
        let matching = &modifiers.matching;
        let fills = matching.fill_left.or(matching.fill_right).is_some();
        if fills && !self.options.fill_modifiers {
            return Err(self.error(pos, "binop fill modifiers are experimental and not enabled"));
        }

        let size = size_of(&lhs, &rhs);
        let binary = Binary {
            op,
            op_pos,
            lhs: Box::new(lhs.expr),
            rhs: Box::new(rhs.expr),
            return_bool: modifiers.return_bool,
            matching: Some(modifiers.matching),
            pos,
        };

        self.tree(Expr::Binary(binary), size)
    }

    /// An operand with its sign. A sign binds less than `^` and more than `*`.
    fn prefixed(&mut self) -> ParseResult<Tree> {
        let op = match self.peek_kind() {
            Kind::Op(BinaryOp::Add) => UnaryOp::Plus,
            Kind::Op(BinaryOp::Sub) => UnaryOp::Minus,
            _ => return self.postfixed(),
        };

        let sign = self.next().pos;
        let operand = self.expression(BinaryOp::Pow.precedence())?;

        let pos = sign.merge(operand.expr.pos());
        match operand.expr {
            Expr::Number(mut number) => {
                if op == UnaryOp::Minus {
                    number.value = -number.value;
                }
                number.pos = pos;
                self.tree(Expr::Number(number), operand.size)
            }
            expr => {
                let unary = Unary {
                    op,
                    expr: Box::new(expr),
                    pos,
                };
                self.tree(Expr::Unary(unary), operand.size.above())
            }
        }
    }

    /// An operand with its brackets and modifiers.
    fn postfixed(&mut self) -> ParseResult<Tree> {
        let mut tree = self.primary()?;
        loop {
            let token = self.peek();
            match token.kind {
                Kind::LeftBracket => tree = self.range_or_subquery(tree)?,
                Kind::Keyword(Keyword::Offset) => self.offset(&mut tree.expr)?,
                Kind::Keyword(keyword @ (Keyword::Anchored | Keyword::Smoothed)) => {
                    self.extended(&mut tree.expr, keyword)?;
                }
                Kind::At => self.at_modifier(&mut tree.expr)?,
                _ => return Ok(tree),
            }
        }
    }

    fn primary(&mut self) -> ParseResult<Tree> {
        let token = self.peek().clone();
        match &token.kind {
            Kind::Number | Kind::Duration => {
                let number = self.number_literal()?;
                self.tree(Expr::Number(number), Size::LEAF)
            }
            Kind::String => self.string_literal(&token),
            Kind::LeftParen => self.parenthesised(),
            Kind::Aggregate(op) if self.aggregate_follows() => self.aggregate(*op),
            Kind::Identifier if *self.peek_second() == Kind::LeftParen => self.call(),
            Kind::Keyword(k) if k.is_function() && *self.peek_second() == Kind::LeftParen => {
                self.call()
            }
            _ => {
                let selector = self.vector_selector()?;
                self.tree(Expr::Vector(selector), Size::LEAF)
            }
        }
    }

    fn string_literal(&mut self, token: &Token) -> ParseResult<Tree> {
        self.next();
        let (value, bytes) = match unquote(self.text(token)) {
            // What becomes of it is up to the function that gets it.
            Err(UnquoteError::Utf8(bytes)) => (
                Arc::from(&*String::from_utf8_lossy(&bytes)),
                Some(Arc::from(bytes)),
            ),
            _ => (self.unquote(token)?, None),
        };

        let pos = token.pos;
        let literal = StringLiteral { value, bytes, pos };
        self.tree(Expr::String(literal), Size::LEAF)
    }

    fn parenthesised(&mut self) -> ParseResult<Tree> {
        let open = self.next().pos;
        let inner = self.expression(0)?;
        let Some(close) = self.accept(&Kind::RightParen) else {
            return Err(self.unexpected_here());
        };

        let paren = Paren {
            expr: Box::new(inner.expr),
            pos: open.merge(close.pos),
        };

        self.tree(Expr::Paren(paren), inner.size.above())
    }

    /// A number or a duration; the caller has seen that there is one.
    pub(super) fn number_literal(&mut self) -> ParseResult<NumberLiteral> {
        let token = self.next();
        let text = self.text(&token);
        let duration = token.kind == Kind::Duration;
        let value = if duration {
            match parse_duration(text) {
                Ok(ms) => ms as f64 / 1000.0,
                Err(e) => return Err(self.error(token.pos, e.to_string())),
            }
        } else {
            match parse_number(text) {
                Ok(value) => value,
                Err(e) => {
                    return Err(self.error(
                        token.pos,
                        format!("error parsing number: strconv.ParseFloat: {e}"),
                    ));
                }
            }
        };

        Ok(NumberLiteral {
            value,
            duration,
            pos: token.pos,
        })
    }

    /// A number or duration that may have a sign.
    pub(super) fn signed_number(&mut self) -> ParseResult<Option<NumberLiteral>> {
        let sign = match self.peek_kind() {
            Kind::Op(BinaryOp::Sub) => -1.0,
            Kind::Op(BinaryOp::Add) => 1.0,
            Kind::Number | Kind::Duration => return self.number_literal().map(Some),
            _ => return Ok(None),
        };

        if !matches!(self.peek_second(), Kind::Number | Kind::Duration) {
            return Ok(None);
        }

        let sign_pos = self.next().pos;
        let mut number = self.number_literal()?;
        number.value *= sign;
        number.pos = sign_pos.merge(number.pos);

        Ok(Some(number))
    }
}

/// The size of an operator's tree.
fn size_of(lhs: &Tree, rhs: &Tree) -> Size {
    // Another operator on the left makes a chain with this one.
    let chains = matches!(lhs.expr, Expr::Binary(_));
    let left = if chains {
        lhs.size.depth
    } else {
        lhs.size.depth + 1
    };

    Size {
        depth: left.max(rhs.size.depth + 1),
        height: lhs.size.height.max(rhs.size.height) + 1,
    }
}
