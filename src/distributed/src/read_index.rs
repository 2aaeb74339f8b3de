//! How far the group is when a query begins, and how its members are asked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use futures::executor::block_on;
use futures::future::{Either, select};
use prost::Message;
use trireme_base::{ErrorKind, NodeName, StreamId};

use super::{APPLY_WAIT, GroupQueries, LOOK_EVERY, POSITIONS_WAIT, Refusal, codec, message};
use trireme_query::{QueryContext, QueryError, ReadIndex};

/// Rings that may follow each other while a read index is taken.
const RINGS_MAX: usize = 3;
/// As many members are asked as have to answer. If they have not by then, the others are asked as well.
const PATIENCE: Duration = Duration::from_millis(5);

/// What a peer answered.
pub(super) struct Answer {
    /// Which of those that were asked.
    pub(super) from: usize,
    pub(super) body: Result<Bytes, Refusal>,
}

/// What a quorum told, by the ring that this node had.
struct Told {
    positions: BTreeMap<StreamId, u64>,
    /// A quorum has told.
    known: bool,
    /// One of them goes by a later ring, of this epoch: the quorum may have been one that does not count any more.
    ahead: Option<(NodeName, u64)>,
}

/// Peers that are asked for their positions.
struct Asking<'a> {
    of_group: &'a GroupQueries,
    peers: Vec<NodeName>,
    /// The peer to begin with: the last one that told in time.
    first: usize,
    /// Questions that were sent; dropping one tells the peer to stop.
    sent: Vec<Box<dyn Send>>,
    done: UnboundedSender<Answer>,
    answers: UnboundedReceiver<Answer>,
    /// Questions without an answer yet.
    open: usize,
}

impl<'a> Asking<'a> {
    fn new(of_group: &'a GroupQueries, peers: Vec<NodeName>) -> Self {
        let (done, answers) = unbounded();
        let first = of_group.witness.load(Ordering::Relaxed) % peers.len().max(1);
        Self {
            of_group,
            peers,
            first,
            sent: Vec::new(),
            done,
            answers,
            open: 0,
        }
    }

    fn has_more(&self) -> bool {
        self.sent.len() < self.peers.len()
    }

    /// Asks until `wanted` have been asked, or all.
    fn ask(&mut self, wanted: usize) {
        while self.sent.len() < wanted.min(self.peers.len()) {
            let from = (self.first + self.sent.len()) % self.peers.len();
            let done = self.done.clone();
            let request = message::Request {
                question: Some(message::Question::Positions(message::Nothing {})),
            };
            let body = Bytes::from(request.encode_to_vec());

            // Who asked may have gone.
            let done = Box::new(move |body| drop(done.unbounded_send(Answer { from, body })));
            self.sent.push(self.of_group.replicas.ask(
                &self.peers[from],
                body,
                POSITIONS_WAIT,
                done,
            ));

            self.open += 1;
        }
    }

    /// The next answer; `None` if none comes within `wait`.
    async fn next(&mut self, wait: Duration) -> Option<Answer> {
        match select(self.answers.next(), self.of_group.replicas.pause(wait)).await {
            Either::Left((answer, _)) => {
                self.open -= 1;
                answer
            }
            Either::Right(_) => None,
        }
    }
}

impl GroupQueries {
    /// The query's read index: the one that was taken when it began, or else one that is taken now. Blocks for that.
    pub(super) fn read_index(&self, context: &QueryContext) -> Result<Arc<ReadIndex>, QueryError> {
        let taken = context.read_index.get();
        // A replica that is being rebuilt meanwhile is not complete any more.
        if let Some(read_index) =
            taken.filter(|read_index| !read_index.complete || self.replicas.is_complete())
        {
            return Ok(Arc::clone(read_index));
        }
        must_not_wait(context)?;
        block_on(self.take_read_index(context))
    }

    /// Asks how far the others are, until a quorum has answered, and waits until this replica is that far. The context
    /// keeps what comes out.
    ///
    /// A quorum is one of a ring. If somebody of it goes by a later ring, writes may have been acknowledged by members
    /// whom this node has not asked: it takes that ring and asks anew, or does not know how far the group is.
    pub(super) async fn take_read_index(
        &self,
        context: &QueryContext,
    ) -> Result<Arc<ReadIndex>, QueryError> {
        let is_whole = self.replicas.is_complete();

        let mut told = self.ask_quorum(context, is_whole).await?;
        for _ in 1..RINGS_MAX {
            let Some((peer, epoch)) = &told.ahead else {
                break;
            };
            if !self.replicas.learn_ring(peer, *epoch, POSITIONS_WAIT).await {
                break;
            }
            told = self.ask_quorum(context, is_whole).await?;
        }

        let known = told.known && told.ahead.is_none();
        let positions: Vec<_> = told.positions.into_iter().collect();
        let complete = known && is_whole && self.applied_within(&positions, APPLY_WAIT).await;
        let read_index = Arc::new(ReadIndex {
            positions,
            known,
            complete,
        });

        // One that is there already was taken before this one, and is not complete any more.
        let _ = context.read_index.set(Arc::clone(&read_index));
        Ok(read_index)
    }

