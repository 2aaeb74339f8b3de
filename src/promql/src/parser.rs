//! The parser: precedence climbing over the token list, then a type check.
//!
//! ```
//! use trireme_promql::{ParserOptions, parse};
//! let expr = parse("sum by (job) (rate(http_requests_total[5m])) > 0.5", &ParserOptions::default()).unwrap();
//! assert_eq!(expr.to_string(), "sum by (job) (rate(http_requests_total[5m])) > 0.5");
//! let error = parse("sum(", &ParserOptions::default()).unwrap_err();
//! assert_eq!(error.to_string(), "1:5: parse error: unclosed left parenthesis");
//! ```

mod call;
mod check;
mod duration;
mod expr;
mod matching;
mod selector;

use std::sync::Arc;

use trireme_model::{Matcher, Patterns, quote};

use crate::ast::{Expr, PosRange, VectorSelector};
use crate::lexer::{Kind, Token, tokenize, unquote};
use crate::parse_error::ParseError;

/// Which parts of the language are accepted, and how much of it.
#[derive(Clone, Debug)]
pub struct ParserOptions {
    /// Functions and aggregations that Prometheus calls experimental.
    pub experimental_functions: bool,
    /// `fill`, `fill_left` and `fill_right`.
    pub fill_modifiers: bool,
    /// Names with letters of any script and with dots need no quotes; colons are for metric names only.
    pub unquoted_utf8_names: bool,
    /// Longest query, in bytes.
    pub query_bytes_max: usize,
    /// Deepest nesting. Parentheses, calls, signs and chains of `^`, which is done from the right, may nest half as
    /// deep, because each of them costs the parser several stack frames.
    pub depth_max: usize,
    /// Highest syntax tree: `a + b + c` is a chain and no nesting, but its tree is as high as it is long, and whatever
    /// walks over trees recurses. What evaluates needs a stack of [`STACK_BYTES`].
    pub height_max: usize,
}

/// Stack (bytes) that suffices for parsing and evaluating the highest tree of [`ParserOptions::default`].
pub const STACK_BYTES: usize = 32 << 20;

impl Default for ParserOptions {
    fn default() -> Self {
        Self {
            experimental_functions: true,
            fill_modifiers: true,
            unquoted_utf8_names: false,
            query_bytes_max: 1 << 20,
            depth_max: 256,
            height_max: 2_000,
        }
    }
}

/// Parses and type-checks a query.
pub fn parse(query: &str, options: &ParserOptions) -> Result<Expr, ParseError> {
    let mut parser = Parser::new(query, options)?;
    if parser.peek().kind == Kind::Eof {
        return Err(parser.error(PosRange::default(), "no expression found in input"));
    }

    let mut expr = parser.expression(0)?.expr;
    parser.end()?;
    check::check(&mut expr, query)?;

    Ok(expr)
}

/// Parses a series selector without modifiers, as `match[]` parameters are.
///
/// Unlike in a query, matchers that all match the empty string are accepted; callers that must not read
/// everything have to look.
pub fn parse_selector(query: &str, options: &ParserOptions) -> Result<Vec<Matcher>, ParseError> {
    let mut sets = parse_selectors([query], options)?;
    Ok(sets.pop().unwrap_or_default())
}

/// Parses the selectors of one request; their regular expressions are bounded together.
pub fn parse_selectors<'a>(
    queries: impl IntoIterator<Item = &'a str>,
    options: &ParserOptions,
) -> Result<Vec<Vec<Matcher>>, ParseError> {
    let mut patterns = Patterns::default();

    let mut sets = Vec::new();
    for query in queries {
        let mut parser = Parser::new(query, options)?;
        parser.patterns = patterns;
        let selector = parser.vector_selector()?;
        parser.end()?;
        sets.push(selector.matchers);
        patterns = parser.patterns;
    }

    Ok(sets)
}

/// An expression and the size of its tree.
struct Tree {
    expr: Expr,
    size: Size,
}

/// How large a tree is.
#[derive(Clone, Copy, Default)]
struct Size {
    /// Levels of nesting; a chain of operators is one.
    depth: usize,
    /// Nodes above each other.
    height: usize,
}

impl Size {
    const LEAF: Self = Self {
        depth: 1,
        height: 1,
    };

    /// Of a node above this.
    fn above(self) -> Self {
        Self {
            depth: self.depth + 1,
            height: self.height + 1,
        }
    }

    /// Of what holds both beside each other.
    fn beside(self, other: Self) -> Self {
        Self {
            depth: self.depth.max(other.depth),
            height: self.height.max(other.height),
        }
    }
}

