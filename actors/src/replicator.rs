//! `Replicator`: one peer.
//!
//! A shell around [`run_link`]: it owns the peer's link and whatever connection the mesh hands over. When it dies, link and
//! connection die with it; its successor starts from the store's positions and a fresh connection. It ends when
//! the peer leaves the ring.
//!
//! A peer of another group has one as well. Its connection carries calls and heartbeats, and no records.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, WrapFuture};
use slog::{Logger, info, warn};
use trireme_base::{Clock, ErrorKind};
use trireme_mailbox::Port;
use trireme_replication::{LinkConfig, PeerIdentity, PeerLink};
use trireme_transport::{
    CallHandler, Calls, Hub, LinkEnd, LinkParts, PeerSlot, ReplicaStore, run_link,
};

use crate::canary::Canary;
use crate::delivery::{crasher, crashes};
use crate::front::{MemberHealth, PeerHealth};
use crate::supervisor::{Start, Started};

/// What a replicator works with; all of it outlives the actor.
#[derive(Clone)]
pub struct ReplicatorParts {
    /// This node.
    pub me: PeerIdentity,
    /// Where the mesh puts connections to the peer.
    pub slot: Arc<PeerSlot>,
    /// The own log; for a peer of another group a [`trireme_write::NeighbourStore`].
    pub store: Arc<dyn ReplicaStore>,
    /// News of the own log, and the view of the peer's group.
    pub hub: Arc<Hub>,
    /// Calls to the peer.
    pub calls: Arc<Calls>,
    /// Answers the peer's calls.
    pub handler: Arc<dyn CallHandler>,
    /// Times and bounds.
    pub config: LinkConfig,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The front hears of the health of a peer of the own group.
    pub front: Option<Port<PeerHealth>>,
    /// Logger with the peer's name.
    pub log: Logger,
}

/// The actor.
pub struct Replicator {
    parts: ReplicatorParts,
    _canary: Canary,
}

impl Replicator {
    /// How the supervisor starts it.
    pub fn starter(parts: ReplicatorParts) -> Start {
        Box::new(move |canary| {
            let addr = Self {
                parts: parts.clone(),
                _canary: canary,
            }
            .start();
            Box::pin(async move {
                Ok(Started {
                    crash: crasher(addr),
                })
            })
        })
    }
}

crashes!(Replicator);

impl Actor for Replicator {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let parts = self.parts.clone();
        let life = async move {
            tokio::select! {
                () = sessions(parts.clone()) => {}
                () = parts.slot.closed() => info!(parts.log, "peer is not in the ring any more"),
            }
        };

        ctx.spawn(life.into_actor(self).map(|(), _, ctx| ctx.stop()));
        let every = self.parts.config.heartbeat_every;
        ctx.run_interval(every, |actor, _| actor.report_health());
    }
}

impl Replicator {
    fn report_health(&self) {
        let Some(front) = &self.parts.front else {
            return;
        };

        let peer = self.parts.slot.node().clone();
        let health = {
            let group = self.parts.hub.group().lock();
            let view = group.peers().find(|(node, _)| **node == peer);
            view.filter(|(_, view)| view.connected)
                .map(|(_, view)| view.health)
        };

        let health = health.map(|h| MemberHealth {
            ready: h.ready,
            writes_waiting: h.writes_waiting,
            fsync: Duration::from_micros(h.fsync_us),
        });

        // A front that is being restarted hears of it with the next heartbeat.
        let _ = front.tell(PeerHealth { peer, health });
    }
}

/// One session after the other, for as long as the actor lives.
async fn sessions(parts: ReplicatorParts) {
    let mut link = PeerLink::new(
        parts.me.clone(),
        parts.slot.node().clone(),
        parts.config.clone(),
    );

    let link_parts = LinkParts {
        slot: Arc::clone(&parts.slot),
        store: Arc::clone(&parts.store),
        hub: Arc::clone(&parts.hub),
        calls: Arc::clone(&parts.calls),
        handler: Arc::clone(&parts.handler),
        clock: Arc::clone(&parts.clock),
        log: parts.log.clone(),
    };

    loop {
        let connection = parts.slot.next().await;

        let end = run_link(&mut link, &link_parts, connection).await;
        match &end {
            LinkEnd::Superseded => info!(parts.log, "peer connected again"),
            _ if end.kind() == ErrorKind::Unavailable => {
                info!(parts.log, "peer is gone"; "reason" => %end)
            }
            _ => warn!(parts.log, "session with peer ended"; "reason" => %end),
        }

        if let LinkEnd::Store(_) = end {
            // Nothing to gain from connecting again at once.
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
    }
}
