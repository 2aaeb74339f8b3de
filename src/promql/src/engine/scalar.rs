//! Numbers that may differ by step.

/// A number at each step.
#[derive(Clone, Debug)]
pub(crate) enum Scalar {
    /// The same at all steps.
    Constant(f64),
    /// One for each step.
    PerStep(Vec<f64>),
}

impl Scalar {
    #[inline]
    pub(crate) fn at(&self, step: usize) -> f64 {
        match self {
            Self::Constant(v) => *v,
            Self::PerStep(values) => values.get(step).copied().unwrap_or(f64::NAN),
        }
    }

    /// Combines two step by step.
    pub(crate) fn zip(self, other: Self, f: impl Fn(f64, f64) -> f64) -> Self {
        match (self, other) {
            (Self::Constant(a), Self::Constant(b)) => Self::Constant(f(a, b)),
            (Self::PerStep(a), b) => Self::PerStep(
                a.into_iter()
                    .enumerate()
                    .map(|(i, a)| f(a, b.at(i)))
                    .collect(),
            ),
            (a, Self::PerStep(b)) => Self::PerStep(
                b.into_iter()
                    .enumerate()
                    .map(|(i, b)| f(a.at(i), b))
                    .collect(),
            ),
        }
    }

    pub(crate) fn map(self, f: impl Fn(f64) -> f64) -> Self {
        match self {
            Self::Constant(v) => Self::Constant(f(v)),
            Self::PerStep(values) => Self::PerStep(values.into_iter().map(f).collect()),
        }
    }
}