struct Parser<'a> {
    query: &'a str,
    options: &'a ParserOptions,
    tokens: Vec<Token>,
    at: usize,
    /// Present recursion depth.
    depth: usize,
    /// How many aggregations are open; errors inside them say so.
    aggregations: usize,
    /// The regular expressions of the query, which are bounded together.
    patterns: Patterns,
    /// What errors in a duration expression say: where it stands and what is expected there.
    duration_context: (&'static str, &'static str),
}

type ParseResult<T> = Result<T, ParseError>;

impl<'a> Parser<'a> {
    fn new(query: &'a str, options: &'a ParserOptions) -> ParseResult<Self> {
        if query.len() > options.query_bytes_max {
            let message = format!("query is longer than {} bytes", options.query_bytes_max);
            return Err(ParseError::new("", PosRange::default(), message));
        }
        Ok(Self {
            query,
            options,
            tokens: tokenize(query, options.unquoted_utf8_names),
            at: 0,
            depth: 0,
            aggregations: 0,
            patterns: Patterns::default(),
            duration_context: ("", ""),
        })
    }

    fn peek(&self) -> &Token {
        // The list ends with Eof or Error, and `at` never moves past it.
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    fn peek_kind(&self) -> &Kind {
        &self.peek().kind
    }

    fn peek_second(&self) -> &Kind {
        &self.tokens[(self.at + 1).min(self.tokens.len() - 1)].kind
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        if !matches!(token.kind, Kind::Eof | Kind::Error(_)) {
            self.at += 1;
        }
        token
    }

    fn accept(&mut self, kind: &Kind) -> Option<Token> {
        (self.peek_kind() == kind).then(|| self.next())
    }

    /// Where the token before the present one ended.
    fn last_end(&self) -> usize {
        self.at
            .checked_sub(1)
            .map_or(0, |i| self.tokens[i].pos.end as usize)
    }

    fn text(&self, token: &Token) -> &'a str {
        token.pos.text(self.query)
    }

    fn error(&self, pos: PosRange, message: impl Into<String>) -> ParseError {
        ParseError::new(self.query, pos, message)
    }

    /// "unexpected ..." for the present token.
    fn unexpected(&self, context: &str, expected: &str) -> ParseError {
        let token = self.peek();
        if let Kind::Error(message) = &token.kind {
            return self.error(token.pos, message.clone());
        }

        let mut message = format!("unexpected {}", token.describe(self.query));
        for (word, text) in [(" in ", context), (", expected ", expected)] {
            if !text.is_empty() {
                message.push_str(word);
                message.push_str(text);
            }
        }

        self.error(token.pos, message)
    }

    /// "unexpected ..." where no rule has a better word for it.
    fn unexpected_here(&self) -> ParseError {
        self.unexpected(
            if self.aggregations > 0 {
                "aggregation"
            } else {
                ""
            },
            "",
        )
    }

    fn end(&self) -> ParseResult<()> {
        match self.peek_kind() {
            Kind::Eof => Ok(()),
            _ => Err(self.unexpected_here()),
        }
    }

    /// Checks the size of a tree under construction.
    fn tree(&self, expr: Expr, size: Size) -> ParseResult<Tree> {
        if size.depth > self.options.depth_max {
            return Err(self.too_deep(expr.pos()));
        }

        if size.height > self.options.height_max {
            let message = format!(
                "expression has more than {} operators above each other",
                self.options.height_max
            );
            return Err(self.error(expr.pos(), message));
        }

        Ok(Tree { expr, size })
    }

    fn too_deep(&self, pos: PosRange) -> ParseError {
        self.error(
            pos,
            format!(
                "expression nests deeper than {} levels",
                self.options.depth_max
            ),
        )
    }

    /// Runs `rule` one level deeper.
    fn nested<T>(&mut self, rule: impl FnOnce(&mut Self) -> ParseResult<T>) -> ParseResult<T> {
        if self.depth >= self.options.depth_max / 2 {
            return Err(self.too_deep(self.peek().pos));
        }
        self.depth += 1;
        let result = rule(self);
        self.depth -= 1;
        result
    }

    /// The value of a string token.
    fn unquote(&self, token: &Token) -> ParseResult<Arc<str>> {
        let text = self.text(token);
        match unquote(text) {
            Ok(value) => Ok(Arc::from(&*value)),
            Err(e) => Err(self.error(
                token.pos,
                format!("error unquoting string {}: {e}", quote(text)),
            )),
        }
    }
}

/// The selector as an expression's place for modifiers.
fn selector_of(expr: &mut Expr) -> Option<&mut VectorSelector> {
    match expr {
        Expr::Vector(v) => Some(v),
        Expr::Matrix(m) => Some(&mut m.selector),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
