//! The functions of the language and their signatures.

use ValueType::{Matrix, Scalar, String, Vector};

/// The type of an expression's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// One number.
    Scalar,
    /// One string.
    String,
    /// At most one sample for each series.
    Vector,
    /// Samples of a time range for each series.
    Matrix,
}

impl ValueType {
    /// The name used in error messages.
    pub fn document_name(self) -> &'static str {
        match self {
            Scalar => "scalar",
            String => "string",
            Vector => "instant vector",
            Matrix => "range vector",
        }
    }

    /// The name used in the HTTP API's `resultType`.
    pub fn as_str(self) -> &'static str {
        match self {
            Scalar => "scalar",
            String => "string",
            Vector => "vector",
            Matrix => "matrix",
        }
    }
}

/// The signature of a function.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// Types of the arguments; the last one may repeat or be left out, see `variadic`.
    pub arg_types: &'static [ValueType],
    /// 0: exactly `arg_types`. n > 0: the last argument may be left out, and up to n arguments may stand in its
    /// place. -1: the last argument may be left out or repeated without bound.
    pub variadic: i8,
    /// Type of the result.
    pub return_type: ValueType,
    /// True if it needs the experimental switch.
    pub experimental: bool,
    /// True if the result depends on the times of the query even when every selector in the arguments is pinned
    /// with `@`.
    pub time_dependent: bool,
}

const fn sig(
    name: &'static str,
    arg_types: &'static [ValueType],
    return_type: ValueType,
) -> Function {
    Function {
        name,
        arg_types,
        variadic: 0,
        return_type,
        experimental: false,
        time_dependent: false,
    }
}

impl Function {
    const fn variadic(mut self, n: i8) -> Self {
        self.variadic = n;
        self
    }

    const fn experimental(mut self) -> Self {
        self.experimental = true;
        self
    }

    const fn time_dependent(mut self) -> Self {
        self.time_dependent = true;
        self
    }

    /// The least number of arguments.
    pub fn args_min(&self) -> usize {
        self.arg_types.len() - usize::from(self.variadic != 0)
    }

    /// The greatest number of arguments, `None` if there is no bound.
    pub fn args_max(&self) -> Option<usize> {
        usize::try_from(self.variadic)
            .ok()
            .map(|n| self.args_min() + n)
    }

    /// The type wanted for argument `i`, counted from 0.
    pub fn arg_type(&self, i: usize) -> Option<ValueType> {
        self.arg_types.get(i).or(self.arg_types.last()).copied()
    }
}

/// Finds a function by its (case-sensitive) name.
pub fn function(name: &str) -> Option<&'static Function> {
    FUNCTIONS
        .binary_search_by(|f| f.name.cmp(name))
        .ok()
        .map(|i| &FUNCTIONS[i])
}

