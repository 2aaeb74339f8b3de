//! Durations in brackets and behind `offset`.

use super::{ParseResult, Parser};
use crate::ast::{BinaryOp, DurationArg, DurationExpr, DurationOp, PosRange};
use crate::lexer::{Keyword, Kind, Token};
use crate::parse_error::ParseError;

/// Greatest duration in seconds: 64 bits of nanoseconds, as in Prometheus.
const SECONDS_MAX: f64 = i64::MAX as f64 / 1e9;

impl Parser<'_> {
    /// A duration in brackets. Errors name `context` and what is `expected` there.
    pub(super) fn positive_duration(
        &mut self,
        context: &'static str,
        expected: &'static str,
    ) -> ParseResult<DurationArg> {
        self.duration_context = (context, expected);
        let expr = self.duration_expression(0)?;
        if let DurationExpr::Literal { seconds, pos, .. } = expr
            && seconds <= 0.0
        {
            return Err(self.error(pos, "duration must be greater than 0"));
        }

        let mut arg = self.duration_arg(expr)?;
        if arg.expr.is_none() {
            // What is greater than 0 must not become 0 for want of resolution.
            arg.ms = arg.ms.max(1);
        }

        Ok(arg)
    }

    /// The duration behind `offset`: a literal, a function or parentheses, with a sign. `offset -2^2` negates and
    /// shifts first, so operators end it.
    pub(super) fn offset_duration(&mut self) -> ParseResult<DurationArg> {
        self.duration_context = ("offset", "number, duration, step(), or range()");
        let expr = match self.sign() {
            Some(sign) => {
                let operand = self.duration_term()?;
                self.signed_duration(sign, operand)?
            }
            None => self.duration_term()?,
        };

        self.duration_arg(expr)
    }

    fn duration_arg(&self, expr: DurationExpr) -> ParseResult<DurationArg> {
        match expr {
            DurationExpr::Literal { seconds, .. } => {
                // Rounded to nanoseconds first, then cut to milliseconds.
                let nanoseconds = (seconds * 1e9).round() as i64;
                Ok(DurationArg::from_ms(nanoseconds / 1_000_000))
            }
            expr => Ok(DurationArg {
                ms: 0,
                expr: Some(Box::new(expr)),
            }),
        }
    }

    fn duration_expression(&mut self, precedence_min: u8) -> ParseResult<DurationExpr> {
        self.nested(|p| {
            let mut lhs = match p.sign() {
                Some(sign) => {
                    let operand = p.duration_expression(DurationOp::Pow.precedence())?;
                    p.signed_duration(sign, operand)?
                }
                None => p.duration_term()?,
            };

            let mut chain = p.depth;
            while let Some(op) = p
                .duration_operator()
                .filter(|op| op.precedence() >= precedence_min)
            {
                // The tree grows with each operator; see `Parser::depth_max`.
                chain += 1;
                if chain > p.options.depth_max {
                    return Err(p.too_deep(lhs.pos()));
                }

                let op_pos = p.next().pos;
                let rhs_min = op.precedence() + u8::from(op != DurationOp::Pow);

                let rhs = p.duration_expression(rhs_min)?;
                p.check_divisor(op, op_pos, &rhs)?;

                let pos = lhs.pos().merge(rhs.pos());
                lhs = DurationExpr::Binary {
                    op,
                    lhs: Box::new(lhs),
                    rhs: Box::new(rhs),
                    pos,
                };
            }

            Ok(lhs)
        })
    }

    fn check_divisor(&self, op: DurationOp, pos: PosRange, rhs: &DurationExpr) -> ParseResult<()> {
        if !matches!(rhs, DurationExpr::Literal { seconds: 0.0, .. }) {
            return Ok(());
        }
        match op {
            DurationOp::Div => Err(self.error(pos, "division by zero")),
            DurationOp::Mod => Err(self.error(pos, "modulo by zero")),
            _ => Ok(()),
        }
    }

    fn duration_operator(&self) -> Option<DurationOp> {
        let Kind::Op(op) = self.peek_kind() else {
            return None;
        };
        Some(match op {
            BinaryOp::Add => DurationOp::Add,
            BinaryOp::Sub => DurationOp::Sub,
            BinaryOp::Mul => DurationOp::Mul,
            BinaryOp::Div => DurationOp::Div,
            BinaryOp::Mod => DurationOp::Mod,
            BinaryOp::Pow => DurationOp::Pow,
            _ => return None,
        })
    }

    /// A sign, if there is one: true for minus, and where it stands.
    fn sign(&mut self) -> Option<(bool, PosRange)> {
        let minus = match self.peek_kind() {
            Kind::Op(BinaryOp::Add) => false,
            Kind::Op(BinaryOp::Sub) => true,
            _ => return None,
        };
        Some((minus, self.next().pos))
    }

    fn signed_duration(
        &self,
        (minus, sign): (bool, PosRange),
        operand: DurationExpr,
    ) -> ParseResult<DurationExpr> {
        let pos = sign.merge(operand.pos());
        match operand {
            DurationExpr::Literal {
                seconds, duration, ..
            } => Ok(DurationExpr::Literal {
                seconds: if minus { -seconds } else { seconds },
                duration,
                pos,
            }),
            operand if minus => Ok(DurationExpr::Neg {
                expr: Box::new(operand),
                pos,
            }),
            operand => Ok(operand),
        }
    }

    fn duration_term(&mut self) -> ParseResult<DurationExpr> {
        let token = self.peek().clone();
        match &token.kind {
            Kind::Number | Kind::Duration => self.duration_literal(),
            Kind::LeftParen => {
                self.next();
                let expr = Box::new(self.duration_expression(0)?);
                let close = self.expect(&Kind::RightParen)?;
                Ok(DurationExpr::Paren {
                    expr,
                    pos: token.pos.merge(close.pos),
                })
            }
            Kind::Keyword(keyword @ (Keyword::Step | Keyword::Range)) => {
                self.next();
                self.expect(&Kind::LeftParen)?;
                let pos = token.pos.merge(self.expect(&Kind::RightParen)?.pos);
                Ok(if *keyword == Keyword::Step {
                    DurationExpr::Step(pos)
                } else {
                    DurationExpr::Range(pos)
                })
            }
            Kind::Identifier if let Some(max) = pick(self.text(&token)) => {
                self.pick_of_two(max, token.pos)
            }
            _ => Err(self.unexpected_in_duration()),
        }
    }

    fn duration_literal(&mut self) -> ParseResult<DurationExpr> {
        let number = self.number_literal()?;
        if number.value.is_nan() || number.value.abs() > SECONDS_MAX {
            return Err(self.error(number.pos, "duration out of range"));
        }
        Ok(DurationExpr::Literal {
            seconds: number.value,
            duration: number.duration,
            pos: number.pos,
        })
    }

    /// `min_of(a, b)` or `max_of(a, b)`.
    fn pick_of_two(&mut self, max: bool, start: PosRange) -> ParseResult<DurationExpr> {
        self.next();
        self.expect(&Kind::LeftParen)?;
        let lhs = Box::new(self.duration_expression(0)?);
        self.expect(&Kind::Comma)?;
        let rhs = Box::new(self.duration_expression(0)?);
        let pos = start.merge(self.expect(&Kind::RightParen)?.pos);
        Ok(DurationExpr::Pick { max, lhs, rhs, pos })
    }

    fn unexpected_in_duration(&self) -> ParseError {
        let (context, expected) = self.duration_context;
        self.unexpected(context, expected)
    }

    fn expect(&mut self, kind: &Kind) -> ParseResult<Token> {
        self.accept(kind)
            .ok_or_else(|| self.unexpected_in_duration())
    }
}

/// `Some(true)` for `max_of`, `Some(false)` for `min_of`.
fn pick(word: &str) -> Option<bool> {
    if word.eq_ignore_ascii_case("max_of") {
        Some(true)
    } else if word.eq_ignore_ascii_case("min_of") {
        Some(false)
    } else {
        None
    }
}
