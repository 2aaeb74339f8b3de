//! Free ports that stay ours for the life of the test process.
//!
//! Ports come from below the range the kernel hands to outgoing connections, so that a node that was killed finds its
//! port free again. A lock file a port keeps test processes that run at the same time apart.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::sync::Mutex;

use anyhow::{Context, bail};

const FIRST: u16 = 20_000;
const END: u16 = 32_000;

struct Held {
    next: u16,
    locks: Vec<File>,
}

static HELD: Mutex<Held> = Mutex::new(Held {
    next: 0,
    locks: Vec::new(),
});

/// A port on 127.0.0.1 that nobody listens on.
pub fn free_port() -> anyhow::Result<u16> {
    free_port_range(1, &[0])
}

/// A base port such that `base + offset + i` is free for every offset and every `i` in `0..width`.
pub fn free_port_range(width: u16, offsets: &[u16]) -> anyhow::Result<u16> {
    let mut held = HELD
        .lock()
        .map_err(|_| anyhow::anyhow!("a test panicked while it looked for a port"))?;

    if held.next == 0 {
        // Processes start at different places, so that they rarely meet.
        held.next = FIRST + (std::process::id() % u32::from(END - FIRST)) as u16;
    }

    let span = offsets.iter().max().copied().unwrap_or(0) + width;
    for _ in 0..u32::from(END - FIRST) {
        let base = held.next;
        held.next = if base + span + 1 >= END {
            FIRST
        } else {
            base + width
        };

        let wanted = offsets
            .iter()
            .flat_map(|offset| (0..width).map(move |i| base + offset + i));
        let locks: Option<Vec<File>> = wanted.map(take).collect();
        if let Some(locks) = locks {
            held.locks.extend(locks);
            return Ok(base);
        }
    }

    bail!("no {span} free ports between {FIRST} and {END}")
}

/// The lock of a free port, or nothing if somebody has it.
fn take(port: u16) -> Option<File> {
    let dir = std::env::temp_dir().join("trireme-test-ports");
    std::fs::create_dir_all(&dir)
        .context("lock directory")
        .ok()?;

    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(dir.join(port.to_string()))
        .ok()?;

    lock.try_lock().ok()?;
    TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port))).ok()?;
    Some(lock)
}
