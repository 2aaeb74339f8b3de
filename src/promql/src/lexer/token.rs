//! Tokens.

use trireme_model::quote;

use crate::ast::{AggregateOp, BinaryOp, PosRange};

/// Words with a meaning of their own. Most may also be metric or label names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keyword {
    Anchored,
    Bool,
    By,
    End,
    Fill,
    FillLeft,
    FillRight,
    GroupLeft,
    GroupRight,
    Ignoring,
    Offset,
    On,
    Range,
    Smoothed,
    Start,
    Step,
    Without,
}

impl Keyword {
    /// Finds a keyword; `word` is lower case.
    pub(super) fn find(word: &str) -> Option<Self> {
        Some(match word {
            "anchored" => Self::Anchored,
            "bool" => Self::Bool,
            "by" => Self::By,
            "end" => Self::End,
            "fill" => Self::Fill,
            "fill_left" => Self::FillLeft,
            "fill_right" => Self::FillRight,
            "group_left" => Self::GroupLeft,
            "group_right" => Self::GroupRight,
            "ignoring" => Self::Ignoring,
            "offset" => Self::Offset,
            "on" => Self::On,
            "range" => Self::Range,
            "smoothed" => Self::Smoothed,
            "start" => Self::Start,
            "step" => Self::Step,
            "without" => Self::Without,
            _ => return None,
        })
    }

    /// True for `start`, `end`, `step` and `range`: functions that are keywords as well.
    pub(crate) fn is_function(self) -> bool {
        matches!(self, Self::Start | Self::End | Self::Step | Self::Range)
    }
}

/// Kind of a token.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    Eof,
    /// The text cannot be a token; nothing follows.
    Error(String),
    Comma,
    Colon,
    LeftParen,
    RightParen,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    At,
    /// `=`
    Assign,
    /// `=~`
    MatchRegex,
    /// `!~`
    MatchNotRegex,
    /// `!=` inside braces is this operator, too.
    Op(BinaryOp),
    Aggregate(AggregateOp),
    Keyword(Keyword),
    Identifier,
    /// An identifier with colons.
    MetricIdentifier,
    Number,
    Duration,
    String,
}

/// A token of a query.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) pos: PosRange,
}

impl Token {
    /// How the token is called in "unexpected ..." errors.
    pub(crate) fn describe(&self, query: &str) -> String {
        let text = self.pos.text(query);
        match &self.kind {
            Kind::Eof => "end of input".to_owned(),
            Kind::Error(message) => message.clone(),
            Kind::Identifier => format!("identifier {}", quote(text)),
            Kind::MetricIdentifier => format!("metric identifier {}", quote(text)),
            Kind::Number => format!("number {}", shortened(text)),
            Kind::Duration => format!("duration {}", shortened(text)),
            Kind::String => format!("string {}", shortened(text)),
            Kind::Op(_) | Kind::At | Kind::MatchRegex | Kind::MatchNotRegex => {
                format!("<op:{text}>")
            }
            Kind::Aggregate(_) => format!("<aggr:{text}>"),
            Kind::Keyword(k) if k.is_function() => shortened(text),
            Kind::Keyword(_) => format!("<{text}>"),
            Kind::Comma
            | Kind::Colon
            | Kind::LeftParen
            | Kind::RightParen
            | Kind::LeftBrace
            | Kind::RightBrace
            | Kind::LeftBracket
            | Kind::RightBracket
            | Kind::Assign => shortened(text),
        }
    }
}

/// The text in quotes, cut after ten characters.
fn shortened(text: &str) -> String {
    const CHARS_MAX: usize = 10;
    if text.len() <= CHARS_MAX {
        return quote(text);
    }
    let cut: String = text.chars().take(CHARS_MAX).collect();
    format!("{}...", quote(&cut))
}
