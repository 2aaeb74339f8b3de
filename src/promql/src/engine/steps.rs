//! Evaluation times.

/// Evaluation times `start, start + step, ...`; at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Steps {
    /// First time (ms).
    pub(crate) start: i64,
    /// Distance (ms), greater than 0.
    pub(crate) step: i64,
    /// Number of times.
    pub(crate) count: usize,
}

impl Steps {
    pub(crate) fn single(t: i64) -> Self {
        Self {
            start: t,
            step: 1,
            count: 1,
        }
    }

    /// Time of a step (ms).
    #[inline]
    pub(crate) fn time(&self, step: usize) -> i64 {
        self.start
            .saturating_add(self.step.saturating_mul(step as i64))
    }

    /// The first step later than `t`, the number of steps if there is none.
    pub(crate) fn first_after(&self, t: i64) -> usize {
        if t < self.start {
            return 0;
        }
        let passed = (t.saturating_sub(self.start)) / self.step;
        usize::try_from(passed).map_or(self.count, |n| n.saturating_add(1).min(self.count))
    }

    /// Time of the last step (ms).
    pub(crate) fn last(&self) -> i64 {
        self.time(self.count - 1)
    }
}

/// The time a selector is read at, for each evaluation time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeShift {
    /// Pinned by `@` (ms).
    pub(crate) at: Option<i64>,
    /// Subtracted (ms).
    pub(crate) offset: i64,
}

impl TimeShift {
    #[inline]
    pub(crate) fn apply(&self, t: i64) -> i64 {
        self.at.unwrap_or(t).saturating_sub(self.offset)
    }

    /// First and last time read for these steps (ms).
    pub(crate) fn bounds(&self, steps: &Steps) -> (i64, i64) {
        (self.apply(steps.start), self.apply(steps.last()))
    }
}
