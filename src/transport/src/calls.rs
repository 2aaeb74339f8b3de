//! Requests and answers beside replication, for example writes that are forwarded to another group.
//!
//! An answer is collected whole before the caller gets it, because a caller that is slow in taking parts would hold up
//! replication on the same connection. Its size is therefore bounded.

mod book;
mod pending;

use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::Notify;
use trireme_base::ErrorKind;
use trireme_replication::PeerIdentity;
use trireme_wire::frame::{Frame, RequestHead, ResponseHead};
use trireme_wire::record::RECORD_BYTES_MAX;
use trireme_wire::rpc::Method;

pub use book::CallBook;
use pending::Pending;

/// Bytes of a request or an answer in one frame; fresh records may go between two.
const PART_BYTES: usize = 256 << 10;
/// Protocol version since which requests go in parts.
const REQUEST_PARTS_SINCE: u32 = 3;

/// Why a call gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct CallError {
    kind: ErrorKind,
    detail: String,
}

impl CallError {
    /// An error of this kind with words for people.
    pub fn new(kind: ErrorKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
        }
    }

    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

/// Answers the calls of peers.
pub trait CallHandler: Send + Sync + 'static {
    /// Begins to answer one call. The future is dropped when the caller gives up or the connection is lost.
    fn call(
        &self,
        peer: &PeerIdentity,
        head: RequestHead,
        body: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, CallError>>;
}

/// Knows no call.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoCalls;

impl CallHandler for NoCalls {
    fn call(
        &self,
        _: &PeerIdentity,
        head: RequestHead,
        _: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, CallError>> {
        let error = CallError::new(
            ErrorKind::NotFound,
            format!("call {} is unknown to this node", head.kind),
        );
        Box::pin(std::future::ready(Err(error)))
    }
}

/// Calls to one peer; outlives connections, and fails fast while there is none.
#[derive(Debug)]
pub struct Calls {
    calls_max: usize,
    answer_bytes_max: usize,
    pending: Mutex<Pending>,
    queued: Notify,
}

impl Calls {
    /// At most `calls_max` calls at a time, with answers of at most `answer_bytes_max` together.
    pub fn new(calls_max: usize, answer_bytes_max: usize) -> Self {
        Self {
            calls_max,
            answer_bytes_max,
            pending: Mutex::default(),
            queued: Notify::new(),
        }
    }

    /// Asks the peer and waits for the whole answer. Dropping the future tells the peer to stop.
    pub async fn call(
        &self,
        method: Method,
        body: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, CallError> {
        if body.len() > RECORD_BYTES_MAX {
            return Err(CallError::new(
                ErrorKind::TooLarge,
                format!("call of {} bytes is too large", body.len()),
            ));
        }

        let deadline_ms = u64::try_from(timeout.as_millis())
            .unwrap_or(u64::MAX)
            .max(1);
        let head = RequestHead {
            kind: method.number(),
            deadline_ms,
            version: method.version(),
            ..RequestHead::default()
        };

        let (id, answer) = self.pending.lock().begin(head, body, self.calls_max)?;
        self.queued.notify_one();
        let given_up = GivenUp { calls: self, id };
        let answer = tokio::time::timeout(timeout, answer).await;

        drop(given_up);
        match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(lost()),
            Err(_) => Err(CallError::new(
                ErrorKind::Timeout,
                "peer did not answer in time",
            )),
        }
    }

    /// Whether a call would be sent now.
    pub fn is_connected(&self) -> bool {
        self.pending.lock().is_connected()
    }

    /// A connection is there.
    pub(crate) fn start(&self) {
        *self.pending.lock() = Pending::connected();
    }

    /// The connection is gone; whoever waits is told.
    pub(crate) fn stop(&self) {
        *self.pending.lock() = Pending::default();
    }

    /// The next request to send. Cancel safe.
    pub(crate) async fn next_request(&self) -> (RequestHead, Bytes) {
        loop {
            if let Some(request) = self.pending.lock().take_request() {
                return request;
            }
            self.queued.notified().await;
        }
    }

    /// A part of an answer came in.
    pub(crate) fn answered(&self, head: &ResponseHead, part: Bytes) {
        self.pending
            .lock()
            .answered(head, part, self.answer_bytes_max);
    }
}

/// Cancels a call whose caller has gone, or tidies up after its end.
struct GivenUp<'a> {
    calls: &'a Calls,
    id: u64,
}

impl Drop for GivenUp<'_> {
    fn drop(&mut self) {
        if self.calls.pending.lock().give_up(self.id) {
            self.calls.queued.notify_one();
        }
    }
}

fn lost() -> CallError {
    CallError::new(ErrorKind::Unavailable, "connection to the peer was lost")
}

/// The frames of a request, for a connection of this protocol version.
pub(crate) fn request_frames(head: RequestHead, mut body: Bytes, version: u32) -> Vec<Frame> {
    if version < REQUEST_PARTS_SINCE {
        return vec![Frame::Request(head, body)];
    }

    let mut frames = Vec::with_capacity(1 + body.len() / PART_BYTES);
    for number in 0.. {
        let piece = body.split_to(body.len().min(PART_BYTES));
        let more = !body.is_empty();
        frames.push(Frame::Request(
            RequestHead {
                part: number,
                more,
                ..head.clone()
            },
            piece,
        ));

        if !more {
            break;
        }
    }

    frames
}

/// The frames of an answer.
pub(crate) fn answer_frames(id: u64, answer: Result<Bytes, CallError>) -> Vec<Frame> {
    let mut body = match answer {
        Ok(body) => body,
        Err(error) => {
            let head = ResponseHead {
                id,
                status: ResponseHead::status_of(error.kind),
                more: false,
            };
            return vec![Frame::Response(head, Bytes::from(error.detail))];
        }
    };

    let mut frames = Vec::with_capacity(1 + body.len() / PART_BYTES);
    loop {
        let part = body.split_to(body.len().min(PART_BYTES));
        let more = !body.is_empty();
        frames.push(Frame::Response(
            ResponseHead {
                id,
                status: 0,
                more,
            },
            part,
        ));

        if !more {
            return frames;
        }
    }
}

#[cfg(test)]
mod tests;
