//! Parameters of a search.

use trireme_query::Selection;

use super::invalid;
use super::score::Algorithm;
use crate::ask::Ask;
use crate::error::ApiError;
use crate::params::Params;

/// Most terms of a search.
const TERMS_MAX: usize = 32;
/// Most results of a search.
const LIMIT_MAX: usize = 10_000;
/// Most results of a line.
const BATCH_MAX: usize = 1_000;
/// Results, and results of a line, unless the request says otherwise.
const DEFAULT: usize = 100;
/// How far back is looked unless the request says otherwise (ms).
const RANGE_DEFAULT_MS: i64 = 60 * 60 * 1000;

/// What is searched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    MetricNames,
    LabelNames,
    LabelValues,
}

impl What {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::MetricNames => "metric_names",
            Self::LabelNames => "label_names",
            Self::LabelValues => "label_values",
        }
    }
}

/// The order of the results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Rising,
    Falling,
    /// The best first.
    Score,
}

/// A search.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) what: What,
    /// The label whose values are wanted.
    pub(super) label: String,
    pub(super) selection: Selection,
    pub(super) limit: usize,
    pub(super) batch: usize,
    pub(super) sort: Sort,
    pub(super) show_score: bool,
    pub(super) metadata: bool,
    /// In lower case if case does not matter.
    terms: Vec<String>,
    algorithm: Algorithm,
    /// From 0 to 1.
    threshold: f64,
    case_sensitive: bool,
}

impl Request {
    pub(super) async fn read(ask: &Ask, what: What) -> Result<Self, ApiError> {
        let mut request = Self::of(&ask.params, what, ask.state.clock.now_ms())?;
        request.selection.matchers = ask.matchers().await?;
        Ok(request)
    }

    /// Everything but the matchers.
    pub(super) fn of(params: &Params, what: What, now_ms: i64) -> Result<Self, ApiError> {
        let label = params.text("label").to_owned();
        if what == What::LabelValues && label.is_empty() {
            return Err(invalid("missing required parameter \"label\""));
        }

        let start_ms = params.time("start", now_ms.saturating_sub(RANGE_DEFAULT_MS))?;
        let end_ms = params.time("end", now_ms)?;
        if end_ms < start_ms {
            return Err(invalid("end timestamp must not be before start timestamp"));
        }

        let selection = Selection {
            matchers: Vec::new(),
            start_ms,
            end_ms,
            limit: 0,
        };

        let case_sensitive = params.flag("case_sensitive", true)?;

        let terms = terms(params, case_sensitive)?;

        let limit = limit(params)?;

        let show_score = params.flag("include_score", false)?;
        Ok(Self {
            what,
            label,
            selection,
            limit,
            batch: positive(params, "batch_size")?.min(BATCH_MAX).min(limit),
            sort: sort(params, what, !terms.is_empty())?,
            show_score,
            metadata: what == What::MetricNames && params.flag("include_metadata", false)?,
            terms,
            algorithm: algorithm(params)?,
            threshold: threshold(params)?,
            case_sensitive,
        })
    }

    /// How well a text matches the best of the terms; `None` if it does not match.
    pub(super) fn score(&self, text: &str) -> Option<f64> {
        if self.terms.is_empty() {
            return Some(1.0);
        }

        let lower;
        let text = if self.case_sensitive {
            text
        } else {
            lower = text.to_lowercase();
            &lower
        };

        let scores = self
            .terms
            .iter()
            .filter_map(|term| self.algorithm.score(term, text, self.threshold));

        scores.reduce(f64::max)
    }
}

/// What to search for; in lower case if case does not matter.
fn terms(params: &Params, case_sensitive: bool) -> Result<Vec<String>, ApiError> {
    let given: Vec<&str> = params.all("search[]").collect();
    if given.len() > TERMS_MAX {
        return Err(invalid(format!(
            "too many search[] parameters: {} (at most {TERMS_MAX})",
            given.len()
        )));
    }

    let terms = given.into_iter().filter(|term| !term.is_empty());
    let terms = terms.map(|term| {
        if case_sensitive {
            term.to_owned()
        } else {
            term.to_lowercase()
        }
    });

    Ok(terms.collect())
}

fn limit(params: &Params) -> Result<usize, ApiError> {
    let limit = positive(params, "limit")?;
    if limit > LIMIT_MAX {
        return Err(invalid(format!(
            "limit {limit} exceeds the configured maximum ({LIMIT_MAX}, see --web.search.max-limit)"
        )));
    }

    Ok(limit)
}

fn positive(params: &Params, name: &str) -> Result<usize, ApiError> {
    let Some(text) = params.get(name) else {
        return Ok(DEFAULT);
    };

    let number = text.parse::<usize>().ok().filter(|n| *n > 0);
    number.ok_or_else(|| {
        invalid(format!(
            "invalid {name} {text:?}: must be a positive integer"
        ))
    })
}

fn algorithm(params: &Params) -> Result<Algorithm, ApiError> {
    match params.text("fuzz_alg") {
        "" | "subsequence" => Ok(Algorithm::Subsequence),
        "jarowinkler" => Ok(Algorithm::JaroWinkler),
        other => Err(invalid(format!(
            "invalid fuzz_alg {other:?}: must be \"subsequence\" or \"jarowinkler\""
        ))),
    }
}

fn threshold(params: &Params) -> Result<f64, ApiError> {
    let Some(text) = params.get("fuzz_threshold") else {
        return Ok(0.0);
    };

    let percent = text.parse::<u8>().ok().filter(|percent| *percent <= 100);
    let percent = percent.ok_or_else(|| {
        invalid(format!(
            "invalid fuzz_threshold {text:?}: must be between 0 and 100"
        ))
    })?;

    Ok(f64::from(percent) / 100.0)
}

fn sort(params: &Params, what: What, has_terms: bool) -> Result<Sort, ApiError> {
    let direction = params.text("sort_dir");
    match (params.text("sort_by"), direction) {
        ("", "") => Ok(Sort::Rising),
        ("", _) => Err(invalid("sort_dir is only valid when sort_by is set")),
        ("score", _) if !has_terms => Err(invalid("sort_by=score requires search[] to be set")),
        ("score", "") => Ok(Sort::Score),
        ("score", _) => Err(invalid("sort_dir is not supported for sort_by=score")),
        ("alpha", "" | "asc") => Ok(Sort::Rising),
        ("alpha", "dsc") => Ok(Sort::Falling),
        ("alpha", other) => Err(invalid(format!(
            "invalid sort_dir {other:?}: must be \"asc\" or \"dsc\""
        ))),
        (other, _) => {
            let what = what.as_str();
            Err(invalid(format!(
                "invalid sort_by {other:?} for {what}: must be \"alpha\" or \"score\""
            )))
        }
    }
}
