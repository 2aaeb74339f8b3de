//! Queries of this node's data, once the data is whole.
//!
//! A node takes writes while it replays its log. What it could answer meanwhile would lack samples that it has
//! acknowledged, so a question waits for the end of the replay, for as long as its own deadline lets it. In a group
//! few questions come here then: another replica that is complete answers them.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, ready};
use trireme_base::ErrorKind;
use trireme_model::{Labels, MetricMetadata};
use trireme_promql::{QueryResult, SelectRequest, SeriesSet};
use trireme_query::{
    Asked, ExemplarSeries, Found, InstantQuery, Queries, QueryContext, QueryError, RangeQuery,
    Selection, TsdbStatus,
};
use trireme_storage::Store;

/// How often a waiting query looks whether it was canceled.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Asks `inner` when the replay is done.
pub(crate) struct AfterReplay {
    inner: Arc<dyn Queries>,
    store: Arc<Store>,
}

impl AfterReplay {
    pub(crate) fn new(inner: Arc<dyn Queries>, store: Arc<Store>) -> Self {
        Self { inner, store }
    }

    fn wait(&self, context: &QueryContext) -> Result<&dyn Queries, QueryError> {
        if context.head_only && !self.store.replay().wait(Duration::ZERO) {
            return Err(QueryError::new(
                ErrorKind::Unavailable,
                "the log is being replayed",
            ));
        }

        while !self.is_replayed(context, LOOK_EVERY)? {}
        Ok(self.inner.as_ref())
    }

    /// Waits for the end of the replay, at most `wait`; an error if there will be none that the query sees.
    fn is_replayed(&self, context: &QueryContext, wait: Duration) -> Result<bool, QueryError> {
        let replay = self.store.replay();
        if replay.wait(wait) {
            return Ok(true);
        }

        context
            .cancel
            .check()
            .map_err(|stop| QueryError::new(stop.kind(), stop.to_string()))?;

        if !replay.is_running() {
            let why = "this node could not replay its log and is about to stop";
            return Err(QueryError::new(ErrorKind::Unavailable, why));
        }

        Ok(false)
    }
}

impl Queries for AfterReplay {
    fn is_quick(&self, context: &QueryContext, asked: &Asked<'_>) -> bool {
        self.store.replay().wait(Duration::ZERO) && self.inner.is_quick(context, asked)
    }

    fn prepare<'a>(&'a self, context: &'a QueryContext) -> BoxFuture<'a, Result<(), QueryError>> {
        if self.store.replay().wait(Duration::ZERO) {
            return Box::pin(ready(Ok(())));
        }
        Box::pin(async move {
            while !self.is_replayed(context, Duration::ZERO)? {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            Ok(())
        })
    }

    fn instant(
        &self,
        context: &QueryContext,
        query: &InstantQuery,
    ) -> Result<QueryResult, QueryError> {
        self.wait(context)?.instant(context, query)
    }

    fn range(&self, context: &QueryContext, query: &RangeQuery) -> Result<QueryResult, QueryError> {
        self.wait(context)?.range(context, query)
    }

    fn select(
        &self,
        context: &QueryContext,
        request: &SelectRequest,
    ) -> Result<SeriesSet, QueryError> {
        self.wait(context)?.select(context, request)
    }

    fn series(
        &self,
        context: &QueryContext,
        selection: &Selection,
    ) -> Result<Found<Labels>, QueryError> {
        self.wait(context)?.series(context, selection)
    }

    fn label_names(
        &self,
        context: &QueryContext,
        selection: &Selection,
    ) -> Result<Found<String>, QueryError> {
        self.wait(context)?.label_names(context, selection)
    }

    fn label_values(
        &self,
        context: &QueryContext,
        name: &str,
        selection: &Selection,
    ) -> Result<Found<String>, QueryError> {
        self.wait(context)?.label_values(context, name, selection)
    }

    fn exemplars(
        &self,
        context: &QueryContext,
        expr: &str,
        start_ms: i64,
        end_ms: i64,
    ) -> Result<Found<ExemplarSeries>, QueryError> {
        self.wait(context)?
            .exemplars(context, expr, start_ms, end_ms)
    }

    fn metadata(
        &self,
        context: &QueryContext,
        metric: Option<&str>,
    ) -> Result<Vec<(String, Vec<MetricMetadata>)>, QueryError> {
        self.wait(context)?.metadata(context, metric)
    }

    fn tsdb_status(&self, context: &QueryContext, limit: usize) -> Result<TsdbStatus, QueryError> {
        self.wait(context)?.tsdb_status(context, limit)
    }
}
