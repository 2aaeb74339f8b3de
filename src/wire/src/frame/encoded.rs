//! Frames as byte segments, ready for a vectored write.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

use super::{FRAME_HEADER_BYTES, FrameKind};

/// A frame as one head segment and the carried segments, in order.
#[derive(Debug, Clone)]
pub struct EncodedFrame {
    segments: Vec<Bytes>,
    len: usize,
}

impl EncodedFrame {
    pub(super) fn of_message(kind: FrameKind, message: &impl Message) -> Self {
        let mut head = start(message.encoded_len());
        message.encode_raw(&mut head);
        Self::finish(kind, head, Vec::new())
    }

    pub(super) fn of_carrier(
        kind: FrameKind,
        message: &impl Message,
        carried: impl IntoIterator<Item = Bytes>,
    ) -> Self {
        let message_bytes =
            u16::try_from(message.encoded_len()).expect("BUG: carrier messages are a few fields");
        let mut head = start(2 + usize::from(message_bytes));

        head.put_u16_le(message_bytes);
        message.encode_raw(&mut head);
        Self::finish(
            kind,
            head,
            carried
                .into_iter()
                .filter(|segment| !segment.is_empty())
                .collect(),
        )
    }

    fn finish(kind: FrameKind, mut head: BytesMut, carried: Vec<Bytes>) -> Self {
        head[8] = kind as u8;
        let carried_bytes: usize = carried.iter().map(Bytes::len).sum();
        let len = head.len() + carried_bytes;
        assert!(
            len - FRAME_HEADER_BYTES <= kind.body_bytes_max(),
            "BUG: {kind:?} frame was not split by its sender"
        );

        let crc = carried
            .iter()
            .fold(crc32c::crc32c(&head[8..]), |crc, bytes| {
                crc32c::crc32c_append(crc, bytes)
            });

        head[0..4].copy_from_slice(&((len - 8) as u32).to_le_bytes());
        head[4..8].copy_from_slice(&crc.to_le_bytes());
        let mut segments = Vec::with_capacity(1 + carried.len());

        segments.push(head.freeze());
        segments.extend(carried);
        Self { segments, len }
    }

    /// Bytes on the wire.
    #[allow(clippy::len_without_is_empty)] // a frame is never empty
    pub fn len(&self) -> usize {
        self.len
    }

    /// The segments in the order they are sent.
    pub fn into_segments(self) -> Vec<Bytes> {
        self.segments
    }

    /// Appends a copy of the whole frame to `out`.
    pub fn write_to(&self, out: &mut BytesMut) {
        out.reserve(self.len);
        for segment in &self.segments {
            out.extend_from_slice(segment);
        }
    }
}

fn start(body_bytes: usize) -> BytesMut {
    let mut head = BytesMut::with_capacity(FRAME_HEADER_BYTES + body_bytes);
    head.resize(FRAME_HEADER_BYTES, 0);
    head
}
