//! Cuts a query into tokens.
//!
//! What a character means depends on where it stands: inside braces words are never keywords, inside brackets
//! only durations are allowed. An impossible character ends the list with an [`Kind::Error`] token, so that the
//! parser reports whatever is wrong first.

mod name;
mod number;
mod string;
mod token;

pub(crate) use name::is_unquoted_name;
pub(crate) use number::parse_number;
pub(crate) use string::{UnquoteError, unquote};
pub(crate) use token::{Keyword, Kind, Token};

use trireme_model::quote;

use crate::ast::{AggregateOp, BinaryOp, PosRange};

/// Cuts `query` into tokens; the last one is [`Kind::Eof`] or [`Kind::Error`]. With `unquoted_utf8`, names may have letters
/// of any script and dots.
pub(crate) fn tokenize(query: &str, unquoted_utf8: bool) -> Vec<Token> {
    let mut lexer = Lexer::new(query, unquoted_utf8);
    if let Err(message) = lexer.run() {
        let pos = PosRange::new(lexer.start, query.len());
        lexer.tokens.push(Token {
            kind: Kind::Error(message),
            pos,
        });
    }

    lexer.tokens
}

struct Lexer<'a> {
    input: &'a str,
    /// Names may have letters of any script and dots.
    unquoted_utf8: bool,
    /// Next byte to read.
    at: usize,
    /// First byte of the token being read.
    start: usize,
    parens: usize,
    brace: bool,
    bracket: bool,
    /// Inside a bracket before its first number: errors are worded differently there.
    bracket_fresh: bool,
    bracket_colon: bool,
    bracket_duration: bool,
    tokens: Vec<Token>,
}

/// A message for the error token, which starts at `Lexer::start`.
type LexResult = Result<(), String>;

impl<'a> Lexer<'a> {
    fn new(input: &'a str, unquoted_utf8: bool) -> Self {
        Self {
            input,
            unquoted_utf8,
            at: 0,
            start: 0,
            parens: 0,
            brace: false,
            bracket: false,
            bracket_fresh: false,
            bracket_colon: false,
            bracket_duration: false,
            tokens: Vec::with_capacity(input.len() / 4 + 2),
        }
    }

