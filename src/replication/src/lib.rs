//! Origin-log protocol as a pure state machine.
