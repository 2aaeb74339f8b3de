//! Queries over the series of all groups.
//!
//! A node has the series of its group. Of every other group one member that is complete gives what that group has in its
//! heads and local blocks; the bucket everybody reads for himself. A series that moved when the ring changed is in two
//! groups, the old samples in one and the new ones in the other: they are united by time, so that it is one series.
//! Replicas of HA pairs, which lie in different groups as a rule, become one after that.
//!
//! With one group in the ring all questions go straight to [`GroupQueries`].

mod gather;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::future::BoxFuture;
use trireme_base::ErrorKind;
use trireme_model::{Exemplar, Labels, MetricMetadata};
use trireme_promql::{Cancel, QueryResult, Select, SelectError, SelectRequest, SeriesSet, parse};

use super::codec::{self, BadMessage};
use super::message::{self, What};
use super::union::{labels_in, texts_in, unite};
use super::{GroupQueries, OtherGroup, Question};
use gather::Gather;
use trireme_query::{
    Asked, Dedup, ExemplarSeries, Found, InstantQuery, Queries, QueryContext, QueryError,
    RangeQuery, Selection, TsdbStatus,
};

/// What a node says that the ring does not have any more.
const LEFT: &str = "this node has left the ring and does not know what was written since: ask another one, or with local=true for what it has";

/// Answers queries with the help of other groups.
pub struct ClusterQueries {
    of_group: Arc<GroupQueries>,
}

/// All groups as one storage.
struct AllGroups<'a> {
    of_group: &'a GroupQueries,
    context: QueryContext,
    others: &'a [OtherGroup],
}

impl AllGroups<'_> {
    fn all(&self, request: &SelectRequest) -> Result<SeriesSet, QueryError> {
        let find = codec::samples_out(request);
        let gather = Gather::begin(self.of_group, &self.context, self.others, find)?;
        let own = self.of_group.select(&self.context, request)?;
        let found = gather.finish()?;
        let mut warnings = own.warnings;
        let rows = found.answers.into_iter().flat_map(|answer| answer.rows);
        let (series, is_readable) = unite(own.series, rows);

        warnings.extend(found.warnings);
        if !is_readable {
            warnings.extend(gather::unreadable(&self.context)?);
        }

        Ok(SeriesSet { series, warnings })
    }
}

impl Select for AllGroups<'_> {
    fn select(&self, request: &SelectRequest, _: &Cancel) -> Result<SeriesSet, SelectError> {
        self.all(request).map_err(SelectError::from)
    }
}

impl ClusterQueries {
    /// Lays the other groups around a group's own answers.
    pub fn new(of_group: Arc<GroupQueries>) -> Self {
        Self { of_group }
    }

    /// Whom to ask beside the own group; nobody in a ring of one group. An error once the ring does not have this node any
    /// more: nobody tells it what was written since.
    fn others(&self, context: &QueryContext) -> Result<Vec<OtherGroup>, QueryError> {
        if context.local_only {
            return Ok(Vec::new());
        }
        if self.of_group.replicas.has_left() {
            return Err(QueryError::new(ErrorKind::Unavailable, LEFT.to_owned()));
        }
        Ok(self.of_group.replicas.other_groups())
    }

    fn storage<'a>(
        &'a self,
        context: &QueryContext,
        others: &'a [OtherGroup],
    ) -> Dedup<AllGroups<'a>> {
        let raw = QueryContext {
            replica_labels: Vec::new(),
            ..context.clone()
        };
        let all = AllGroups {
            of_group: &self.of_group,
            context: raw,
            others,
        };

        Dedup::new(all, context.replica_labels.clone())
    }

    fn evaluate(
        &self,
        context: &QueryContext,
        q: &Question<'_>,
        others: &[OtherGroup],
    ) -> Result<QueryResult, QueryError> {
        let of_group = &self.of_group;
        let expr =
            parse(q.text, &of_group.parser).map_err(|e| QueryError::invalid(e.to_string()))?;
        let mut result = q.evaluate(
            &of_group.engine,
            &self.storage(context, others),
            &expr,
            context,
        )?;

        result.warnings.sort();
        result.warnings.dedup();
        Ok(result)
    }

    /// Items of all groups.
    fn found<T: Ord>(
        &self,
        context: &QueryContext,
        selection: &Selection,
        (what, name): (What, &str),
        own: impl FnOnce() -> Result<Found<T>, QueryError>,
        read: impl Fn(message::Answer) -> Result<Vec<T>, BadMessage>,
    ) -> Result<Found<T>, QueryError> {
        let others = self.others(context)?;
        if others.is_empty() {
            return own();
        }

        let find = codec::items_out(what, name, selection, context);
        let gather = Gather::begin(&self.of_group, context, &others, find)?;
        let own = own()?;
        let found = gather.finish()?;
        let mut items: BTreeSet<T> = own.items.into_iter().collect();
        let mut warnings = own.warnings;

        warnings.extend(found.warnings);
        for answer in found.answers {
            match read(answer) {
                Ok(more) => items.extend(more),
                Err(_) => warnings.extend(gather::unreadable(context)?),
            }
        }

        warnings.sort();
        warnings.dedup();
        Ok(Found {
            items: items.into_iter().collect(),
            warnings,
        })
    }

    /// What other groups answer that is not asked for by matchers.
    fn other_answers(
        &self,
        context: &QueryContext,
        (what, name): (What, &str),
        (start_ms, end_ms): (i64, i64),
    ) -> Result<gather::Gathered, QueryError> {
        let others = self.others(context)?;
        let find = message::Find {
            what: what.into(),
            name: name.to_owned(),
            start_ms,
            end_ms,
            ..message::Find::default()
        };

        Gather::begin(&self.of_group, context, &others, find)?.finish()
    }
}

