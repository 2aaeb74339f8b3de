//! Expressions that were parsed before.
//!
//! Dashboards ask the same again and again, and a question that takes little is parsed twice: to see that it does, and to
//! answer it. For those this is a good part of the work.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use trireme_promql::ast::Expr;

/// Texts together, in bytes. The expression of a text takes at most about a hundred times as much.
const BYTES_MAX: usize = 64 << 10;

/// The expressions of the last texts that were parsed, as far as they take little memory.
#[derive(Default)]
pub(super) struct Parsed(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    by_text: HashMap<Arc<str>, Arc<Expr>>,
    /// The oldest first.
    texts: VecDeque<Arc<str>>,
    bytes: usize,
}

impl Parsed {
    pub(super) fn get(&self, text: &str) -> Option<Arc<Expr>> {
        self.0.lock().by_text.get(text).cloned()
    }

    /// Keeps an expression, unless it has patterns: what these take in memory their text does not tell.
    pub(super) fn keep(&self, text: &str, expr: &Arc<Expr>) {
        if text.len() > BYTES_MAX || text.contains("=~") || text.contains("!~") {
            return;
        }
        let mut kept = self.0.lock();
        let text: Arc<str> = text.into();
        if kept.by_text.insert(Arc::clone(&text), Arc::clone(expr)).is_some() {
            return;
        }
        kept.bytes += text.len();
        kept.texts.push_back(text);

        while kept.bytes > BYTES_MAX {
            let oldest = kept.texts.pop_front().expect("BUG: bytes of no text");
            kept.bytes -= oldest.len();
            kept.by_text.remove(&oldest);
        }
    }
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
        let text = |n: usize| format!("metric_{n:0990}");
        for n in 0..1_000 {
            parsed.keep(&text(n), &expr(&text(n)));
            parsed.keep(&text(n), &expr(&text(n)));
        }
        assert!(parsed.get(&text(999)).is_some_and(|found| *found == *expr(&text(999))));
        assert!(parsed.get(&text(0)).is_none());
        let kept = parsed.0.lock();
        assert_eq!((kept.by_text.len(), kept.texts.len()), (65, 65));
        assert_eq!(kept.bytes, kept.texts.iter().map(|text| text.len()).sum::<usize>());
    }

    #[test]
    fn patterns_are_not_kept() {
        let parsed = Parsed::default();
        for text in [r#"up{job=~"a.*"}"#, r#"up{job!~"a.*"}"#] {
            parsed.keep(text, &expr(text));
            assert!(parsed.get(text).is_none());
        }
    }
}
