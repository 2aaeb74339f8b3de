//! Builds every part in order, owns the stop list.
