//! Replica groups, placement, quorum arithmetic.