    async fn ask_quorum(&self, context: &QueryContext, is_whole: bool) -> Result<Told, QueryError> {
        let epoch = self.replicas.epoch();
        // A replica that is being rebuilt is no witness of what was acknowledged before.
        let needed = self.replicas.quorum().saturating_sub(usize::from(is_whole));
        let connected = || self.replicas.connected();
        let peers = self
            .met(context, connected(), connected, |peers| {
                peers.len() >= needed
            })
            .await?;

        // This node is one of the quorum: its log may have what it has not applied, and what the others have not heard of.
        let own = if is_whole {
            self.replicas.durable()
        } else {
            Vec::new()
        };

        let positions = own.into_iter().collect();
        let mut told = Told {
            positions,
            known: false,
            ahead: None,
        };

        let mut asking = Asking::new(self, peers);
        let begun = self.clock.monotonic();
        let mut heard = 0;
        let mut failed = 0;

        while heard < needed {
            asking.ask(needed + failed);
            let waited = self.clock.monotonic().saturating_sub(begun);
            if asking.open == 0 || waited >= POSITIONS_WAIT {
                break;
            }

            check(context)?;
            let wait = if asking.has_more() {
                PATIENCE
            } else {
                LOOK_EVERY
            };

            match asking.next(wait.min(POSITIONS_WAIT - waited)).await {
                Some(answer) => match self.hear(&asking, answer, epoch, &mut told) {
                    true => heard += 1,
                    false => failed += 1,
                },
                None if self.clock.monotonic().saturating_sub(begun) >= PATIENCE => {
                    failed = asking.peers.len()
                }
                None => {}
            }
        }

        told.known = heard >= needed;
        Ok(told)
    }

    /// Takes in what a peer tells; false if that is nothing.
    fn hear(&self, asking: &Asking<'_>, answer: Answer, epoch: u64, told: &mut Told) -> bool {
        let from = answer.from;
        let Some(answer) = answer
            .body
            .ok()
            .and_then(|body| message::Answer::decode(body).ok())
        else {
            return false;
        };

        self.witness.store(from, Ordering::Relaxed);
        for (stream, seq) in codec::positions_in(&answer.positions) {
            let known = told.positions.entry(stream).or_default();
            *known = (*known).max(seq);
        }

        if answer.epoch > epoch {
            told.ahead = Some((asking.peers[from].clone(), answer.epoch));
        }

        true
    }

    /// Waits, at most `wait`, until everything up to `positions` is applied here; true if it is.
    pub(super) async fn applied_within(
        &self,
        positions: &[(StreamId, u64)],
        wait: Duration,
    ) -> bool {
        if self.replicas.has_applied(positions) {
            return true;
        }

        self.replicas.hurry();

        let until = self.clock.monotonic() + wait;
        loop {
            // Before the look, or what happens in between would be missed.
            let progress = self.replicas.progress();
            if self.replicas.has_applied(positions) {
                return true;
            }
            if self.clock.monotonic() >= until {
                return false;
            }
            progress.await;
        }
    }

    /// Whom one can ask now. A node that has just started looks again until they are enough: they had to wait for it, and
    /// look for it less and less often.
    pub(super) async fn met<T>(
        &self,
        context: &QueryContext,
        first: T,
        look: impl Fn() -> T,
        are_enough: impl Fn(&T) -> bool,
    ) -> Result<T, QueryError> {
        let mut found = first;
        while !are_enough(&found) && self.clock.monotonic() < self.alone_until {
            check(context)?;
            self.replicas.pause(LOOK_EVERY).await;
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
        (
            peers
                .iter()
                .enumerate()
                .map(|(from, peer): (usize, &NodeName)| {
                    let done = done.clone();
                    let body = Bytes::from(request(from).encode_to_vec());
                    // Who asked may have gone.
                    let done = Box::new(move |body| drop(done.send(Answer { from, body })));
                    self.replicas.ask(peer, body, timeout, done)
                })
                .collect(),
            answers,
        )
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
        true => Err(QueryError::new(
            ErrorKind::Unavailable,
            "others have to be asked for this answer",
        )),
    }
}

/// An error if the query was cancelled or is out of time.
pub(super) fn check(context: &QueryContext) -> Result<(), QueryError> {
    context
        .cancel
        .check()
        .map_err(|stop| QueryError::new(stop.kind(), stop.to_string()))
}