/// Exemplars of both, each once, by time.
fn merge_exemplars(into: &mut Vec<Exemplar>, more: Vec<Exemplar>) {
    into.extend(more);
    into.sort_unstable();
    into.dedup();
}

impl Queries for ClusterQueries {
    /// Whoever has to ask other groups is not quick.
    fn is_quick(&self, context: &QueryContext, asked: &Asked<'_>) -> bool {
        self.others(context).is_ok_and(|others| others.is_empty())
            && self.of_group.is_quick(context, asked)
    }

    fn prepare<'a>(&'a self, context: &'a QueryContext) -> BoxFuture<'a, Result<(), QueryError>> {
        self.of_group.prepare(context)
    }

    fn instant(
        &self,
        context: &QueryContext,
        query: &InstantQuery,
    ) -> Result<QueryResult, QueryError> {
        let others = self.others(context)?;
        if others.is_empty() {
            return self.of_group.instant(context, query);
        }

        self.evaluate(context, &query.into(), &others)
    }

    fn range(&self, context: &QueryContext, query: &RangeQuery) -> Result<QueryResult, QueryError> {
        let others = self.others(context)?;
        // A range that is none is evaluated locally, which reports the error.
        if others.is_empty() || query.step_ms <= 0 || query.end_ms < query.start_ms {
            return self.of_group.range(context, query);
        }

        self.evaluate(context, &query.into(), &others)
    }

    fn select(
        &self,
        context: &QueryContext,
        request: &SelectRequest,
    ) -> Result<SeriesSet, QueryError> {
        let others = self.others(context)?;
        if others.is_empty() {
            return self.of_group.select(context, request);
        }
        Ok(self
            .storage(context, &others)
            .select(request, &context.cancel)?)
    }

    fn series(
        &self,
        context: &QueryContext,
        selection: &Selection,
    ) -> Result<Found<Labels>, QueryError> {
        self.found(
            context,
            selection,
            (What::Series, ""),
            || self.of_group.series(context, selection),
            labels_in,
        )
    }

    fn label_names(
        &self,
        context: &QueryContext,
        selection: &Selection,
    ) -> Result<Found<String>, QueryError> {
        self.found(
            context,
            selection,
            (What::Names, ""),
            || self.of_group.label_names(context, selection),
            texts_in,
        )
    }

    fn label_values(
        &self,
        context: &QueryContext,
        name: &str,
        selection: &Selection,
    ) -> Result<Found<String>, QueryError> {
        self.found(
            context,
            selection,
            (What::Values, name),
            || self.of_group.label_values(context, name, selection),
            texts_in,
        )
    }

    fn exemplars(
        &self,
        context: &QueryContext,
        expr: &str,
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Found<ExemplarSeries>, QueryError> {
        let own = self.of_group.exemplars(context, expr, start_ms, end_ms)?;
        let found = self.other_answers(context, (What::Exemplars, expr), (start_ms, end_ms))?;
        if found.answers.is_empty() && found.warnings.is_empty() {
            return Ok(own);
        }

        let mut by_series: BTreeMap<Labels, Vec<Exemplar>> = own
            .items
            .into_iter()
            .map(|series| (series.labels, series.exemplars))
            .collect();

        let mut warnings = own.warnings;
        warnings.extend(found.warnings);

        for answer in found.answers {
            let Ok(more) = codec::exemplars_in(answer.exemplars) else {
                warnings.extend(gather::unreadable(context)?);
                continue;
            };
            for series in more {
                merge_exemplars(
                    by_series.entry(series.labels).or_default(),
                    series.exemplars,
                );
            }
        }

        let items = by_series
            .into_iter()
            .map(|(labels, exemplars)| ExemplarSeries { labels, exemplars });

        Ok(Found {
            items: items.collect(),
            warnings,
        })
    }

    fn metadata(
        &self,
        context: &QueryContext,
        metric: Option<&str>,
    ) -> Result<Vec<(String, Vec<MetricMetadata>)>, QueryError> {
        let own = self.of_group.metadata(context, metric)?;
        // There is no room for a warning in the answer; a group that cannot be asked is left out unless that is an error.
        let found = self.other_answers(context, (What::Metadata, metric.unwrap_or("")), (0, 0))?;
        if found.answers.is_empty() {
            return Ok(own);
        }

        let mut by_metric: BTreeMap<String, Vec<MetricMetadata>> = own.into_iter().collect();
        for row in found.answers.into_iter().flat_map(|answer| answer.metadata) {
            let (metric, entry) = codec::metadata_in(row);
            let entries = by_metric.entry(metric).or_default();
            if !entries.contains(&entry) {
                entries.push(entry);
            }
        }

        by_metric
            .values_mut()
            .for_each(|entries| entries.sort_unstable_by(|a, b| b.cmp(a)));

        Ok(by_metric.into_iter().collect())
    }

    fn tsdb_status(&self, context: &QueryContext, limit: usize) -> Result<TsdbStatus, QueryError> {
        self.of_group.tsdb_status(context, limit)
    }
}
