//! Connections that others make.

use std::net::IpAddr;

use futures::future::Abortable;
use futures::stream::{FuturesUnordered, StreamExt};
use slog::{info, warn};
use tokio::net::{TcpListener, TcpStream};
use trireme_base::{Backoff, NodeName};

use super::Mesh;
use super::door::Door;
use crate::TransportError;

impl Mesh {
    /// Accepts for as long as it is polled. Whoever comes is let through the door at once, where strangers give way to
    /// those who come later, so that they cannot keep a member out by being many or slow.
    pub(super) async fn listen(&self, listener: TcpListener) {
        let mut shaking = FuturesUnordered::new();
        let mut door = Door::new(
            self.config.handshakes_max,
            self.config.handshakes_per_source_max,
        );
        let process = self.local.read().lineage.process;
        let mut backoff = Backoff::new(self.config.backoff_min, self.config.backoff_max, process);

        loop {
            tokio::select! {
                // First, so that those who gave way are gone before the next one comes.
                biased;
                Some(number) = shaking.next() => door.left(number),
                accepted = listener.accept() => match accepted {
                    Ok((stream, from)) => {
                        backoff.reset();
                        let (number, registration) = door.enters(from.ip());
                        let welcome = Abortable::new(self.welcome(stream, from.ip()), registration);
                        shaking.push(async move {
                            // Given way or not, it is over.
                            let _ = welcome.await;
                            number
                        });
                    }
                    // Too many open files, for example: it passes, but not at once.
                    Err(error) => {
                        warn!(self.log, "cannot accept a peer's connection"; "err" => %error);
                        tokio::time::sleep(backoff.next_wait()).await;
                    }
                },
            }
        }
    }

    async fn welcome(&self, stream: TcpStream, from: IpAddr) {
        match self.accept(stream).await {
            Ok((connection, _)) => {
                let peer = connection.peer.clone();
                if let Some(slot) = self.slot(&peer.node) {
                    info!(self.log, "peer connected"; "peer" => %peer.node, "address" => %from);
                    slot.set_problem(None);
                    self.witnesses.forget_all();
                    slot.put(connection);
                }
            }
            Err(TransportError::Closed | TransportError::Io(_)) => {}
            Err(error) => self.complain(&error, from),
        }
    }

    /// Says why a connection was not taken: to whoever looks at the peer, and now and then in the log.
    fn complain(&self, error: &TransportError, from: IpAddr) {
        if let TransportError::Refused { node, .. } = error
            && let Some(slot) = self.slot(&NodeName::new(node))
            && !slot.set_problem(Some(error.to_string()))
        {
            return;
        }
        if let Some(untold) = self.complaints.may_tell(self.clock.monotonic()) {
            warn!(self.log, "connection not taken"; "address" => %from, "err" => %error, "untold" => untold);
        }
    }
}
