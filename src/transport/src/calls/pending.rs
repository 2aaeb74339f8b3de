//! Calls under way on one connection.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};
use tokio::sync::oneshot;
use trireme_base::ErrorKind;
use trireme_wire::frame::{RequestHead, ResponseHead};

use super::CallError;

type Answer = Result<Bytes, CallError>;

/// Calls under way; by default there is no connection.
#[derive(Debug, Default)]
pub(super) struct Pending {
    connected: bool,
    next_id: u64,
    to_send: VecDeque<(RequestHead, Bytes)>,
    waiting: BTreeMap<u64, Waiting>,
    /// Of the parts that wait for their rest.
    part_bytes: usize,
}

/// What a part takes beside its bytes, roughly, so that empty ones count too.
const PART_OVERHEAD_BYTES: usize = 64;

#[derive(Debug)]
struct Waiting {
    parts: Vec<Bytes>,
    bytes: usize,
    reply: oneshot::Sender<Answer>,
}

impl Pending {
    pub(super) fn connected() -> Self {
        Self {
            connected: true,
            next_id: 1,
            ..Self::default()
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        self.connected
    }

    pub(super) fn begin(
        &mut self,
        mut head: RequestHead,
        body: Bytes,
        calls_max: usize,
    ) -> Result<(u64, oneshot::Receiver<Answer>), CallError> {
        if !self.connected {
            return Err(CallError::new(
                ErrorKind::Unavailable,
                "there is no connection to the peer",
            ));
        }

        if self.waiting.len() >= calls_max {
            return Err(CallError::new(
                ErrorKind::Limited,
                format!("{calls_max} calls to the peer are under way"),
            ));
        }

        head.id = self.next_id;
        self.next_id += 1;
        let (reply, answer) = oneshot::channel();

        self.waiting.insert(
            head.id,
            Waiting {
                parts: Vec::new(),
                bytes: 0,
                reply,
            },
        );

        self.to_send.push_back((head.clone(), body));
        Ok((head.id, answer))
    }

    pub(super) fn take_request(&mut self) -> Option<(RequestHead, Bytes)> {
        self.to_send.pop_front()
    }

    /// The caller does not wait any more; true if the peer is to be told.
    pub(super) fn give_up(&mut self, id: u64) -> bool {
        if self.remove(id).is_none() {
            return false;
        }

        let before = self.to_send.len();
        self.to_send.retain(|(head, _)| head.id != id);

        let was_sent = before == self.to_send.len();
        if was_sent {
            self.to_send.push_back((
                RequestHead {
                    id,
                    ..RequestHead::default()
                },
                Bytes::new(),
            ));
        }

        was_sent
    }

    pub(super) fn answered(&mut self, head: &ResponseHead, part: Bytes, bytes_max: usize) {
        let Some(waiting) = self.waiting.get_mut(&head.id) else {
            return;
        };

        let answer = if let Some(kind) = head.error_kind() {
            Err(CallError::new(kind, String::from_utf8_lossy(&part)))
        } else {
            let bytes = part.len() + PART_OVERHEAD_BYTES;
            waiting.bytes += bytes;
            waiting.parts.push(part);
            self.part_bytes += bytes;

            if waiting.bytes > bytes_max {
                Err(CallError::new(
                    ErrorKind::TooLarge,
                    format!("answer is over {bytes_max} bytes"),
                ))
            } else if self.part_bytes > bytes_max {
                let what = format!("answers of the peer are over {bytes_max} bytes together");
                Err(CallError::new(ErrorKind::Limited, what))
            } else if head.more {
                return;
            } else {
                Ok(waiting.whole())
            }
        };

        let is_broken_off = answer.is_err() && head.more;
        if let Some(waiting) = self.remove(head.id) {
            // The caller may have gone at this moment.
            let _ = waiting.reply.send(answer);
        }

        if is_broken_off {
            self.to_send.push_back((
                RequestHead {
                    id: head.id,
                    ..RequestHead::default()
                },
                Bytes::new(),
            ));
        }
    }
}

impl Pending {
    fn remove(&mut self, id: u64) -> Option<Waiting> {
        let waiting = self.waiting.remove(&id)?;
        self.part_bytes = self.part_bytes.saturating_sub(waiting.bytes);
        Some(waiting)
    }
}

impl Waiting {
    fn whole(&mut self) -> Bytes {
        if self.parts.len() == 1 {
            return self.parts.swap_remove(0);
        }

        let mut whole = BytesMut::with_capacity(self.bytes);
        self.parts
            .iter()
            .for_each(|part| whole.extend_from_slice(part));

        whole.freeze()
    }
}
