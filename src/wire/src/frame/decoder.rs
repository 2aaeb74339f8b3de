//! From a byte stream to frames, without I/O.

use bytes::{Buf, Bytes, BytesMut};
use prost::Message;

use super::message::RecordsHead;
use super::{FRAME_HEADER_BYTES, Frame, FrameError, FrameKind, Records};

/// Cuts frames off the front of a read buffer.
#[derive(Debug, Clone, Default)]
pub struct Decoder {
    handshake_only: bool,
}

impl Decoder {
    /// A decoder that refuses everything but handshake frames, so that a stranger cannot make us allocate.
    pub fn for_handshake() -> Self {
        Self {
            handshake_only: true,
        }
    }

    /// Splits the next frame off `input`; `None` when more bytes are needed, for which room is then reserved.
    ///
    /// Sizes are checked before anything is allocated. After an error the connection is of no further use.
    /// Carried bytes of the frame are slices of `input`'s memory.
    #[allow(clippy::should_implement_trait)] // not an iterator: it takes the input
    pub fn next(&self, input: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        if input.len() < FRAME_HEADER_BYTES {
            return Ok(None);
        }

        let (kind, body_bytes) = self.head(input)?;

        let total = FRAME_HEADER_BYTES + body_bytes;
        if input.len() < total {
            input.reserve(total - input.len());
            return Ok(None);
        }

        let want = u32::from_le_bytes([input[4], input[5], input[6], input[7]]);
        let mut bytes = input.split_to(total).freeze();
        let got = crc32c::crc32c(&bytes[8..]);
        if got != want {
            return Err(FrameError::Checksum { kind, got, want });
        }

        bytes.advance(FRAME_HEADER_BYTES);
        body(kind, bytes).map(Some)
    }

    /// Kind and size of the frame at the front, whose head is there.
    fn head(&self, input: &[u8]) -> Result<(FrameKind, usize), FrameError> {
        let length = u32::from_le_bytes([input[0], input[1], input[2], input[3]]) as usize;
        let body_bytes = length.checked_sub(1).ok_or(FrameError::Empty)?;
        let kind = FrameKind::from_byte(input[8]).ok_or(FrameError::Kind(input[8]))?;

        let max_bytes = kind.body_bytes_max();
        if body_bytes > max_bytes {
            return Err(FrameError::TooLarge {
                kind,
                body_bytes,
                max_bytes,
            });
        }

        if self.handshake_only && !kind.in_handshake() {
            return Err(FrameError::TooEarly(kind));
        }

        Ok((kind, body_bytes))
    }
}

fn body(kind: FrameKind, bytes: Bytes) -> Result<Frame, FrameError> {
    Ok(match kind {
        FrameKind::Hello => Frame::Hello(message(kind, bytes)?),
        FrameKind::Welcome => Frame::Welcome(message(kind, bytes)?),
        FrameKind::Refuse => Frame::Refuse(message(kind, bytes)?),
        FrameKind::Heartbeat => Frame::Heartbeat(message(kind, bytes)?),
        FrameKind::Subscribe => Frame::Subscribe(message(kind, bytes)?),
        FrameKind::Unsubscribe => Frame::Unsubscribe(message(kind, bytes)?),
        FrameKind::Ack => Frame::Ack(message(kind, bytes)?),
        FrameKind::Credit => Frame::Credit(message(kind, bytes)?),
        FrameKind::StreamEnded => Frame::StreamEnded(message(kind, bytes)?),
        FrameKind::Records => {
            let (head, carried) = carrier::<RecordsHead>(kind, bytes)?;
            Frame::Records(Records::read(head.subscription, carried)?)
        }
        FrameKind::Request => {
            let (head, carried) = carrier(kind, bytes)?;
            Frame::Request(head, carried)
        }
        FrameKind::Response => {
            let (head, carried) = carrier(kind, bytes)?;
            Frame::Response(head, carried)
        }
    })
}

fn message<M: Message + Default>(kind: FrameKind, bytes: Bytes) -> Result<M, FrameError> {
    M::decode(bytes).map_err(|_| FrameError::Body(kind))
}

fn carrier<M: Message + Default>(
    kind: FrameKind,
    mut bytes: Bytes,
) -> Result<(M, Bytes), FrameError> {
    if bytes.len() < 2 {
        return Err(FrameError::Body(kind));
    }

    let head_bytes = usize::from(bytes.get_u16_le());
    if bytes.len() < head_bytes {
        return Err(FrameError::Body(kind));
    }

    let head = message(kind, bytes.split_to(head_bytes))?;
    Ok((head, bytes))
}

#[cfg(test)]
mod tests;
