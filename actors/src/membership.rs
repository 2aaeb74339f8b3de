//! `Membership`: the ring this node knows.

use std::sync::Arc;

use actix::{Actor, Context, Handler};
use trireme_mailbox::{Call, Port};
use trireme_ring::Ring;

use crate::canary::Canary;
use crate::delivery::{Delivery, behind, crasher, crashes};
use crate::supervisor::{Start, Started};

/// Asks for the current ring.
pub struct GetRing;

impl Call for GetRing {
    type Reply = Arc<Ring>;
}

/// Holds the ring. It comes from the settings and does not change while the process runs.
pub struct Membership {
    ring: Arc<Ring>,
    _canary: Canary,
}

impl Membership {
    /// How the supervisor starts it.
    pub fn starter(ring: Arc<Ring>, port: Port<GetRing>) -> Start {
        Box::new(move |canary| {
            let addr = Self { ring: Arc::clone(&ring), _canary: canary }.start();
            port.target(behind(addr.clone()));
            Box::pin(async move { Ok(Started { crash: crasher(addr) }) })
        })
    }
}

impl Actor for Membership {
    type Context = Context<Self>;
}

crashes!(Membership);

impl Handler<Delivery<GetRing>> for Membership {
    type Result = ();

    fn handle(&mut self, Delivery(envelope): Delivery<GetRing>, _: &mut Context<Self>) {
        let (GetRing, work) = envelope.open();
        work.done(Arc::clone(&self.ring));
    }
}
