//! `Port<M>`: bounded, metered, framework-free sending to an actor.
