//! What this replica has itself, for one that asks all.

use prost::Message;
use trireme_base::ErrorKind;
use trireme_promql::{Columns, SelectHints, SelectRequest};

use super::ANSWER_BYTES_MAX;
use crate::spread::message::{self, What};
use crate::spread::{APPLY_WAIT, Spread, codec};
use crate::{QueryContext, QueryError, Selection};

/// Series that are read between two looks at whether the asker has gone.
const SERIES_PER_CHECK: usize = 64;

impl Spread {
    /// Looks it up. Blocks.
    pub(super) fn found_here(
        &self,
        find: &message::Find,
        context: QueryContext,
    ) -> Result<message::Answer, QueryError> {
        let complete = self.replicas.applied_within(&codec::positions_in(&find.positions), APPLY_WAIT);
        // The bucket is everyone's; who asks reads it itself.
        let context =
            QueryContext { replica_labels: find.replica_labels.clone(), local_only: true, ..context };
        let matchers = codec::matchers_in(&find.sets).map_err(|e| QueryError::invalid(e.to_string()))?;
        let selection = Selection { matchers, start_ms: find.start_ms, end_ms: find.end_ms, limit: 0 };
        let mut answer = message::Answer { complete, ..message::Answer::default() };
        match What::try_from(find.what) {
            Ok(What::Samples) => answer.rows = self.samples(&context, selection)?,
            Ok(What::Series) => {
                let found = self.inner.series(&context, &selection)?;
                answer.rows = found.items.iter().map(codec::series_labels_out).collect();
            }
            Ok(What::Names) => answer.texts = self.inner.label_names(&context, &selection)?.items,
            Ok(What::Values) => {
                answer.texts = self.inner.label_values(&context, &find.name, &selection)?.items;
            }
            Err(_) => return Err(QueryError::invalid("this node does not know what to look for")),
        }
        Ok(answer)
    }

    fn samples(&self, context: &QueryContext, selection: Selection) -> Result<Vec<message::Row>, QueryError> {
        let Selection { mut matchers, start_ms, end_ms, .. } = selection;
        let matchers = matchers.pop().filter(|set| !set.is_empty() && matchers.is_empty());
        let matchers =
            matchers.ok_or_else(|| QueryError::invalid("samples are selected by one set of matchers"))?;
        let request = SelectRequest { matchers, start_ms, end_ms, hints: SelectHints::default() };
        let set = self.inner.select(context, &request)?;
        let (mut rows, mut bytes, mut columns) = (Vec::new(), 0, Columns::default());
        for (i, series) in set.series.iter().enumerate() {
            if i.is_multiple_of(SERIES_PER_CHECK) {
                context.cancel.check().map_err(|stop| QueryError::new(stop.kind(), stop.to_string()))?;
            }
            columns.clear();
            series.read(start_ms, end_ms, &mut columns)?;
            let row = codec::columns_out(series.labels(), &columns);
            bytes += row.encoded_len();
            if bytes > ANSWER_BYTES_MAX {
                let why = format!("the samples have more than {ANSWER_BYTES_MAX} bytes");
                return Err(QueryError::new(ErrorKind::TooLarge, why));
            }
            rows.push(row);
        }
        Ok(rows)
    }
}
