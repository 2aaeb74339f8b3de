//! The series that says which resource stands behind `job` and `instance`.

use trireme_model::MetricType;

use super::OtlpOptions;
use super::builder::Builder;
use super::labels::Target;
use crate::prompb::DecodeError;

const NAME: &str = "target_info";
const HELP: &str = "Target metadata";
/// Most samples of a resource in one request: 17 days at the usual interval. Older ones are left out.
const SAMPLES_MAX: i64 = 10_000;

/// Adds `target_info` over the time of the resource's points, so that a join finds it at each of them.
pub(super) fn add(
    target: &Target,
    options: &OtlpOptions,
    out: &mut Builder<'_>,
) -> Result<(), DecodeError> {
    let Some((oldest, newest)) = out.times else {
        return Ok(());
    };

    let labels = match &target.info {
        Ok(Some(labels)) => labels,
        Ok(None) => return Ok(()),
        Err(bad) => {
            out.reject("invalid attribute name", 1, || bad.of(NAME));
            return Ok(());
        }
    };

    out.metadata(NAME, MetricType::Gauge, String::new(), HELP.to_owned())?;
    out.ones(
        labels,
        NAME,
        times(oldest, newest, options.target_info_interval_ms.max(1)),
    )
}

/// From the oldest time on at the interval, and the newest (ms).
fn times(oldest: i64, newest: i64, interval_ms: i64) -> impl Iterator<Item = i64> {
    let span_ms = newest - oldest;
    let steps = span_ms / interval_ms + i64::from(span_ms % interval_ms > 0);
    let first = (steps - (SAMPLES_MAX - 1)).max(0);
    let before = (first..steps).map(move |step| oldest + step * interval_ms);
    before.chain(std::iter::once(newest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_never_further_apart_than_the_interval() {
        let at = |oldest, newest| times(oldest, newest, 10).collect::<Vec<_>>();
        assert_eq!(at(5, 5), [5]);
        assert_eq!(at(5, 14), [5, 14]);
        assert_eq!(at(5, 15), [5, 15]);
        assert_eq!(at(5, 26), [5, 15, 25, 26]);
    }

    #[test]
    fn a_span_of_years_is_bounded_from_its_newest_end() {
        let all: Vec<i64> = times(0, 1_700_000_000_000, 150_000).collect();
        assert_eq!(all.len() as i64, SAMPLES_MAX);
        assert_eq!(all.last(), Some(&1_700_000_000_000));
        assert!(all.windows(2).all(|w| w[1] - w[0] <= 150_000));
    }
}