/// All functions, sorted by name.
pub static FUNCTIONS: [Function; 91] = [
    sig("abs", &[Vector], Vector),
    sig("absent", &[Vector], Vector),
    sig("absent_over_time", &[Matrix], Vector),
    sig("acos", &[Vector], Vector),
    sig("acosh", &[Vector], Vector),
    sig("asin", &[Vector], Vector),
    sig("asinh", &[Vector], Vector),
    sig("atan", &[Vector], Vector),
    sig("atanh", &[Vector], Vector),
    sig("avg_over_time", &[Matrix], Vector),
    sig("ceil", &[Vector], Vector),
    sig("changes", &[Matrix], Vector),
    sig("clamp", &[Vector, Scalar, Scalar], Vector),
    sig("clamp_max", &[Vector, Scalar], Vector),
    sig("clamp_min", &[Vector, Scalar], Vector),
    sig("cos", &[Vector], Vector),
    sig("cosh", &[Vector], Vector),
    sig("count_over_time", &[Matrix], Vector),
    sig("day_of_month", &[Vector], Vector)
        .variadic(1)
        .time_dependent(),
    sig("day_of_week", &[Vector], Vector)
        .variadic(1)
        .time_dependent(),
    sig("day_of_year", &[Vector], Vector)
        .variadic(1)
        .time_dependent(),
    sig("days_in_month", &[Vector], Vector)
        .variadic(1)
        .time_dependent(),
    sig("deg", &[Vector], Vector),
    sig("delta", &[Matrix], Vector),
    sig("deriv", &[Matrix], Vector),
    sig(
        "double_exponential_smoothing",
        &[Matrix, Scalar, Scalar],
        Vector,
    )
    .experimental(),
    sig("end", &[], Scalar).experimental().time_dependent(),
    sig("exp", &[Vector], Vector),
    sig("first_over_time", &[Matrix], Vector),
    sig("floor", &[Vector], Vector),
    sig("histogram_avg", &[Vector], Vector),
    sig("histogram_count", &[Vector], Vector),
    sig("histogram_fraction", &[Scalar, Scalar, Vector], Vector),
    sig("histogram_quantile", &[Scalar, Vector], Vector),
    sig(
        "histogram_quantiles",
        &[Vector, String, Scalar, Scalar],
        Vector,
    )
    .variadic(9)
    .experimental(),
    sig("histogram_stddev", &[Vector], Vector),
    sig("histogram_stdvar", &[Vector], Vector),
    sig("histogram_sum", &[Vector], Vector),
    sig("hour", &[Vector], Vector).variadic(1).time_dependent(),
    sig("idelta", &[Matrix], Vector),
    sig("increase", &[Matrix], Vector),
    sig("info", &[Vector, Vector], Vector)
        .variadic(1)
        .experimental(),
    sig("integral", &[Matrix, Scalar], Vector)
        .variadic(1)
        .experimental(),
    sig("irate", &[Matrix], Vector),
    sig("label_join", &[Vector, String, String, String], Vector).variadic(-1),
    sig(
        "label_replace",
        &[Vector, String, String, String, String],
        Vector,
    ),
    sig("last_over_time", &[Matrix], Vector),
    sig("ln", &[Vector], Vector),
    sig("log10", &[Vector], Vector),
    sig("log2", &[Vector], Vector),
    sig("mad_over_time", &[Matrix], Vector).experimental(),
    sig("max_of", &[Scalar, Scalar], Scalar).experimental(),
    sig("max_over_time", &[Matrix], Vector),
    sig("min_of", &[Scalar, Scalar], Scalar).experimental(),
    sig("min_over_time", &[Matrix], Vector),
    sig("minute", &[Vector], Vector)
        .variadic(1)
        .time_dependent(),
    sig("month", &[Vector], Vector).variadic(1).time_dependent(),
    sig("pi", &[], Scalar),
    sig("predict_linear", &[Matrix, Scalar], Vector).time_dependent(),
    sig("present_over_time", &[Matrix], Vector),
    sig("quantile_over_time", &[Scalar, Matrix], Vector),
    sig("rad", &[Vector], Vector),
    sig("range", &[], Scalar).experimental().time_dependent(),
    sig("rate", &[Matrix], Vector),
    sig("resets", &[Matrix], Vector),
    sig("round", &[Vector, Scalar], Vector).variadic(1),
    sig("scalar", &[Vector], Scalar),
    sig("sgn", &[Vector], Vector),
    sig("sin", &[Vector], Vector),
    sig("sinh", &[Vector], Vector),
    sig("sort", &[Vector], Vector),
    sig("sort_by_label", &[Vector, String], Vector)
        .variadic(-1)
        .experimental(),
    sig("sort_by_label_desc", &[Vector, String], Vector)
        .variadic(-1)
        .experimental(),
    sig("sort_desc", &[Vector], Vector),
    sig("sqrt", &[Vector], Vector),
    sig("start", &[], Scalar).experimental().time_dependent(),
    sig("start_timestamp", &[Vector], Vector).experimental(),
    sig("stddev_over_time", &[Matrix], Vector),
    sig("stdvar_over_time", &[Matrix], Vector),
    sig("step", &[], Scalar).experimental().time_dependent(),
    sig("sum_over_time", &[Matrix], Vector),
    sig("tan", &[Vector], Vector),
    sig("tanh", &[Vector], Vector),
    sig("time", &[], Scalar).time_dependent(),
    sig("timestamp", &[Vector], Vector).time_dependent(),
    sig("ts_of_first_over_time", &[Matrix], Vector).experimental(),
    sig("ts_of_last_over_time", &[Matrix], Vector).experimental(),
    sig("ts_of_max_over_time", &[Matrix], Vector).experimental(),
    sig("ts_of_min_over_time", &[Matrix], Vector).experimental(),
    sig("vector", &[Scalar], Vector),
    sig("year", &[Vector], Vector).variadic(1).time_dependent(),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_is_found_by_name() {
        for f in &FUNCTIONS {
            assert_eq!(function(f.name).map(|g| g.name), Some(f.name));
        }
        assert!(function("holt_winters").is_none());
        assert!(FUNCTIONS.windows(2).all(|w| w[0].name < w[1].name));
    }

    #[test]
    fn bounds_of_argument_counts_follow_the_signature() {
        let bounds = |name| function(name).map(|f: &Function| (f.args_min(), f.args_max()));
        assert_eq!(bounds("time"), Some((0, Some(0))));
        assert_eq!(bounds("hour"), Some((0, Some(1))));
        assert_eq!(bounds("round"), Some((1, Some(2))));
        assert_eq!(bounds("label_join"), Some((3, None)));
        assert_eq!(bounds("histogram_quantiles"), Some((3, Some(12))));
    }
}
