//! Payloads of the other record kinds: window markers and released references.

use super::EntryError;
use super::varint::{Cursor, put};
use crate::record::{RecordDraft, RecordKind};

/// A WindowClosed record for window number `k`.
pub fn write_marker(shard: u16, k: i64) -> RecordDraft {
    let mut draft = RecordDraft::new(shard, RecordKind::WindowClosed);
    draft.payload_mut().extend_from_slice(&k.to_le_bytes());
    draft
}

/// The window number of a WindowClosed payload.
pub fn read_marker(payload: &[u8]) -> Result<i64, EntryError> {
    let bytes: [u8; 8] = payload
        .try_into()
        .map_err(|_| EntryError::Truncated(payload.len()))?;
    Ok(i64::from_le_bytes(bytes))
}

/// A Release record; `references` must ascend.
pub fn write_release(shard: u16, references: &[u32]) -> RecordDraft {
    let mut draft = RecordDraft::new(shard, RecordKind::Release);
    let buf = draft.payload_mut();

    let mut last = 0u32;
    for reference in references {
        debug_assert!(*reference >= last, "BUG: references must ascend");
        put(buf, u64::from(reference.wrapping_sub(last)));
        last = *reference;
    }

    draft
}

/// The references of a Release payload, ascending.
pub fn read_release(payload: &[u8]) -> impl Iterator<Item = Result<u32, EntryError>> {
    let mut cursor = Cursor::new(payload);
    let mut last = Some(0u32);
    std::iter::from_fn(move || {
        let before = last?;
        if cursor.is_empty() {
            return None;
        }
        let step = cursor.varint_u32();
        let item = step.and_then(|s| before.checked_add(s).ok_or(EntryError::Range(cursor.at)));
        last = item.ok();
        Some(item)
    })
}
