//! Variable-length integers and a checked cursor.

use super::EntryError;

#[inline]
pub(super) fn put(buf: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        buf.push(n as u8 | 0x80);
        n >>= 7;
    }
    buf.push(n as u8);
}

#[inline]
pub(super) fn put_signed(buf: &mut Vec<u8>, n: i64) {
    put(buf, zigzag(n));
}

#[inline]
pub(super) fn put_bytes(buf: &mut Vec<u8>, bytes: &[u8]) {
    put(buf, bytes.len() as u64);
    buf.extend_from_slice(bytes);
}

#[inline]
pub(super) fn zigzag(n: i64) -> u64 {
    ((n << 1) ^ (n >> 63)) as u64
}

#[inline]
pub(super) fn unzigzag(n: u64) -> i64 {
    ((n >> 1) as i64) ^ -((n & 1) as i64)
}

/// Reads from the front of a slice; every step is checked.
#[derive(Clone, Copy, Default)]
pub(super) struct Cursor<'a> {
    pub bytes: &'a [u8],
    pub at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    #[inline]
    pub fn u8(&mut self) -> Result<u8, EntryError> {
        let byte = *self
            .bytes
            .get(self.at)
            .ok_or(EntryError::Truncated(self.at))?;
        self.at += 1;
        Ok(byte)
    }

    #[inline]
    pub fn varint(&mut self) -> Result<u64, EntryError> {
        let first = self.u8()?;
        if first < 0x80 {
            return Ok(u64::from(first));
        }

        let mut n = u64::from(first & 0x7f);
        for shift in (7..64).step_by(7) {
            let byte = self.u8()?;
            if shift == 63 && byte > 1 {
                break;
            }
            n |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(n);
            }
        }

        Err(EntryError::Range(self.at))
    }

    #[inline]
    pub fn signed(&mut self) -> Result<i64, EntryError> {
        self.varint().map(unzigzag)
    }

    pub fn varint_u32(&mut self) -> Result<u32, EntryError> {
        u32::try_from(self.varint()?).map_err(|_| EntryError::Range(self.at))
    }

    /// A count of things that take at least one byte each, so it can be trusted for an allocation.
    pub fn count(&mut self) -> Result<usize, EntryError> {
        let n = self.varint()?;
        let left = self.bytes.len() - self.at;
        usize::try_from(n)
            .ok()
            .filter(|n| *n <= left)
            .ok_or(EntryError::Range(self.at))
    }

    pub fn take(&mut self, n: usize) -> Result<&'a [u8], EntryError> {
        let end = self
            .at
            .checked_add(n)
            .filter(|end| *end <= self.bytes.len());
        let end = end.ok_or(EntryError::Truncated(self.at))?;
        let slice = &self.bytes[self.at..end];

        self.at = end;
        Ok(slice)
    }

    pub fn bytes(&mut self) -> Result<&'a [u8], EntryError> {
        let n = self.count()?;
        self.take(n)
    }

    pub fn str(&mut self) -> Result<&'a str, EntryError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| EntryError::Utf8)
    }

    pub fn f64(&mut self) -> Result<f64, EntryError> {
        Ok(f64::from_bits(self.uint(8)?))
    }

    /// A little-endian number of `n` bytes, 0 to 8.
    #[inline]
    pub fn uint(&mut self, n: usize) -> Result<u64, EntryError> {
        debug_assert!(n <= 8);

        if let Some(eight) = self.bytes.get(self.at..self.at + 8) {
            // The common case: eight bytes can be loaded at once and the surplus masked off.
            let word = u64::from_le_bytes(eight.try_into().expect("eight bytes"));
            self.at += n;
            return Ok(if n == 8 {
                word
            } else {
                word & ((1 << (8 * n)) - 1)
            });
        }

        let mut word = [0u8; 8];
        word[..n].copy_from_slice(self.take(n)?);
        Ok(u64::from_le_bytes(word))
    }
}
