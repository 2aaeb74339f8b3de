//! The side of the replica that is asked.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use trireme_base::ErrorKind;
use trireme_model::Tenant;
use trireme_promql::{Cancel, parse};

use super::message::{self, Question as Asked};
use super::{APPLY_WAIT, Question, Sharded, Spread, codec, plan};
use crate::{QueryContext, QueryError};

/// Largest answer; a query with more is evaluated by who asked.
const ANSWER_BYTES_MAX: usize = 64 << 20;
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
    spread: Arc<Spread>,
    query: message::Query,
}

impl Spread {
    /// Looks at a request of a peer.
    pub fn accept(self: &Arc<Self>, body: Bytes) -> Result<Accepted, QueryError> {
        let invalid = |what: String| QueryError::new(ErrorKind::Invalid, what);
        let request = message::Request::decode(body).map_err(|e| invalid(e.to_string()))?;
        match request.question {
            Some(Asked::Positions(_)) => {
                let positions = codec::positions_out(&self.replicas.durable());
                let answer = message::Answer { positions, ..message::Answer::default() };
                Ok(Accepted::Answer(answer.encode_to_vec().into()))
            }
            Some(Asked::Query(query)) if query.shards <= SHARDS_MAX && query.shard < query.shards.max(1) => {
                Ok(Accepted::Job(Job { spread: Arc::clone(self), query }))
            }
            _ => Err(invalid("this node does not know the question".to_owned())),
        }
    }
}

impl Job {
    /// Waits until this replica is complete, and evaluates. Blocks.
    pub fn run(&self, cancel: Cancel) -> Result<Bytes, QueryError> {
        let (spread, query) = (&self.spread, &self.query);
        let positions = codec::positions_in(&query.positions);
        if !spread.replicas.applied_within(&positions, APPLY_WAIT) {
            return Err(QueryError::new(ErrorKind::Unavailable, "this replica is behind"));
        }
        let tenant = Tenant::new(&query.tenant).map_err(|e| QueryError::invalid(e.to_string()))?;
        let context = QueryContext {
            replica_labels: query.replica_labels.clone(),
            partial_response: false,
            max_source_resolution_ms: query.max_source_resolution_ms,
            ..QueryContext::new(tenant, cancel)
        };
        let lookback_ms = u64::try_from(query.lookback_ms).unwrap_or(0);
        let question = Question {
            text: &query.text,
            start_ms: query.start_ms,
            end_ms: query.end_ms,
            step_ms: query.step_ms,
            lookback: (lookback_ms > 0).then(|| Duration::from_millis(lookback_ms)),
        };
        let answer = if query.shards == 0 {
            codec::whole_out(&spread.undivided(&context, &question)?)
        } else {
            self.shard(&context, &question)?
        };
        let bytes = answer.encoded_len();
        if bytes > ANSWER_BYTES_MAX {
            return Err(QueryError::new(ErrorKind::TooLarge, format!("the answer has {bytes} bytes")));
        }
        Ok(answer.encode_to_vec().into())
    }

    fn shard(&self, context: &QueryContext, question: &Question<'_>) -> Result<message::Answer, QueryError> {
        let (spread, query) = (&self.spread, &self.query);
        let expr = parse(question.text, &spread.parser).map_err(|e| QueryError::invalid(e.to_string()))?;
        let nodes: Vec<_> = query.nodes.iter().map(|pos| codec::pos_in(*pos)).collect();
        if nodes != plan::distributable(&expr) {
            return Err(QueryError::invalid("this node would divide the query in another way"));
        }
        let local = spread.local(context);
        let storage = Sharded::new(&local, query.shard, query.shards);
        let span = (question.start_ms, question.end_ms);
        let options = question.options();
        let partials = spread.engine.partials(
            &storage,
            &expr,
            span,
            question.step_ms,
            &nodes,
            &options,
            &context.cancel,
        )?;
        Ok(codec::partials_out(&partials))
    }
}
