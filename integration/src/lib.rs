//! Cluster tests against real daemons and real peers.
//!
//! The library starts replica groups of real `trireme run` processes ([`Group`]), and the real programs that send to
//! them or judge what they wrote ([`peers`]). It shares no code with the daemon on purpose: requests are encoded and
//! answers are decoded by its own few lines, so that a mistake in the daemon's codecs cannot hide here.
//!
//! Every test ends with [`Group::stop`], which stops the nodes by SIGTERM and demands a clean exit of each. A test
//! that ends earlier has failed, and the end of every node's log is printed.

mod askers;
mod binary;
mod bucket;
mod client;
mod demo;
mod faults;
mod group;
mod history;
mod image;
mod load;
mod matrix;
mod network;
mod node;
pub mod peers;
mod ports;
mod protocol;
mod samples;
mod senders;
mod verdict;
mod wait;

pub use askers::{Asker, HEAVY_QUERY, costly_selector};
pub use binary::trireme;
pub use bucket::{BlockCopy, blocks_in, read_block};
pub use client::{Answer, Client};
pub use demo::{SCRAPE_INTERVAL_MS, demo_series, requests_of};
pub use faults::Faults;
pub use group::{Group, GroupBuilder};
pub use history::{Audit, History, Outcome, Request};
pub use image::DiskImage;
pub use load::{Load, Sent};
pub use matrix::Matrix;
pub use network::Network;
pub use node::Node;
pub use ports::{free_port, free_port_range};
pub use protocol::{
    Series, empty_histograms_body, read_request, read_response, write_body, write_request,
};
pub use samples::{SampleSet, Value, first_differences};
pub use senders::{Plan, Route, Senders, Totals};
pub use verdict::{crash_rounds, left_out, rounds, seconds};
pub use wait::{now_ms, until, until_for};
