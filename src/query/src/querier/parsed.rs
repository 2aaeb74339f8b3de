//! Expressions that were parsed before.
//!
//! Dashboards ask the same again and again, and a question that takes little is parsed twice: to see that it does, and to
//! answer it. For those this is a good part of the work.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use trireme_model::{Matcher, Regexp};
use trireme_promql::ast::Expr;

/// Memory of the expressions together at most, in bytes.
const BYTES_MAX: usize = 32 << 20;
/// One that takes more is not kept.
const EXPR_BYTES_MAX: usize = BYTES_MAX / 4;
/// An expression takes at most about so many bytes for each of its text, beside its patterns.
const BYTES_PER_CHARACTER: usize = 100;

/// The expressions of the last texts that were parsed.
#[derive(Default)]
pub(super) struct Parsed(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    by_text: HashMap<Arc<str>, Arc<Expr>>,
    /// The oldest first, with the memory that each takes.
    texts: VecDeque<(Arc<str>, usize)>,
    bytes: usize,
}

impl Parsed {
    pub(super) fn get(&self, text: &str) -> Option<Arc<Expr>> {
        self.0.lock().by_text.get(text).cloned()
    }

    /// Keeps an expression, unless it is too large.
    pub(super) fn keep(&self, text: &str, expr: &Arc<Expr>) {
        let bytes = bytes_of(text, expr);
        if bytes > EXPR_BYTES_MAX {
            return;
        }

        let mut kept = self.0.lock();

        let text: Arc<str> = text.into();
        if kept
            .by_text
            .insert(Arc::clone(&text), Arc::clone(expr))
            .is_some()
        {
            return;
        }

        kept.bytes += bytes;
        kept.texts.push_back((text, bytes));

        while kept.bytes > BYTES_MAX {
            let (oldest, bytes) = kept.texts.pop_front().expect("BUG: bytes of no text");
            kept.bytes -= bytes;
            kept.by_text.remove(&oldest);
        }
    }
}

/// Memory that an expression takes at most, in bytes. Patterns take much more than their text.
fn bytes_of(text: &str, expr: &Expr) -> usize {
    let mut bytes = text.len().saturating_mul(BYTES_PER_CHARACTER);
    expr.walk(&mut |part| {
        let selector = match part {
            Expr::Vector(selector) => selector,
            Expr::Matrix(matrix) => &matrix.selector,
            _ => return,
        };
        let patterns = selector.matchers.iter().filter_map(Matcher::regexp);
        bytes = patterns
            .map(Regexp::kept_bytes)
            .fold(bytes, usize::saturating_add);
    });

    bytes
}

#[cfg(test)]
mod tests {
    use trireme_promql::{ParserOptions, parse};

    use super::*;

    fn expr(text: &str) -> Arc<Expr> {
        Arc::new(parse(text, &ParserOptions::default()).expect("valid"))
    }

    #[test]
    fn the_last_texts_are_kept_within_a_bound() {
        let parsed = Parsed::default();

        let text = |n: usize| format!("metric_{n:09990}");
        for n in 0..100 {
            parsed.keep(&text(n), &expr(&text(n)));
            parsed.keep(&text(n), &expr(&text(n)));
        }

        assert!(
            parsed
                .get(&text(99))
                .is_some_and(|found| *found == *expr(&text(99)))
        );

        assert!(parsed.get(&text(0)).is_none());
        let kept = parsed.0.lock();
        assert_eq!((kept.by_text.len(), kept.texts.len()), (33, 33));
        assert_eq!(
            kept.bytes,
            kept.texts.iter().map(|(_, bytes)| bytes).sum::<usize>()
        );
    }

    #[test]
    fn patterns_count_with_what_they_may_take() {
        let parsed = Parsed::default();
        let light = r#"up{job=~"a|b"}"#;
        parsed.keep(light, &expr(light));

        assert!(parsed.get(light).is_some());
        let general = |n: usize| format!(r#"up{{job=~"a.*b{n}"}}"#);
        (0..100).for_each(|n| parsed.keep(&general(n), &expr(&general(n))));

        let kept = parsed.0.lock().texts.len();
        assert!((20..32).contains(&kept), "{kept}");

        let many: Vec<String> = (0..8).map(|n| format!(r#"l{n}=~"a.*b""#)).collect();
        let heavy = format!("rate(up{{{}}}[5m])", many.join(", "));
        parsed.keep(&heavy, &expr(&heavy));

        assert!(parsed.get(&heavy).is_none());
    }
}
