//! A source whose series get labels that are not stored with them.

use std::collections::BTreeMap;
use std::sync::Arc;

use trireme_model::{Labels, Matcher};
use trireme_promql::{Cancel, SeriesRead};

use crate::united::United;
use crate::{Source, SourceError, Texts};

/// A source of which all series have certain labels more: the external labels of a block. They win over labels of the same
/// name, as in Thanos.
pub struct Labelled<S> {
    inner: S,
    labels: Arc<[(String, String)]>,
}

impl<S: Source> Labelled<S> {
    /// Adds labels, whose names are distinct.
    pub fn new(inner: S, labels: Arc<[(String, String)]>) -> Self {
        Self { inner, labels }
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.labels
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// The matchers that the inner source has to decide; none if the added labels satisfy no series.
    fn inner_matchers(&self, matchers: &[Matcher]) -> Option<Vec<Matcher>> {
        let mut rest = Vec::with_capacity(matchers.len());
        for matcher in matchers {
            match self.value(&matcher.name) {
                Some(value) if matcher.matches(value) => {}
                Some(_) => return None,
                None => rest.push(matcher.clone()),
            }
        }

        Some(rest)
    }

    fn labelled(&self, labels: &Labels) -> Labels {
        let mut builder = labels.to_builder();
        for (name, value) in &*self.labels {
            builder.set(name, value);
        }
        builder.finish()
    }
}

impl<S: Source> Source for Labelled<S> {
    fn name(&self) -> String {
        self.inner.name()
    }

    fn time_range(&self) -> (i64, i64) {
        self.inner.time_range()
    }

    fn select(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
        cancel: &Cancel,
    ) -> Result<Vec<Box<dyn SeriesRead>>, SourceError> {
        let Some(matchers) = self.inner_matchers(matchers) else {
            return Ok(Vec::new());
        };

        let found = self.inner.select(&matchers, start_ms, end_ms, cancel)?;
        let mut series: Vec<United> = found
            .into_iter()
            .map(|inner: Box<dyn SeriesRead>| {
                let labels = self.labelled(inner.labels());
                United {
                    labels,
                    parts: vec![inner],
                }
            })
            .collect();

        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(unite_equal(series))
    }

    fn label_names(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
        out: &mut Texts,
    ) -> Result<(), SourceError> {
        let Some(matchers) = self.inner_matchers(matchers) else {
            return Ok(());
        };

        let mut names = Texts::default();
        self.inner
            .label_names(&matchers, start_ms, end_ms, &mut names)?;

        let mut names = names.into_sorted();
        if !names.is_empty() {
            names.extend(self.labels.iter().map(|(name, _)| name.clone()));
        }

        out.extend(names);
        Ok(())
    }

    fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
        out: &mut Texts,
    ) -> Result<(), SourceError> {
        let Some(matchers) = self.inner_matchers(matchers) else {
            return Ok(());
        };
        let Some(value) = self.value(name) else {
            return self
                .inner
                .label_values(name, &matchers, start_ms, end_ms, out);
        };

        if out.contains(value) {
            return Ok(());
        }

        if self.inner.has_series(&matchers, start_ms, end_ms)? {
            out.add(value);
        }

        Ok(())
    }
}

/// Unites series that became equal because a label of theirs was overwritten; they are in label order.
fn unite_equal(series: Vec<United>) -> Vec<Box<dyn SeriesRead>> {
    let mut united: Vec<United> = Vec::with_capacity(series.len());
    for mut next in series {
        match united.last_mut() {
            Some(last) if last.labels == next.labels => last.parts.append(&mut next.parts),
            _ => united.push(next),
        }
    }

    united
        .into_iter()
        .map(|series| Box::new(series) as Box<dyn SeriesRead>)
        .collect()
}

/// Time of a block, its end exclusive, and the labels that its series get.
pub type Span<'a> = (std::ops::Range<i64>, &'a [(String, String)]);

/// True if a part of `[start_ms, end_ms]` lies in one of `unread` and in none of `read` with the same labels.
pub fn is_uncovered(read: &[Span<'_>], unread: &[Span<'_>], start_ms: i64, end_ms: i64) -> bool {
    let mut by_labels: BTreeMap<&[(String, String)], Vec<&std::ops::Range<i64>>> = BTreeMap::new();
    for (range, labels) in read {
        by_labels.entry(labels).or_default().push(range);
    }

    by_labels
        .values_mut()
        .for_each(|ranges| ranges.sort_by_key(|range| range.start));

    unread.iter().any(|(range, labels)| {
        let mut at = range.start.max(start_ms);
        let end = range.end.min(end_ms.saturating_add(1));
        for known in by_labels.get(labels).into_iter().flatten() {
            if known.start > at {
                break;
            }
            at = at.max(known.end);
        }
        at < end
    })
}

#[cfg(test)]
mod tests {
    use trireme_model::MatchOp;
    use trireme_promql::{Columns, SelectError};

    use super::*;

    /// Series with one sample each; every matcher is looked at.
    struct Fixed(Vec<(Labels, i64)>);

    struct One(Labels, i64);

    impl SeriesRead for One {
        fn labels(&self) -> &Labels {
            &self.0
        }

        fn read_within(
            &self,
            _: i64,
            _: i64,
            samples_max: usize,
            out: &mut Columns,
        ) -> Result<(), SelectError> {
            out.push_float(self.1, 1.0);
            out.check_within(samples_max)
        }
    }

