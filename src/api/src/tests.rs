//! The paths over fake backends: what reaches a backend, and what comes back.

pub(crate) mod fakes;
mod following;
mod otlp;
mod pages;
mod queries;
mod remote_read;
mod writes;
