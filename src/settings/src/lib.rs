//! Typed settings on the `config` crate, validation with good messages.
