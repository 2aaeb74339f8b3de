//! What happened in a run, for people.

/// Lines kept; the last ones matter.
const LINES_MAX: usize = 4_000;

/// A trace, or nothing: most runs are not looked at.
#[derive(Debug, Default, Clone)]
pub struct Trace {
    lines: Option<std::collections::VecDeque<String>>,
}

impl Trace {
    /// A trace that keeps its lines.
    pub fn kept() -> Self {
        Self {
            lines: Some(Default::default()),
        }
    }

    /// Adds a line.
    pub fn note(&mut self, now_us: u64, text: impl FnOnce() -> String) {
        let Some(lines) = &mut self.lines else { return };
        if lines.len() == LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(format!("{:>10.3} {}", now_us as f64 / 1e6, text()));
    }

    /// The lines, oldest first.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().flatten().map(String::as_str)
    }
}
