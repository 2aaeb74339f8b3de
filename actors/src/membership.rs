//! `Membership`: the ring this node goes by.

use std::sync::Arc;

use actix::{Actor, Context, Handler};
use trireme_consensus::RingBook;
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

/// Answers with the newest ring of the book.
pub struct Membership {
    book: Arc<RingBook>,
    _canary: Canary,
}

impl Membership {
    /// How the supervisor starts it.
    pub fn starter(book: Arc<RingBook>, port: Port<GetRing>) -> Start {
        Box::new(move |canary| {
            let addr = Self {
                book: Arc::clone(&book),
                _canary: canary,
            }
            .start();
            port.target(behind(addr.clone()));
            Box::pin(async move {
                Ok(Started {
                    crash: crasher(addr),
                })
            })
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
        work.done(self.book.current());
    }
}
