//! `[cluster]`: the replica group and its mesh.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::units::{ByteSize, Span};

/// `[cluster]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cluster {
    /// Nodes of clusters with other names are refused.
    pub name: String,
    /// Address and port of the TCP mesh.
    pub listen: String,
    /// Members of the replica group as `name=host:port`, this node included; empty means a group of one. Used for the
    /// first start only: after that the ring in the data directory counts.
    #[serde(with = "peer_list")]
    pub peers: Vec<Peer>,
    /// This node is not one of `peers` but is to join them: it waits until the ring has it (`trireme ring join`).
    pub join: bool,
    /// Copies of each sample; must equal the number of peers while there is one group.
    pub replication_factor: usize,
    /// How long a write waits for a quorum before it is answered 503.
    pub ack_timeout: Span,
    /// A peer that was silent for this long is taken as down.
    pub peer_timeout: Span,
    /// How often position vectors and health travel between peers.
    pub heartbeat_interval: Span,
    /// Log bytes in flight to one peer before it has to acknowledge.
    pub window_bytes: ByteSize,
    /// A clock that is further from the majority's is wrong.
    pub clock_offset_max: Span,
    /// Bytes a second at which a replica copies from a peer, while it is rebuilt or fetches a block that it lost; 0 means
    /// no bound.
    pub rebuild_rate: ByteSize,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            name: "trireme".into(),
            listen: "0.0.0.0:19391".into(),
            peers: Vec::new(),
            join: false,
            replication_factor: 3,
            ack_timeout: Span::from_secs(10),
            peer_timeout: Span::from_secs(3),
            heartbeat_interval: Span::from_millis(500),
            window_bytes: ByteSize(16 << 20),
            clock_offset_max: Span::from_secs(300),
            rebuild_rate: ByteSize(64 << 20),
        }
    }
}

/// One entry of `cluster.peers`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Node name.
    pub name: String,
    /// `host:port` of its TCP mesh listener.
    pub address: String,
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, address) =
            peer_parts(text).ok_or_else(|| format!("{text:?} is no peer; write name=host:port"))?;

        Ok(Self {
            name: name.to_owned(),
            address: address.to_owned(),
        })
    }
}

/// Name and address of `name=host:port`.
fn peer_parts(text: &str) -> Option<(&str, &str)> {
    let (name, address) = text.trim().split_once('=')?;
    let (host, port) = address.rsplit_once(':')?;
    let is_peer = !name.is_empty() && !host.is_empty() && port.parse::<u16>().is_ok();
    is_peer.then_some((name, address))
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.address)
    }
}

/// A list in TOML, or one string with commas in `--set` and the environment.
mod peer_list {
    use super::*;

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        List(Vec<String>),
        Text(String),
    }

    pub(super) fn serialize<S: Serializer>(
        peers: &[Peer],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(peers.iter().map(Peer::to_string))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<Peer>, D::Error> {
        match Form::deserialize(deserializer)? {
            Form::List(list) => list.iter().map(|text| parse(text)).collect(),
            Form::Text(text) => text
                .split(',')
                .filter(|part| !part.trim().is_empty())
                .map(parse)
                .collect(),
        }
    }

    fn parse<E: de::Error>(text: &str) -> Result<Peer, E> {
        text.parse().map_err(E::custom)
    }
}
