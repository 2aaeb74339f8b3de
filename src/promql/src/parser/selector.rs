//! Selectors and their modifiers.

use std::sync::Arc;

use trireme_model::{METRIC_NAME, MatchOp, Matcher};

use super::{ParseResult, Parser, Size, Tree, selector_of};
use crate::ast::{
    At, BinaryOp, DurationArg, Expr, MatrixSelector, PosRange, Subquery, VectorSelector,
};
use crate::lexer::{Keyword, Kind};

impl Parser<'_> {
    /// `name`, `name{...}` or `{...}`.
    pub(super) fn vector_selector(&mut self) -> ParseResult<VectorSelector> {
        let start = self.peek().pos.start as usize;
        let name = self.metric_name();
        let mut matchers = match self.peek_kind() {
            Kind::LeftBrace => self.matchers()?,
            _ if name.is_some() => Vec::new(),
            _ => return Err(self.unexpected_here()),
        };

        if let Some(name) = &name {
            matchers.push(self.matcher(
                METRIC_NAME,
                MatchOp::Equal,
                name,
                PosRange::new(start, self.last_end()),
            )?);
        }

        Ok(VectorSelector {
            name,
            matchers,
            offset: DurationArg::default(),
            at: None,
            anchored: false,
            smoothed: false,
            pos: PosRange::new(start, self.last_end()),
        })
    }

    /// A word that can be a metric name at this place.
    fn metric_name(&mut self) -> Option<Arc<str>> {
        let token = self.peek().clone();
        let is_name = match &token.kind {
            Kind::Identifier | Kind::MetricIdentifier | Kind::Aggregate(_) => true,
            Kind::Op(op) => op.is_set(),
            Kind::Keyword(keyword) => matches!(
                keyword,
                Keyword::Anchored
                    | Keyword::By
                    | Keyword::End
                    | Keyword::Offset
                    | Keyword::Range
                    | Keyword::Smoothed
                    | Keyword::Start
                    | Keyword::Step
                    | Keyword::Without
            ),
            _ => false,
        };

        is_name.then(|| {
            self.next();
            Arc::from(self.text(&token))
        })
    }

    /// `{label="value", "quoted.label"=~"x", "metric.name"}`
    fn matchers(&mut self) -> ParseResult<Vec<Matcher>> {
        const CONTEXT: &str = "label matching";

        self.next();

        let mut matchers = Vec::new();
        loop {
            if self.accept(&Kind::RightBrace).is_some() {
                return Ok(matchers);
            }
            matchers.push(self.label_matcher(CONTEXT)?);
            match self.peek_kind() {
                Kind::Comma => {
                    self.next();
                }
                Kind::RightBrace => {}
                _ => return Err(self.unexpected(CONTEXT, "\",\" or \"}\"")),
            }
        }
    }

    fn label_matcher(&mut self, context: &str) -> ParseResult<Matcher> {
        let label = self.peek().clone();
        let quoted = label.kind == Kind::String;
        let name: Arc<str> = match label.kind {
            Kind::String => self.unquote(&label)?,
            Kind::Identifier => Arc::from(self.text(&label)),
            _ => return Err(self.unexpected(context, "identifier or \"}\"")),
        };

        self.next();
        let op = match match_op(self.peek_kind()) {
            Some(op) => op,
            // A quoted string alone is the metric name.
            None if quoted => return self.matcher(METRIC_NAME, MatchOp::Equal, &name, label.pos),
            None => return Err(self.unexpected(context, "label matching operator")),
        };

        self.next();
        let Some(value) = self.accept(&Kind::String) else {
            return Err(self.unexpected(context, "string"));
        };

        let text = self.unquote(&value)?;
        self.matcher(&name, op, &text, label.pos.merge(value.pos))
    }

    fn matcher(
        &mut self,
        name: &str,
        op: MatchOp,
        value: &str,
        pos: PosRange,
    ) -> ParseResult<Matcher> {
        let matcher = Matcher::within(name, op, value, &mut self.patterns);
        matcher.map_err(|e| self.error(pos, e.to_string()))
    }

    /// `[range]`, `[range:]` or `[range:step]` behind `tree`.
    pub(super) fn range_or_subquery(&mut self, tree: Tree) -> ParseResult<Tree> {
        let open = self.next().pos;
        let expected = "number, duration, step(), or range()";
        let range = self.positive_duration("subquery or range selector", expected)?;
        if let Some(close) = self.accept(&Kind::RightBracket) {
            return self.matrix_selector(tree, range, open.merge(close.pos));
        }
        if self.accept(&Kind::Colon).is_none() {
            return Err(self.unexpected("subquery or range", "\":\" or \"]\""));
        }

        let step = self.subquery_step()?;

        if self.accept(&Kind::RightBracket).is_none() {
            return Err(self.unexpected("subquery selector", "\"]\""));
        }

        let pos = PosRange::new(tree.expr.pos().start as usize, self.last_end());
        let expr = Box::new(tree.expr);
        let subquery = Subquery {
            expr,
            range,
            step,
            offset: DurationArg::default(),
            at: None,
            pos,
        };

        self.tree(Expr::Subquery(subquery), tree.size.above())
    }

    fn subquery_step(&mut self) -> ParseResult<Option<DurationArg>> {
        if *self.peek_kind() == Kind::RightBracket {
            return Ok(None);
        }
        let expected = "number, duration, step(), range(), or \"]\"";
        let step = self.positive_duration("subquery selector", expected)?;
        Ok(Some(step))
    }

    fn matrix_selector(
        &self,
        tree: Tree,
        range: DurationArg,
        brackets: PosRange,
    ) -> ParseResult<Tree> {
        let selector = match tree.expr {
            Expr::Vector(selector) => selector,
            _ => return Err(self.error(brackets, "ranges only allowed for vector selectors")),
        };
        if !selector.offset.is_unset() {
            return Err(self.error(brackets, "no offset modifiers allowed before range"));
        }

        if selector.at.is_some() {
            return Err(self.error(brackets, "no @ modifiers allowed before range"));
        }

        let pos = PosRange::new(selector.pos.start as usize, self.last_end());
        self.tree(
            Expr::Matrix(MatrixSelector {
                selector,
                range,
                pos,
            }),
            Size::LEAF,
        )
    }

    pub(super) fn offset(&mut self, expr: &mut Expr) -> ParseResult<()> {
        self.next();
        let offset = self.offset_duration()?;
        let pos = expr.pos();
        let slot = match expr {
            Expr::Subquery(s) => &mut s.offset,
            _ => match selector_of(expr) {
                Some(selector) => &mut selector.offset,
                None => {
                    let message = "offset modifier must be preceded by an instant vector selector or range vector selector or a subquery";
                    return Err(self.error(pos, message));
                }
            },
        };

        if !slot.is_unset() {
            return Err(self.error(pos, "offset may not be set multiple times"));
        }

        *slot = offset;
        self.extend(expr);
        Ok(())
    }

    /// Lets the expression end where the last token did.
    fn extend(&self, expr: &mut Expr) {
        let end = PosRange::new(0, self.last_end()).end;
        match expr {
            Expr::Vector(v) => v.pos.end = end,
            Expr::Matrix(m) => m.pos.end = end,
            Expr::Subquery(s) => s.pos.end = end,
            _ => {}
        }
    }

    /// `anchored` or `smoothed`.
    pub(super) fn extended(&mut self, expr: &mut Expr, keyword: Keyword) -> ParseResult<()> {
        self.next();
        let word = if keyword == Keyword::Anchored {
            "anchored"
        } else {
            "smoothed"
        };

        let pos = expr.pos();
        if matches!(expr, Expr::Subquery(_)) {
            return Err(self.error(
                pos,
                format!("{word} modifier is not supported for subqueries"),
            ));
        }

        let Some(selector) = selector_of(expr) else {
            return Err(self.error(pos, format!("{word} modifier not implemented")));
        };

        match keyword {
            Keyword::Anchored => selector.anchored = true,
            _ => selector.smoothed = true,
        }

        if selector.anchored && selector.smoothed {
            return Err(self.error(
                pos,
                "anchored and smoothed modifiers cannot be used together",
            ));
        }

        self.extend(expr);
        Ok(())
    }

    pub(super) fn at_modifier(&mut self, expr: &mut Expr) -> ParseResult<()> {
        self.next();
        let at = self.at_time(expr.pos())?;
        let pos = expr.pos();
        let slot = match expr {
            Expr::Subquery(s) => &mut s.at,
            _ => match selector_of(expr) {
                Some(selector) => &mut selector.at,
                None => {
                    let message = "@ modifier must be preceded by an instant vector selector or range vector selector or a subquery";
                    return Err(self.error(pos, message));
                }
            },
        };

        if slot.is_some() {
            return Err(self.error(pos, "@ <timestamp> may not be set multiple times"));
        }

        *slot = Some(at);
        self.extend(expr);
        Ok(())
    }

    fn at_time(&mut self, pos: PosRange) -> ParseResult<At> {
        if let Kind::Keyword(keyword @ (Keyword::Start | Keyword::End)) = *self.peek_kind() {
            self.next();
            if self.accept(&Kind::LeftParen).is_none() || self.accept(&Kind::RightParen).is_none() {
                return Err(self.unexpected("@", "timestamp"));
            }
            return Ok(if keyword == Keyword::Start {
                At::Start
            } else {
                At::End
            });
        }

        let Some(number) = self.signed_number()? else {
            return Err(self.unexpected("@", "timestamp"));
        };

        let seconds = number.value;
        // Prometheus compares seconds with the bounds of its milliseconds; here the result has to fit.
        const SECONDS_MAX: f64 = i64::MAX as f64 / 1000.0;

        if seconds.is_nan() || seconds.abs() >= SECONDS_MAX {
            let text = crate::printer::format_fixed(seconds, 6);
            return Err(self.error(
                pos,
                format!("timestamp out of bounds for @ modifier: {text}"),
            ));
        }

        Ok(At::Timestamp((seconds * 1000.0).round() as i64))
    }
}

fn match_op(kind: &Kind) -> Option<MatchOp> {
    Some(match kind {
        Kind::Assign => MatchOp::Equal,
        Kind::Op(BinaryOp::Ne) => MatchOp::NotEqual,
        Kind::MatchRegex => MatchOp::Regex,
        Kind::MatchNotRegex => MatchOp::NotRegex,
        _ => return None,
    })
}
