//! The side of the replica that is asked.

mod find;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::executor::block_on;
use prost::Message;
use trireme_base::ErrorKind;
use trireme_model::Tenant;
use trireme_promql::{Cancel, QueryError as EngineError, QueryOptions, parse};

use super::message::{self, Question as Asked};
use super::{APPLY_WAIT, GroupQueries, Question, Sharded, codec, plan};
use trireme_query::{CostLimits, QueryContext, QueryError};

/// Largest answer. Who asks for more is told so as soon as that is known, evaluates it himself or asks for less at once.
pub const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Most shards that make sense.
const SHARDS_MAX: u32 = 64;

/// A peer's request after a first look.
pub enum Accepted {
    /// The answer, which took no time.
    Answer(Bytes),
    /// Work for a thread that may block, but must not be one of those that wait for other replicas: two nodes that ask
    /// each other would wait forever.
    Job(Job),
}

/// A query of a peer.
pub struct Job {
    of_group: Arc<GroupQueries>,
    work: Work,
}

enum Work {
    Query(message::Query),
    Find(message::Find),
    OfGroup(message::OfGroup),
}

impl GroupQueries {
    /// Looks at a request of a peer.
    pub fn accept(self: &Arc<Self>, body: Bytes) -> Result<Accepted, QueryError> {
        let invalid = |what: String| QueryError::new(ErrorKind::Invalid, what);

        let request = message::Request::decode(body).map_err(|e| invalid(e.to_string()))?;
        match request.question {
            _ if !self.replicas.is_complete() => Err(QueryError::new(
                ErrorKind::Unavailable,
                "this replica is being rebuilt",
            )),
            Some(Asked::Positions(_)) => {
                let positions = codec::positions_out(&self.replicas.durable());
                let epoch = self.replicas.latest_epoch();
                let answer = message::Answer {
                    positions,
                    epoch,
                    ..message::Answer::default()
                };
                Ok(Accepted::Answer(answer.encode_to_vec().into()))
            }
            Some(Asked::Query(query))
                if query.shards <= SHARDS_MAX && query.shard < query.shards.max(1) =>
            {
                Ok(Accepted::Job(Job {
                    of_group: Arc::clone(self),
                    work: Work::Query(query),
                }))
            }
            Some(Asked::Find(find)) => Ok(Accepted::Job(Job {
                of_group: Arc::clone(self),
                work: Work::Find(find),
            })),
            Some(Asked::OfGroup(of)) if of.shard < of.shards.max(1) => Ok(Accepted::Job(Job {
                of_group: Arc::clone(self),
                work: Work::OfGroup(of),
            })),
            _ => Err(invalid("this node does not know the question".to_owned())),
        }
    }
}

impl Job {
    /// Evaluates, once this replica is complete, or looks up what it has as it is. Blocks.
    pub fn run(&self, cancel: Cancel) -> Result<Bytes, QueryError> {
        let answer = match &self.work {
            Work::Query(query) => self.evaluate(query, cancel)?,
            Work::Find(find) => {
                self.of_group
                    .found_here(find, context_of(&find.tenant, cancel)?, None)?
            }
            Work::OfGroup(of) => self.of_group.found_in_group(of, cancel)?,
        };

        let fits = answer.encoded_len() <= self.of_group.answer_bytes_max;
        let answer = if fits { answer } else { too_large() };
        Ok(answer.encode_to_vec().into())
    }

    fn evaluate(
        &self,
        query: &message::Query,
        cancel: Cancel,
    ) -> Result<message::Answer, QueryError> {
        let of_group = &self.of_group;

        let positions = codec::positions_in(&query.positions);
        if !block_on(of_group.applied_within(&positions, APPLY_WAIT)) {
            return Err(QueryError::new(
                ErrorKind::Unavailable,
                "this replica is behind",
            ));
        }

        let context = QueryContext {
            replica_labels: query.replica_labels.clone(),
            max_source_resolution_ms: query.max_source_resolution_ms,
            start_timestamps: codec::switch_in(query.start_timestamps),
            samples_max: usize::try_from(query.samples_max).unwrap_or(usize::MAX),
            per_step_stats: query.per_step_stats,
            cost_limits: CostLimits {
                series_max: query.series_max,
                samples_read_max: query.samples_read_max,
            },
            ..context_of(&query.tenant, cancel)?
        };

        let lookback_ms = u64::try_from(query.lookback_ms).unwrap_or(0);
        let question = Question {
            text: &query.text,
            start_ms: query.start_ms,
            end_ms: query.end_ms,
            step_ms: query.step_ms,
            lookback: (lookback_ms > 0).then(|| Duration::from_millis(lookback_ms)),
        };

        if query.shards == 0 {
            let result = of_group.undivided(&context, &question)?;
            return Ok(
                codec::whole_out(&result, of_group.answer_bytes_max).unwrap_or_else(too_large)
            );
        }

        self.shard(query, &context, &question)
    }

    fn shard(
        &self,
        query: &message::Query,
        context: &QueryContext,
        question: &Question<'_>,
    ) -> Result<message::Answer, QueryError> {
        let of_group = &self.of_group;
        let expr = parse(question.text, &of_group.parser)
            .map_err(|e| QueryError::invalid(e.to_string()))?;
        let nodes: Vec<_> = query.nodes.iter().map(|pos| codec::pos_in(*pos)).collect();
        if nodes != plan::distributable(&expr) {
            return Err(QueryError::invalid(
                "this node would divide the query in another way",
            ));
        }

        let local = of_group.local(context);
        let storage = Sharded::new(&local, query.shard, query.shards);
        let span = (question.start_ms, question.end_ms);
        let bytes_max = Some(of_group.answer_bytes_max);
        let options = QueryOptions {
            partial_bytes_max: bytes_max,
            ..question.options(context)
        };
        let partials = of_group.engine.partials(
            &storage,
            &expr,
            span,
            question.step_ms,
            &nodes,
            &options,
            &context.cancel,
        );

        match partials {
            Ok(partials) => Ok(codec::partials_out(&partials)),
            Err(EngineError::PartialTooLarge(_)) => Ok(too_large()),
            Err(error) => Err(error.into()),
        }
    }
}

/// The context of a peer's question: a part that cannot be read is an error, for the asker to do without this replica.
fn context_of(tenant: &str, cancel: Cancel) -> Result<QueryContext, QueryError> {
    let tenant = Tenant::new(tenant).map_err(|e| QueryError::invalid(e.to_string()))?;
    Ok(QueryContext {
        partial_response: false,
        ..QueryContext::new(tenant, cancel)
    })
}

/// Says that there is more than fits into an answer.
fn too_large() -> message::Answer {
    message::Answer {
        too_large: true,
        ..message::Answer::default()
    }
}
