//! Start timestamps beside samples, in encodings 4, 5 and 6.
//!
//! A header byte says whether the first sample has one (bit 7) and which sample is the first whose start differs
//! from its predecessor's (bits 0-6, 0 for none). Starts are stored as distances to a sample's time: the first
//! to its own, all later ones to the time of the sample before.

use crate::ChunkError;
use crate::bits::{BitReader, BitWriter};
use crate::varbit::{put_int, read_int};

/// The header can point no further; a change is recorded here even when there is none.
const CHANGE_MAX: u16 = 0x7f;

/// What the next start timestamp is coded against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StartState {
    st: i64,
    distance: i64,
    change: u16,
    known: bool,
}

impl StartState {
    pub(crate) fn of_header(byte: u8) -> Self {
        Self {
            st: 0,
            distance: 0,
            change: u16::from(byte & 0x7f),
            known: byte & 0x80 != 0,
        }
    }

    /// The header byte for what was written so far.
    pub(crate) fn header(&self) -> u8 {
        u8::from(self.known) << 7 | self.change as u8
    }

    /// Writes the start of sample `index`, whose time is `t`; `before` is the time of the sample before it.
    pub(crate) fn put(&mut self, w: &mut BitWriter, index: u16, t: i64, before: i64, st: i64) {
        let distance = before.wrapping_sub(st);
        if index == 0 {
            self.known = st != 0;
            if self.known {
                w.varint(t.wrapping_sub(st));
            }
        } else if self.change > 0 {
            put_int(w, distance.wrapping_sub(self.distance));
            self.distance = distance;
        } else if st != self.st || index == CHANGE_MAX {
            self.change = index;
            put_int(w, distance);
            self.distance = distance;
        }

        self.st = st;
    }

    /// Reads the start of sample `index`; arguments as for [`StartState::put`].
    pub(crate) fn read(
        &mut self,
        r: &mut BitReader<'_>,
        index: u16,
        t: i64,
        before: i64,
    ) -> Result<i64, ChunkError> {
        if index == 0 {
            if self.known {
                self.st = t.wrapping_sub(r.varint()?);
            }
        } else if self.change > 0 && index >= self.change {
            let read = read_int(r)?;
            self.distance = if index == self.change {
                read
            } else {
                self.distance.wrapping_add(read)
            };
            self.st = before.wrapping_sub(self.distance);
        }
        Ok(self.st)
    }
}
