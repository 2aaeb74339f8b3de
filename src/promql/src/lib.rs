//! PromQL parser and engine over a `Select` trait.
