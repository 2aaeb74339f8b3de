//! Frames on a byte stream.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use trireme_wire::frame::{Decoder, Frame};

use crate::TransportError;

/// Bytes asked for in one read. Decoded records keep their read buffer alive, so it is not much larger than a frame.
const READ_BYTES: usize = 256 << 10;
/// Segments in one vectored write; the usual limit of the system is 1024.
const SEGMENTS_MAX: usize = 64;

/// Reads frames; what they carry are slices of the read buffer.
#[derive(Debug)]
pub struct FrameReader<R> {
    stream: R,
    decoder: Decoder,
    input: BytesMut,
    received_bytes: u64,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// A reader that takes nothing but handshake frames until [`FrameReader::handshake_done`].
    pub fn new(stream: R) -> Self {
        Self {
            stream,
            decoder: Decoder::for_handshake(),
            input: BytesMut::new(),
            received_bytes: 0,
        }
    }

    /// From now on all frames are taken.
    pub fn handshake_done(&mut self) {
        self.decoder = Decoder::default();
    }

    /// Bytes that have come so far, whole frames or not.
    pub fn received_bytes(&self) -> u64 {
        self.received_bytes
    }

    /// The next frame. Cancel safe: what was read stays in the buffer.
    pub async fn next(&mut self) -> Result<Frame, TransportError> {
        loop {
            if let Some(frame) = self.decoder.next(&mut self.input)? {
                return Ok(frame);
            }
            // The decoder has reserved room for the rest of a frame it has seen the head of.
            if self.input.capacity() - self.input.len() < READ_BYTES / 4 {
                self.input.reserve(READ_BYTES);
            }
            let read = self.stream.read_buf(&mut self.input).await?;
            if read == 0 {
                return Err(TransportError::Closed);
            }
            self.received_bytes += read as u64;
        }
    }
}

/// Writes frames; what they carry is not copied.
#[derive(Debug)]
pub struct FrameWriter<W> {
    stream: W,
    segments: VecDeque<Bytes>,
    queued_bytes: usize,
}

impl<W: AsyncWrite + Unpin> FrameWriter<W> {
    /// A writer with nothing to write.
    pub fn new(stream: W) -> Self {
        Self {
            stream,
            segments: VecDeque::new(),
            queued_bytes: 0,
        }
    }

    /// Puts a frame behind what is to be written. The caller bounds how much that is.
    pub fn queue(&mut self, frame: &Frame) {
        let encoded = frame.encode();
        self.queued_bytes += encoded.len();
        self.segments.extend(encoded.into_segments());
    }

    /// Bytes that are not written yet.
    pub fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Writes as much as the stream takes at once. Cancel safe.
    pub async fn write_some(&mut self) -> io::Result<()> {
        if self.segments.is_empty() {
            return Ok(());
        }

        let mut slices = [IoSlice::new(&[]); SEGMENTS_MAX];
        let count = self.segments.len().min(SEGMENTS_MAX);

        for (slice, segment) in slices.iter_mut().zip(&self.segments) {
            *slice = IoSlice::new(segment);
        }

        let written = self.stream.write_vectored(&slices[..count]).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }

        self.written(written);
        Ok(())
    }

    /// Writes all that is queued.
    pub async fn flush(&mut self) -> io::Result<()> {
        while self.queued_bytes > 0 {
            self.write_some().await?;
        }
        self.stream.flush().await
    }

    fn written(&mut self, mut bytes: usize) {
        self.queued_bytes -= bytes;
        while bytes > 0 {
            let segment = self
                .segments
                .front_mut()
                .expect("BUG: more written than was queued");
            let part = bytes.min(segment.len());
            segment.advance(part);
            bytes -= part;
            if segment.is_empty() {
                self.segments.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests;
