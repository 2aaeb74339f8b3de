//! How far the group is when a query begins, and how its members are asked.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use trireme_base::{ErrorKind, NodeName, StreamId};

use super::{APPLY_WAIT, Answer, LOOK_EVERY, POSITIONS_WAIT, Spread, codec, message};
use crate::{QueryContext, QueryError};

/// What the group had when the query began.
pub(super) struct Fence {
    pub(super) positions: Vec<(StreamId, u64)>,
    /// A quorum has told, so that `positions` cover every acknowledged write.
    pub(super) known: bool,
    /// Moreover, this replica has applied it.
    pub(super) complete: bool,
}

/// Rings that may follow each other while a fence is made.
const RINGS_MAX: usize = 3;

/// What a quorum told, by the ring that this node had.
struct Told {
    positions: BTreeMap<StreamId, u64>,
    /// A quorum has told.
    known: bool,
    /// One of them goes by a later ring, of this epoch: the quorum may have been one that does not count any more.
    ahead: Option<(NodeName, u64)>,
}

impl Spread {
    /// Asks how far the others are, until a quorum has answered, and waits until this replica is that far.
    ///
    /// A quorum is one of a ring. If somebody of it goes by a later ring, writes may have been acknowledged by members
    /// whom this node has not asked: it takes that ring and asks anew, or does not know how far the group is.
    pub(super) fn fence(&self, context: &QueryContext) -> Result<Fence, QueryError> {
        must_not_wait(context)?;
        let is_whole = self.replicas.is_complete();
        let mut told = self.ask_quorum(context, is_whole)?;
        for _ in 1..RINGS_MAX {
            let Some((peer, epoch)) = &told.ahead else { break };
            if !self.replicas.learn_ring(peer, *epoch, POSITIONS_WAIT) {
                break;
            }
            told = self.ask_quorum(context, is_whole)?;
        }

        let known = told.known && told.ahead.is_none();
        let positions: Vec<_> = told.positions.into_iter().collect();
        let complete = known && is_whole && self.replicas.applied_within(&positions, APPLY_WAIT);
        Ok(Fence { positions, known, complete })
    }

    fn ask_quorum(&self, context: &QueryContext, is_whole: bool) -> Result<Told, QueryError> {
        let epoch = self.replicas.epoch();
        // A replica that is being rebuilt is no witness of what was acknowledged before.
        let needed = self.replicas.quorum().saturating_sub(usize::from(is_whole));
        let request = message::Request { question: Some(message::Question::Positions(message::Nothing {})) };
        let connected = || self.replicas.connected();
        let peers = self.met(context, connected(), connected, |peers| peers.len() >= needed)?;
        let (asked, answers) = self.ask(&peers, |_| request.clone(), POSITIONS_WAIT);

        // This node is one of the quorum: its log may have what it has not applied, and what the others have not heard of.
        let own = if is_whole { self.replicas.durable() } else { Vec::new() };
        let mut positions: BTreeMap<StreamId, u64> = own.into_iter().collect();
        let (mut told, mut ahead) = (0, None);
        let until = self.clock.monotonic() + POSITIONS_WAIT;

        while told < needed {
            let Some(Answer { from, body }) = self.next(&answers, until, context)? else { break };
            let Some(answer) = body.ok().and_then(|body| message::Answer::decode(body).ok()) else {
                continue;
            };
            told += 1;
            for (stream, seq) in codec::positions_in(&answer.positions) {
                let known = positions.entry(stream).or_default();
                *known = (*known).max(seq);
            }
            if answer.epoch > epoch {
                ahead = peers.get(from).map(|peer| (peer.clone(), answer.epoch)).or(ahead);
            }
        }
        drop(asked);
        Ok(Told { positions, known: told >= needed, ahead })
    }

    /// Whom one can ask now. A node that has just started looks again until they are enough: they had to wait for it, and
    /// look for it less and less often.
    pub(super) fn met<T>(
        &self,
        context: &QueryContext,
        first: T,
        look: impl Fn() -> T,
        are_enough: impl Fn(&T) -> bool,
    ) -> Result<T, QueryError> {
        let mut found = first;
        while !are_enough(&found) && self.clock.monotonic() < self.alone_until {
            check(context)?;
            std::thread::sleep(LOOK_EVERY);
            found = look();
        }
        Ok(found)
    }

    /// Sends a request to each of `peers`. Dropping what is returned first tells them to stop.
    pub(super) fn ask(
        &self,
        peers: &[NodeName],
        request: impl Fn(usize) -> message::Request,
        timeout: Duration,
    ) -> (Vec<Box<dyn Send>>, Receiver<Answer>) {
        let (done, answers) = channel();
        let send = |(i, peer): (usize, &NodeName)| {
            let body = Bytes::from(request(i).encode_to_vec());
            self.replicas.ask(peer, i, body, timeout, done.clone())
        };
        (peers.iter().enumerate().map(send).collect(), answers)
    }

    /// The next answer; `None` if there will be none before `until`.
    pub(super) fn next(
        &self,
        answers: &Receiver<Answer>,
        until: Duration,
        context: &QueryContext,
    ) -> Result<Option<Answer>, QueryError> {
        loop {
            check(context)?;
            let left = until.saturating_sub(self.clock.monotonic());
            match answers.recv_timeout(left.min(LOOK_EVERY)) {
                Ok(answer) => return Ok(Some(answer)),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) if left.is_zero() => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}

/// An error on an event loop: who has to ask others first must not wait there.
pub(super) fn must_not_wait(context: &QueryContext) -> Result<(), QueryError> {
    match context.head_only {
        false => Ok(()),
        true => Err(QueryError::new(ErrorKind::Unavailable, "others have to be asked for this answer")),
    }
}

/// An error if the query was cancelled or is out of time.
pub(super) fn check(context: &QueryContext) -> Result<(), QueryError> {
    context.cancel.check().map_err(|stop| QueryError::new(stop.kind(), stop.to_string()))
}
