//! The one file that calls actix's send functions.
//!
//! Every message reaches an actor as a [`Delivery`] through a [`Port`](trireme_mailbox::Port), whose permit bounds
//! the queue; `do_send` itself has no bound.

use std::sync::Arc;

use actix::{Actor, Addr, Context, Handler, Message};
use trireme_mailbox::{Call, Deliver, Envelope};

/// An envelope as an actix message.
pub struct Delivery<M: Call>(pub Envelope<M>);

impl<M: Call> Message for Delivery<M> {
    type Result = ();
}

/// Puts an actor behind a port.
#[allow(clippy::disallowed_methods)] // the one place: the port's permit bounds what do_send does not
pub fn behind<A, M>(addr: Addr<A>) -> Arc<dyn Deliver<M>>
where
    A: Actor<Context = Context<A>> + Handler<Delivery<M>>,
    M: Call,
{
    Arc::new(move |envelope: Envelope<M>| {
        if !addr.connected() {
            return Err(envelope);
        }
        addr.do_send(Delivery(envelope));
        Ok(())
    })
}

/// Makes an actor panic, to show that the node recovers. Reaches an actor only where the settings allow it.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Crash;

/// A closure that crashes the actor behind `addr`.
#[allow(clippy::disallowed_methods)] // an operator's single message
pub fn crasher<A>(addr: Addr<A>) -> Box<dyn Fn() + Send>
where
    A: Actor<Context = Context<A>> + Handler<Crash>,
{
    Box::new(move || addr.do_send(Crash))
}

/// Implements the crash handler of an actor.
macro_rules! crashes {
    ($actor:ty) => {
        impl actix::Handler<$crate::delivery::Crash> for $actor {
            type Result = ();

            fn handle(&mut self, _: $crate::delivery::Crash, _: &mut Self::Context) {
                panic!("crash asked for by an operator");
            }
        }
    };
}
pub(crate) use crashes;
