//! Modifiers between a binary operator and its right operand, and lists of labels.

use std::sync::Arc;

use trireme_model::quote;

use super::{ParseResult, Parser};
use crate::ast::{MatchCardinality, VectorMatching};
use crate::lexer::{Keyword, Kind};

/// What stands between a binary operator and its right operand.
pub(super) struct BinaryModifiers {
    pub(super) return_bool: bool,
    pub(super) matching: VectorMatching,
}

impl Parser<'_> {
    pub(super) fn binary_modifiers(&mut self) -> ParseResult<BinaryModifiers> {
        let return_bool = self.accept(&Kind::Keyword(Keyword::Bool)).is_some();

        let mut matching = VectorMatching::default();
        if let Kind::Keyword(keyword @ (Keyword::On | Keyword::Ignoring)) = *self.peek_kind() {
            self.next();
            matching.on = keyword == Keyword::On;
            matching.labels = self.grouping_labels()?;
            self.group_modifier(&mut matching)?;
        }

        self.fill_modifiers(&mut matching)?;
        Ok(BinaryModifiers {
            return_bool,
            matching,
        })
    }

    fn group_modifier(&mut self, matching: &mut VectorMatching) -> ParseResult<()> {
        matching.card = match self.peek_kind() {
            Kind::Keyword(Keyword::GroupLeft) => MatchCardinality::ManyToOne,
            Kind::Keyword(Keyword::GroupRight) => MatchCardinality::OneToMany,
            _ => return Ok(()),
        };

        self.next();
        if *self.peek_kind() == Kind::LeftParen {
            matching.include = self.grouping_labels()?;
        }

        Ok(())
    }

    /// `fill(x)`, or one or both of `fill_left(x)` and `fill_right(x)`.
    fn fill_modifiers(&mut self, matching: &mut VectorMatching) -> ParseResult<()> {
        if self.accept(&Kind::Keyword(Keyword::Fill)).is_some() {
            let value = self.fill_value()?;
            matching.fill_left = Some(value);
            matching.fill_right = Some(value);
            return Ok(());
        }
        loop {
            let side = match self.peek_kind() {
                Kind::Keyword(Keyword::FillLeft) => &mut matching.fill_left,
                Kind::Keyword(Keyword::FillRight) => &mut matching.fill_right,
                _ => return Ok(()),
            };
            if side.is_some() {
                return Err(self.unexpected_here());
            }
            self.next();
            *side = Some(self.fill_value()?);
        }
    }

    fn fill_value(&mut self) -> ParseResult<f64> {
        if self.accept(&Kind::LeftParen).is_none() {
            return Err(self.unexpected_here());
        }
        let Some(number) = self.signed_number()? else {
            return Err(self.unexpected_here());
        };
        if self.accept(&Kind::RightParen).is_none() {
            return Err(self.unexpected_here());
        }

        Ok(number.value)
    }

    /// `(a, b, "c d")`
    pub(super) fn grouping_labels(&mut self) -> ParseResult<Vec<Arc<str>>> {
        const CONTEXT: &str = "grouping opts";

        if self.accept(&Kind::LeftParen).is_none() {
            return Err(self.unexpected(CONTEXT, "\"(\""));
        }

        let mut labels = Vec::new();
        while self.accept(&Kind::RightParen).is_none() {
            labels.push(self.grouping_label()?);
            match self.peek_kind() {
                Kind::Comma => {
                    self.next();
                }
                Kind::RightParen => {}
                _ => return Err(self.unexpected(CONTEXT, "\",\" or \")\"")),
            }
        }

        Ok(labels)
    }

    fn grouping_label(&mut self) -> ParseResult<Arc<str>> {
        let token = self.peek().clone();
        let name = match &token.kind {
            Kind::String => self.unquote(&token)?,
            Kind::Identifier | Kind::MetricIdentifier | Kind::Aggregate(_) => {
                Arc::from(self.text(&token))
            }
            Kind::Op(op) if op.as_str().starts_with(|c: char| c.is_ascii_alphabetic()) => {
                Arc::from(self.text(&token))
            }
            Kind::Keyword(keyword) if *keyword != Keyword::Without => Arc::from(self.text(&token)),
            _ => return Err(self.unexpected("grouping opts", "label")),
        };

        self.next();

        let has_colon = self.options.unquoted_utf8_names && token.kind == Kind::MetricIdentifier;
        if name.is_empty() || has_colon {
            return Err(self.error(
                token.pos,
                format!("invalid label name for grouping: {}", quote(&name)),
            ));
        }

        Ok(name)
    }
}
