//! Reading a block again, at a pace.

use trireme_base::pool::PoolError;
use trireme_block::Reread;

use super::ScrubberParts;
use super::error::ScrubError;
use super::pace::Pace;

/// Reads a block to its end and answers its bytes. An error that is damage is one of the block.
pub(super) async fn read_through(
    parts: &ScrubberParts,
    mut reread: Reread,
    pace: &mut Pace,
) -> Result<u64, ScrubError> {
    let mut bytes = 0;
    loop {
        pace.keep().await;
        let (again, read) = on_pool(parts, move || {
            let read = reread.step();
            (reread, read)
        })
        .await?;
        reread = again;
        let Some(read) = read? else { return Ok(bytes) };
        pace.paid(read);
        bytes += read as u64;
    }
}

/// Runs something that reads or writes files.
pub(super) async fn on_pool<T: Send + 'static>(
    parts: &ScrubberParts,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, PoolError> {
    parts.pool.call(work).await
}