    fn peek(&self) -> Option<char> {
        self.input[self.at..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn accept(&mut self, c: char) -> bool {
        let found = self.peek() == Some(c);
        if found {
            self.at += c.len_utf8();
        }
        found
    }

    fn accept_while(&mut self, test: impl Fn(char) -> bool) {
        while self.peek().is_some_and(&test) {
            self.next();
        }
    }

    fn text(&self) -> &'a str {
        &self.input[self.start..self.at]
    }

    fn emit(&mut self, kind: Kind) {
        self.tokens.push(Token {
            kind,
            pos: PosRange::new(self.start, self.at),
        });
        self.start = self.at;
    }

    fn run(&mut self) -> LexResult {
        loop {
            self.skip_blank();
            if self.brace {
                self.inside_braces()?;
            } else if let Some(c) = self.next() {
                self.outside_braces(c)?;
            } else {
                return self.end();
            }
        }
    }

    /// Skips white space and comments.
    fn skip_blank(&mut self) {
        loop {
            self.accept_while(is_space);
            if !self.accept('#') {
                break;
            }
            self.accept_while(|c| c != '\n' && c != '\r');
        }
        self.start = self.at;
    }

    fn end(&mut self) -> LexResult {
        if self.bracket && self.bracket_fresh {
            return Err("unexpected end of input in duration expression".to_owned());
        }
        if self.parens != 0 {
            return Err("unclosed left parenthesis".to_owned());
        }
        if self.bracket {
            return Err("unclosed left bracket".to_owned());
        }

        self.emit(Kind::Eof);
        Ok(())
    }

    fn outside_braces(&mut self, c: char) -> LexResult {
        if let Some(op) = arithmetic(c) {
            self.emit(Kind::Op(op));
            return Ok(());
        }

        match c {
            ',' => self.emit(Kind::Comma),
            '(' => {
                self.emit(Kind::LeftParen);
                self.parens += 1;
            }
            ')' => return self.right_paren(),
            ']' => {
                if !self.bracket {
                    return Err(format!("unexpected right bracket {}", char_quote(c)));
                }
                self.emit(Kind::RightBracket);
                self.bracket = false;
            }
            '0'..='9' => return self.number(),
            '.' if self.peek().is_some_and(|d| d.is_ascii_digit()) => return self.number(),
            _ if self.bracket && (self.bracket_fresh || is_alpha(c) || c == ':') => {
                return self.inside_brackets(c);
            }
            '=' | '!' | '<' | '>' => return self.comparison(c),
            '"' | '\'' | '`' => return self.string(c),
            '{' => {
                self.emit(Kind::LeftBrace);
                self.brace = true;
            }
            '[' => {
                self.emit(Kind::LeftBracket);
                self.bracket = true;
                self.bracket_fresh = true;
                self.bracket_colon = false;
                self.bracket_duration = false;
            }
            '@' => self.emit(Kind::At),
            _ if self.starts_name(c) || c == ':' => self.word(),
            _ => return Err(format!("unexpected character: {}", char_quote(c))),
        }
        Ok(())
    }

    fn right_paren(&mut self) -> LexResult {
        self.emit(Kind::RightParen);
        let Some(parens) = self.parens.checked_sub(1) else {
            return self.replace_last(format!("unexpected right parenthesis {}", char_quote(')')));
        };
        self.parens = parens;
        Ok(())
    }

    /// Operators that begin like a comparison.
    fn comparison(&mut self, c: char) -> LexResult {
        let kind = match c {
            '=' if self.accept('=') => Kind::Op(BinaryOp::Eq),
            '=' if self.peek() == Some('~') => {
                return Err("unexpected character after '=': '~'".to_owned());
            }
            '=' => Kind::Assign,
            '!' if self.accept('=') => Kind::Op(BinaryOp::Ne),
            '!' => {
                return Err(format!(
                    "unexpected character after '!': {}",
                    self.next_quoted()
                ));
            }
            '<' if self.accept('=') => Kind::Op(BinaryOp::Le),
            '<' if self.accept('/') => Kind::Op(BinaryOp::TrimUpper),
            '<' => Kind::Op(BinaryOp::Lt),
            _ if self.accept('=') => Kind::Op(BinaryOp::Ge),
            _ if self.accept('/') => Kind::Op(BinaryOp::TrimLower),
            _ => Kind::Op(BinaryOp::Gt),
        };

        self.emit(kind);
        Ok(())
    }

    /// Letters and colons inside brackets, and everything that cannot start a duration there.
    fn inside_brackets(&mut self, c: char) -> LexResult {
        match c {
            ':' => {
                self.emit(Kind::Colon);
                if !self.bracket_duration {
                    return self.replace_last(
                        "unexpected colon before duration in duration expression".to_owned(),
                    );
                }

                if self.bracket_colon {
                    return self.replace_last(
                        "unexpected repeated colon in duration expression".to_owned(),
                    );
                }

                self.bracket_colon = true;
                Ok(())
            }
            _ if is_alpha(c) => {
                self.accept_while(is_alpha);
                let kind = match self.text().to_ascii_lowercase().as_str() {
                    "step" => Kind::Keyword(Keyword::Step),
                    "range" => Kind::Keyword(Keyword::Range),
                    "min_of" | "max_of" => Kind::Identifier,
                    _ if self.bracket_fresh => {
                        return Err(format!(
                            "unexpected character in duration expression: {}",
                            char_quote(c)
                        ));
                    }
                    _ => {
                        return Err(format!(
                            "unexpected character: {}, expected ':'",
                            char_quote(c)
                        ));
                    }
                };

                self.bracket_duration = true;
                self.emit(kind);
                Ok(())
            }
            _ => Err(format!(
                "unexpected character in duration expression: {}",
                char_quote(c)
            )),
        }
    }

    fn inside_braces(&mut self) -> LexResult {
        let Some(c) = self.next() else {
            return Err("unexpected end of input inside braces".to_owned());
        };

        match c {
            ',' => self.emit(Kind::Comma),
            '"' | '\'' | '`' => return self.string(c),
            '=' if self.accept('~') => self.emit(Kind::MatchRegex),
            '=' => self.emit(Kind::Assign),
            '!' if self.accept('~') => self.emit(Kind::MatchNotRegex),
            '!' if self.accept('=') => self.emit(Kind::Op(BinaryOp::Ne)),
            '!' => {
                return Err(format!(
                    "unexpected character after '!' inside braces: {}",
                    self.next_quoted()
                ));
            }
            '{' => return Err("unexpected left brace '{'".to_owned()),
            '}' => {
                self.emit(Kind::RightBrace);
                self.brace = false;
            }
            _ if self.starts_name(c) => {
                let unquoted_utf8 = self.unquoted_utf8;
                self.accept_while(|c| name::goes_on(c, unquoted_utf8));
                self.emit(Kind::Identifier);
            }
            _ => {
                return Err(format!(
                    "unexpected character inside braces: {}",
                    char_quote(c)
                ));
            }
        }

        Ok(())
    }

    fn number(&mut self) -> LexResult {
        let (len, kind) = number::scan(&self.input[self.start..])?;
        self.at = self.start + len;
        self.emit(kind);
        self.bracket_fresh = false;
        self.bracket_duration = true;
        Ok(())
    }

    fn string(&mut self, quote: char) -> LexResult {
        let len = string::scan(&self.input[self.start..], quote)?;
        self.at = self.start + len;
        self.emit(Kind::String);
        Ok(())
    }

    fn word(&mut self) {
        let unquoted_utf8 = self.unquoted_utf8;
        self.accept_while(|c| name::goes_on(c, unquoted_utf8) || c == ':');
        let word = self.text();
        let kind = if word.contains(':') {
            Kind::MetricIdentifier
        } else {
            self.keyword(word)
        };

        self.emit(kind);
    }

    fn keyword(&self, word: &str) -> Kind {
        let lower = word.to_ascii_lowercase();
        let op = match lower.as_str() {
            "and" => Some(BinaryOp::And),
            "or" => Some(BinaryOp::Or),
            "unless" => Some(BinaryOp::Unless),
            "atan2" => Some(BinaryOp::Atan2),
            "inf" | "nan" => return Kind::Number,
            _ => None,
        };

        if let Some(op) = op {
            return Kind::Op(op);
        }
        if let Some(op) = AggregateOp::ALL.into_iter().find(|op| op.as_str() == lower) {
            return Kind::Aggregate(op);
        }

        match Keyword::find(&lower) {
            // Metrics of these names existed before the modifiers did.
            Some(Keyword::Fill | Keyword::FillLeft | Keyword::FillRight)
                if !self.paren_follows() =>
            {
                Kind::Identifier
            }
            Some(keyword) => Kind::Keyword(keyword),
            None => Kind::Identifier,
        }
    }

    fn starts_name(&self, c: char) -> bool {
        name::starts(c, self.unquoted_utf8)
    }

    fn paren_follows(&self) -> bool {
        self.input[self.at..]
            .trim_start_matches(is_space)
            .starts_with('(')
    }

    /// Turns the token just emitted into an error that is reported right behind it.
    fn replace_last(&mut self, message: String) -> LexResult {
        self.tokens.pop();
        Err(message)
    }

    fn next_quoted(&mut self) -> String {
        self.next()
            .map_or_else(|| "end of input".to_owned(), char_quote)
    }
}

fn arithmetic(c: char) -> Option<BinaryOp> {
    Some(match c {
        '*' => BinaryOp::Mul,
        '/' => BinaryOp::Div,
        '%' => BinaryOp::Mod,
        '+' => BinaryOp::Add,
        '-' => BinaryOp::Sub,
        '^' => BinaryOp::Pow,
        _ => return None,
    })
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

fn is_alpha(c: char) -> bool {
    c == '_' || c.is_ascii_alphabetic()
}

fn is_alphanumeric(c: char) -> bool {
    is_alpha(c) || c.is_ascii_digit()
}

/// The character in single quotes, as error messages show it.
fn char_quote(c: char) -> String {
    match c {
        '\'' => r"'\''".to_owned(),
        '"' => "'\"'".to_owned(),
        _ => {
            let quoted = quote(c.encode_utf8(&mut [0; 4]));
            format!("'{}'", &quoted[1..quoted.len() - 1])
        }
    }
}
