//! Frames that wait to be written, in two lanes.

use std::collections::VecDeque;

use trireme_wire::frame::Frame;

/// The link's frames must keep their order and are bounded by the link's send budget; frames of calls may be large and
/// take turns with them.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    link: VecDeque<Frame>,
    calls: VecDeque<Frame>,
    call_bytes: usize,
    calls_turn: bool,
}

impl Lanes {
    pub(super) fn push_link(&mut self, frame: Frame) {
        self.link.push_back(frame);
    }

    pub(super) fn push_call(&mut self, frame: Frame) {
        self.call_bytes += call_bytes(&frame);
        self.calls.push_back(frame);
    }

    pub(super) fn link_frames(&self) -> usize {
        self.link.len()
    }

    pub(super) fn call_bytes(&self) -> usize {
        self.call_bytes
    }

    /// The next frame to write.
    pub(super) fn pop(&mut self) -> Option<Frame> {
        self.calls_turn = !self.calls_turn;
        if (self.calls_turn || self.link.is_empty())
            && let Some(frame) = self.calls.pop_front()
        {
            self.call_bytes -= call_bytes(&frame);
            return Some(frame);
        }

        self.link.pop_front()
    }
}

fn call_bytes(frame: &Frame) -> usize {
    match frame {
        // What is around the body, roughly, so that empty ones count too.
        Frame::Request(_, body) | Frame::Response(_, body) => body.len() + 64,
        _ => 64,
    }
}
