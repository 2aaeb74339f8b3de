//! A protobuf reader over a slice: no allocation, no panic, absolute offsets in errors.

use crate::prompb::DecodeError;

/// Deepest nesting of unknown groups that is skipped; the same bound as prost has.
const GROUP_DEPTH_MAX: u32 = 100;

pub(crate) const VARINT: u8 = 0;
pub(crate) const FIXED64: u8 = 1;
pub(crate) const BYTES: u8 = 2;
const GROUP_START: u8 = 3;
const GROUP_END: u8 = 4;
const FIXED32: u8 = 5;

/// Reads one message; `at..end` of `bytes` is what is left of it.
#[derive(Clone, Copy)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            end: bytes.len(),
        }
    }

    /// Reads a part of a larger message again.
    pub(crate) fn over(bytes: &'a [u8], range: std::ops::Range<usize>) -> Self {
        debug_assert!(range.end <= bytes.len());
        Self {
            bytes,
            at: range.start,
            end: range.end,
        }
    }

    #[inline]
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    #[inline]
    pub(crate) fn is_done(&self) -> bool {
        self.at >= self.end
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..self.end]
    }

    /// The whole buffer that offsets count in.
    pub(crate) fn buffer(&self) -> &'a [u8] {
        self.bytes
    }

    /// Offsets of what is left.
    pub(crate) fn range(&self) -> std::ops::Range<usize> {
        self.at..self.end
    }

    #[cold]
    pub(crate) fn error(&self, what: &'static str) -> DecodeError {
        DecodeError::Malformed { at: self.at, what }
    }

    /// Next field's number and wire type, or `None` at the end.
    #[inline]
    pub(crate) fn field(&mut self) -> Result<Option<(u32, u8)>, DecodeError> {
        if self.at >= self.end {
            return Ok(None);
        }

        let byte = self.bytes[self.at];
        let key = if byte < 0x80 {
            self.at += 1;
            u32::from(byte)
        } else {
            u32::try_from(self.varint()?).map_err(|_| self.error("field key is out of range"))?
        };

        let number = key >> 3;
        let wire = (key & 7) as u8;
        if number == 0 || wire > FIXED32 {
            return Err(self.error("field number or wire type is invalid"));
        }

        Ok(Some((number, wire)))
    }

    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0u64;
        for i in 0..10 {
            if self.at >= self.end {
                return Err(self.error("the message ends inside a number"));
            }
            let byte = self.bytes[self.at];
            self.at += 1;
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                if i == 9 && byte > 1 {
                    break;
                }
                return Ok(value);
            }
        }

        Err(self.error("a number is longer than 64 bits"))
    }

    #[inline]
    pub(crate) fn fixed64(&mut self) -> Result<u64, DecodeError> {
        let bytes = self.bytes[self.at..self.end].first_chunk::<8>();
        let value = u64::from_le_bytes(
            *bytes.ok_or_else(|| self.error("the message ends inside a fixed number"))?,
        );
        self.at += 8;
        Ok(value)
    }

    /// A length-delimited field as a cursor of its own.
    #[inline]
    pub(crate) fn message(&mut self) -> Result<Cursor<'a>, DecodeError> {
        let len = self.varint()?;
        if len > (self.end - self.at) as u64 {
            return Err(self.error("a field reaches past the end of its message"));
        }

        let start = self.at;
        self.at += len as usize;
        Ok(Cursor {
            bytes: self.bytes,
            at: start,
            end: self.at,
        })
    }

    /// Checks the wire type of a known field.
    #[inline]
    pub(crate) fn expect(&self, wire: u8, want: u8) -> Result<(), DecodeError> {
        if wire == want {
            Ok(())
        } else {
            Err(self.error("a known field has another wire type"))
        }
    }

    #[inline]
    pub(crate) fn typed_message(&mut self, wire: u8) -> Result<Cursor<'a>, DecodeError> {
        self.expect(wire, BYTES)?;
        self.message()
    }

    #[inline]
    pub(crate) fn typed_varint(&mut self, wire: u8) -> Result<u64, DecodeError> {
        self.expect(wire, VARINT)?;
        self.varint()
    }

    #[inline]
    pub(crate) fn typed_double(&mut self, wire: u8) -> Result<f64, DecodeError> {
        self.expect(wire, FIXED64)?;
        Ok(f64::from_bits(self.fixed64()?))
    }

    /// A repeated number: packed or one by one, `each` gets every value.
    pub(crate) fn repeated(
        &mut self,
        wire: u8,
        native: u8,
        mut each: impl FnMut(u64) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        if wire == native {
            return each(self.number(native)?);
        }

        let mut packed = self.typed_message(wire)?;
        while !packed.is_done() {
            each(packed.number(native)?)?;
        }

        Ok(())
    }

    #[inline]
    fn number(&mut self, native: u8) -> Result<u64, DecodeError> {
        if native == FIXED64 {
            self.fixed64()
        } else {
            self.varint()
        }
    }

    /// Skips a field nobody here knows.
    pub(crate) fn skip(&mut self, number: u32, wire: u8) -> Result<(), DecodeError> {
        self.skip_at(number, wire, 0)
    }

    fn skip_at(&mut self, number: u32, wire: u8, depth: u32) -> Result<(), DecodeError> {
        match wire {
            VARINT => self.varint().map(drop),
            FIXED64 => self.fixed64().map(drop),
            BYTES => self.message().map(drop),
            FIXED32 if self.end - self.at >= 4 => {
                self.at += 4;
                Ok(())
            }
            GROUP_START if depth < GROUP_DEPTH_MAX => loop {
                match self.field()? {
                    None => return Err(self.error("a group has no end")),
                    Some((n, GROUP_END)) if n == number => return Ok(()),
                    Some((_, GROUP_END)) => {
                        return Err(self.error("a group ends with another number"));
                    }
                    Some((n, w)) => self.skip_at(n, w, depth + 1)?,
                }
            },
            _ => Err(self.error("a field cannot be skipped")),
        }
    }
}

/// Undoes zig-zag coding.
#[inline]
pub(crate) fn zigzag(n: u64) -> i64 {
    ((n >> 1) as i64) ^ -((n & 1) as i64)
}

/// Undoes zig-zag coding of 32-bit fields, which look at the low half only.
#[inline]
pub(crate) fn zigzag32(n: u64) -> i32 {
    let n = n as u32;
    ((n >> 1) as i32) ^ -((n & 1) as i32)
}
