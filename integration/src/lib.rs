//! Cluster tests against real daemons and real peers.
