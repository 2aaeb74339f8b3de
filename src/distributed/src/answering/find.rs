//! What this replica has itself, for one that asks all, and what its group has, for a member of another one.

use futures::executor::block_on;
use prost::Message;
use trireme_base::ErrorKind;
use trireme_promql::{Cancel, Columns, SelectHints, SelectRequest};

use super::{context_of, too_large};
use crate::message::{self, What};
use crate::sharded::shard_of;
use crate::{APPLY_WAIT, GroupQueries, codec, read_index};
use trireme_query::{QueryContext, QueryError, Selection};

/// Series that are read between two looks at whether the asker has gone.
const SERIES_PER_CHECK: usize = 64;

/// A shard of the series and the number of shards.
type Shard = (u32, u32);

fn is_in(shard: Option<Shard>, labels: &trireme_model::Labels) -> bool {
    shard.is_none_or(|(shard, shards)| shard_of(labels, shards) == shard)
}

impl GroupQueries {
    /// Looks up what the group has; this replica answers for it once it has everything the group has acknowledged. Blocks.
    pub(super) fn found_in_group(
        &self,
        of: &message::OfGroup,
        cancel: Cancel,
    ) -> Result<message::Answer, QueryError> {
        let find = of
            .find
            .as_ref()
            .ok_or_else(|| QueryError::invalid("nothing was asked for"))?;

        let context = context_of(&find.tenant, cancel)?;
        if !of.as_it_is && !self.is_alone(&context) && !self.read_index(&context)?.complete {
            return Err(QueryError::new(
                ErrorKind::Unavailable,
                "this replica is behind its group",
            ));
        }

        let shard = (of.shards > 1).then_some((of.shard, of.shards));
        self.found_here(find, context, shard)
    }

    /// Looks it up. Blocks.
    pub(super) fn found_here(
        &self,
        find: &message::Find,
        context: QueryContext,
        shard: Option<Shard>,
    ) -> Result<message::Answer, QueryError> {
        let complete =
            block_on(self.applied_within(&codec::positions_in(&find.positions), APPLY_WAIT));

        // The bucket is everyone's; who asks reads it itself.
        let context = QueryContext {
            replica_labels: find.replica_labels.clone(),
            local_only: true,
            ..context
        };

        let matchers =
            codec::matchers_in(&find.sets).map_err(|e| QueryError::invalid(e.to_string()))?;
        let limit = usize::try_from(find.limit).unwrap_or(usize::MAX);
        let selection = Selection {
            matchers,
            start_ms: find.start_ms,
            end_ms: find.end_ms,
            limit,
        };

        let mut answer = message::Answer {
            complete,
            ..message::Answer::default()
        };

        match What::try_from(find.what) {
            Ok(What::Samples) => match self.samples(&context, selection, shard)? {
                Some(rows) => answer.rows = rows,
                None => return Ok(too_large()),
            },
            Ok(What::Series) => {
                let found = self.inner.series(&context, &selection)?;
                let wanted = found.items.iter().filter(|labels| is_in(shard, labels));
                answer.rows = wanted.map(codec::series_labels_out).collect();
            }
            Ok(What::Names) => answer.texts = self.inner.label_names(&context, &selection)?.items,
            Ok(What::Values) => {
                answer.texts = self
                    .inner
                    .label_values(&context, &find.name, &selection)?
                    .items;
            }
            Ok(What::Exemplars) => {
                let start_ms = selection.start_ms;
                let end_ms = selection.end_ms;
                let found = self
                    .inner
                    .exemplars(&context, &find.name, start_ms, end_ms)?;
                answer.exemplars = codec::exemplars_out(&found.items);
            }
            Ok(What::Metadata) => {
                let metric = Some(find.name.as_str()).filter(|name| !name.is_empty());
                answer.metadata = codec::metadata_out(self.inner.metadata(&context, metric)?);
            }
            Err(_) => {
                return Err(QueryError::invalid(
                    "this node does not know what to look for",
                ));
            }
        }

        Ok(answer)
    }

    /// `None` if they do not fit into an answer.
    fn samples(
        &self,
        context: &QueryContext,
        selection: Selection,
        shard: Option<Shard>,
    ) -> Result<Option<Vec<message::Row>>, QueryError> {
        let Selection {
            mut matchers,
            start_ms,
            end_ms,
            ..
        } = selection;

        let matchers = matchers
            .pop()
            .filter(|set| !set.is_empty() && matchers.is_empty());
        let matchers = matchers
            .ok_or_else(|| QueryError::invalid("samples are selected by one set of matchers"))?;
        let request = SelectRequest {
            matchers,
            start_ms,
            end_ms,
            hints: SelectHints::default(),
        };

        let set = self.inner.select(context, &request)?;
        let mut rows = Vec::new();
        let mut bytes = 0;
        let mut columns = Columns::default();
        let wanted = set
            .series
            .iter()
            .filter(|series| is_in(shard, series.labels()));

        for (i, series) in wanted.enumerate() {
            if i.is_multiple_of(SERIES_PER_CHECK) {
                read_index::check(context)?;
            }
            columns.clear();
            series.read(start_ms, end_ms, &mut columns)?;
            let row = codec::columns_out(series.labels(), &columns);
            bytes += row.encoded_len();
            if bytes > self.answer_bytes_max {
                return Ok(None);
            }
            rows.push(row);
        }

        Ok(Some(rows))
    }
}