    impl Fixed {
        fn matching<'a>(
            &'a self,
            matchers: &'a [Matcher],
        ) -> impl Iterator<Item = &'a (Labels, i64)> {
            let fits = |labels: &Labels| {
                matchers
                    .iter()
                    .all(|m| m.matches(labels.get(&m.name).unwrap_or("")))
            };
            self.0.iter().filter(move |(labels, _)| fits(labels))
        }
    }

    impl Source for Fixed {
        fn name(&self) -> String {
            "fixed".into()
        }

        fn time_range(&self) -> (i64, i64) {
            (0, 100)
        }

        fn select(
            &self,
            matchers: &[Matcher],
            _: i64,
            _: i64,
            _: &Cancel,
        ) -> Result<Vec<Box<dyn SeriesRead>>, SourceError> {
            Ok(self
                .matching(matchers)
                .map(|(labels, t): &(Labels, i64)| {
                    Box::new(One(labels.clone(), *t)) as Box<dyn SeriesRead>
                })
                .collect())
        }

        fn label_names(
            &self,
            matchers: &[Matcher],
            _: i64,
            _: i64,
            out: &mut Texts,
        ) -> Result<(), SourceError> {
            self.matching(matchers)
                .for_each(|(labels, _)| labels.iter().for_each(|(name, _)| out.add(name)));
            Ok(())
        }

        fn label_values(
            &self,
            name: &str,
            matchers: &[Matcher],
            _: i64,
            _: i64,
            out: &mut Texts,
        ) -> Result<(), SourceError> {
            self.matching(matchers)
                .filter_map(|(labels, _)| labels.get(name))
                .for_each(|value| out.add(value));
            Ok(())
        }
    }

    fn labelled() -> Labelled<Fixed> {
        let series = [
            (vec![("__name__", "up")], 1),
            (vec![("__name__", "up"), ("a", "1"), ("cluster", "x")], 2),
            (vec![("__name__", "up"), ("a", "1"), ("cluster", "y")], 3),
        ];

        let series = series
            .map(|(pairs, t)| (Labels::from_pairs(pairs), t))
            .to_vec();

        Labelled::new(
            Fixed(series),
            [("cluster".to_owned(), "eu".to_owned())].into(),
        )
    }

    fn matcher(name: &str, op: MatchOp, value: &str) -> Matcher {
        Matcher::new(name, op, value).expect("valid")
    }

    #[test]
    fn added_labels_win_are_matched_and_unite_what_becomes_equal() {
        let select = |matchers: &[Matcher]| {
            let found = labelled()
                .select(matchers, 0, 100, &Cancel::default())
                .expect("selects");
            found
                .into_iter()
                .map(|series: Box<dyn SeriesRead>| {
                    let mut columns = Columns::default();
                    series.read(0, 100, &mut columns).expect("reads");
                    format!("{} {:?}", series.labels(), columns.float_t)
                })
                .collect::<Vec<_>>()
        };

        let all = [
            r#"up{a="1", cluster="eu"} [2, 3]"#,
            r#"up{cluster="eu"} [1]"#,
        ];
        let up = matcher("__name__", MatchOp::Equal, "up");

        assert_eq!(select(std::slice::from_ref(&up)), all);
        assert_eq!(
            select(&[up.clone(), matcher("cluster", MatchOp::Regex, "e.")]),
            all
        );
        assert_eq!(select(&[matcher("cluster", MatchOp::Equal, "eu")]), all);
        assert_eq!(
            select(&[up.clone(), matcher("cluster", MatchOp::Equal, "x")]),
            [""; 0]
        );
        assert_eq!(
            select(&[up, matcher("cluster", MatchOp::NotEqual, "eu")]),
            [""; 0]
        );
    }

    #[test]
    fn names_and_values_of_added_labels_are_found() {
        let names = |matchers: &[Matcher]| {
            let mut out = Texts::default();
            labelled()
                .label_names(matchers, 0, 100, &mut out)
                .expect("answers");
            out.into_sorted()
        };

        let values = |name: &str, matchers: &[Matcher]| {
            let mut out = Texts::default();
            labelled()
                .label_values(name, matchers, 0, 100, &mut out)
                .expect("answers");
            out.into_sorted()
        };

        let some = matcher("a", MatchOp::Equal, "");
        let none = matcher("a", MatchOp::Equal, "2");
        assert_eq!(names(&[]), ["__name__", "a", "cluster"]);
        assert_eq!(names(std::slice::from_ref(&some)), ["__name__", "cluster"]);
        assert_eq!(names(std::slice::from_ref(&none)), [""; 0]);
        assert_eq!(values("cluster", &[]), ["eu"]);
        assert_eq!(values("cluster", &[some]), ["eu"]);
        assert_eq!(values("cluster", &[none]), [""; 0]);
        assert_eq!(
            values("a", &[matcher("cluster", MatchOp::Equal, "eu")]),
            ["1"]
        );
        assert_eq!(
            values("a", &[matcher("cluster", MatchOp::Equal, "x")]),
            [""; 0]
        );
    }

    #[test]
    fn times_that_only_unread_blocks_lie_over_are_noticed() {
        let eu = [("c".to_owned(), "eu".to_owned())];
        let us = [("c".to_owned(), "us".to_owned())];
        let read: [Span<'_>; 3] = [(50..100, &eu), (0..40, &eu), (40..60, &eu)];
        assert!(!is_uncovered(&read, &[(10..100, &eu)], 0, 1_000));
        assert!(is_uncovered(&read, &[(10..101, &eu)], 0, 1_000));
        assert!(!is_uncovered(&read, &[(10..101, &eu)], 0, 99));
        assert!(is_uncovered(&read, &[(10..100, &us)], 0, 99));

        assert!(is_uncovered(&[(50..100, &eu)], &[(0..100, &eu)], 0, 99));
        assert!(!is_uncovered(&[(50..100, &eu)], &[(0..100, &eu)], 50, 99));
    }
}
