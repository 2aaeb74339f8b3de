//! Who may talk to whom.
//!
//! ```text
//! dialler                          listener
//!    │ ── Hello (expects the name) ──▶ │  checks it
//!    │ ◀── Hello ───────────────────── │
//!    │ checks it                       │
//!    │ ── Welcome (version) ─────────▶ │
//! ```
//!
//! A hello carries the range of protocol versions its sender speaks; both use the highest that both speak. Rings may be of
//! different epochs: whoever has the older one is told the newer one once they are connected. Two rings of one epoch are
//! two clusters, or a cluster whose nodes were set up differently, and are refused.
//!
//! Whoever does not like the other's hello answers with Refuse and a reason, and closes.

use std::fmt;

use tokio::io::{AsyncRead, AsyncWrite};
use trireme_base::{Boot, Incarnation, NodeName};
use trireme_replication::{AdmitError, PeerIdentity};
use trireme_wire::frame::{
    EarlierStart, Frame, Hello, PROTOCOL_VERSION, PROTOCOL_VERSION_MIN, Refuse, RefuseReason,
    Welcome,
};

use crate::{FrameReader, FrameWriter, Lineage, TransportError};

/// Protocol version since which nodes with rings of different epochs talk to each other.
const RING_CHANGES_SINCE: u32 = 2;

/// What this node says in its hello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalNode {
    /// Name of the cluster.
    pub cluster: String,
    /// This node.
    pub identity: PeerIdentity,
    /// Epoch of the ring.
    pub epoch: u64,
    /// [`trireme_ring::Ring::fingerprint`].
    pub ring_hash: u64,
    /// Shards of the data directory.
    pub shards: u16,
    /// Which process of its data directory.
    pub lineage: Lineage,
}

/// Longest name of a node or a cluster that is looked at, in bytes.
const NAME_BYTES_MAX: usize = 256;
/// Bytes of a refusal's words that are kept.
const DETAIL_BYTES_MAX: usize = 1 << 10;

/// A refused hello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// For programs.
    pub reason: RefuseReason,
    /// For people.
    pub detail: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl Refusal {
    fn new(reason: RefuseReason, detail: String) -> Self {
        Self { reason, detail }
    }

    /// True if it says that the refused process must not run: somebody else is, or was, what it says to be.
    pub fn is_of_a_copy(&self) -> bool {
        matches!(
            self.reason,
            RefuseReason::DuplicateIncarnation | RefuseReason::StaleBoot
        )
    }
}

impl From<AdmitError> for Refusal {
    fn from(error: AdmitError) -> Self {
        let reason = match error {
            AdmitError::Stranger(_) => RefuseReason::Node,
            AdmitError::DuplicateIncarnation { .. } => RefuseReason::DuplicateIncarnation,
            AdmitError::StaleBoot { .. } => RefuseReason::StaleBoot,
            AdmitError::DuplicateName { .. } => RefuseReason::DuplicateName,
        };
        Self::new(reason, error.to_string())
    }
}

impl LocalNode {
    pub(crate) fn hello(&self, expects: Option<&NodeName>) -> Hello {
        let earlier = self.lineage.earlier.iter();
        Hello {
            version: PROTOCOL_VERSION,
            version_min: PROTOCOL_VERSION_MIN,
            cluster: self.cluster.clone(),
            node: self.identity.node.to_string(),
            incarnation: self.identity.incarnation.0,
            boot: self.identity.boot.0,
            epoch: self.epoch,
            ring_hash: self.ring_hash,
            shards: u32::from(self.shards),
            expects: expects.map(NodeName::to_string).unwrap_or_default(),
            process: self.lineage.process,
            earlier: earlier
                .map(|(boot, process)| EarlierStart {
                    boot: boot.0,
                    process: *process,
                })
                .collect(),
        }
    }

    /// Judges a hello; gives who it is from and the protocol version to use.
    fn judge(
        &self,
        hello: &Hello,
        expected: Option<&NodeName>,
    ) -> Result<(PeerIdentity, u32), Refusal> {
        let peer = &hello.node;
        let version = hello.version.min(PROTOCOL_VERSION);

        if peer.len().max(hello.cluster.len()) > NAME_BYTES_MAX {
            // It is not repeated: it would be in the log.
            let detail =
                format!("the name of a node or cluster has at most {NAME_BYTES_MAX} bytes");
            return Err(Refusal::new(RefuseReason::Node, detail));
        }

        let objection = self
            .objection_to_node(hello, expected, version)
            .or_else(|| self.objection_to_ring(hello, version));
        if let Some((reason, detail)) = objection {
            return Err(Refusal::new(reason, detail));
        }

        let identity = PeerIdentity {
            node: NodeName::new(peer),
            incarnation: Incarnation(hello.incarnation),
            boot: Boot(hello.boot),
        };
        Ok((identity, version))
    }

    /// Why the sender is not who this node may talk to.
    fn objection_to_node(
        &self,
        hello: &Hello,
        expected: Option<&NodeName>,
        version: u32,
    ) -> Option<(RefuseReason, String)> {
        let peer = &hello.node;
        let me = &self.identity;

        Some(if version < hello.version_min.max(PROTOCOL_VERSION_MIN) {
            let detail = format!(
                "{peer} speaks protocol versions {}-{}, {} speaks {PROTOCOL_VERSION_MIN}-{PROTOCOL_VERSION}",
                hello.version_min, hello.version, me.node
            );
            (RefuseReason::Version, detail)
        } else if hello.cluster != self.cluster {
            let detail = format!(
                "{peer} is of cluster '{}', {} of '{}'",
                hello.cluster, me.node, self.cluster
            );
            (RefuseReason::Cluster, detail)
        } else if !hello.expects.is_empty() && hello.expects != me.node.as_str() {
            (
                RefuseReason::Node,
                format!("{peer} looks for {}, this is {}", hello.expects, me.node),
            )
        } else if expected.is_some_and(|name| name.as_str() != peer) || peer == me.node.as_str() {
            let wanted = expected.map_or("another node", NodeName::as_str);
            (
                RefuseReason::Node,
                format!("{} looks for {wanted}, this is {peer}", me.node),
            )
        } else if hello.incarnation == me.incarnation.0 {
            let detail = format!(
                "{peer} and {} have the same incarnation {}: one data directory is a copy of the other",
                me.node, me.incarnation
            );
            (RefuseReason::DuplicateIncarnation, detail)
        } else {
            return None;
        })
    }

    /// Why both cannot replicate for each other.
    fn objection_to_ring(&self, hello: &Hello, version: u32) -> Option<(RefuseReason, String)> {
        let peer = &hello.node;
        let me = &self.identity;

        Some(if hello.shards != u32::from(self.shards) {
            let detail = format!(
                "{peer} has {} shards, {} has {}",
                hello.shards, me.node, self.shards
            );
            (RefuseReason::Shards, detail)
        } else if hello.epoch != self.epoch && version < RING_CHANGES_SINCE {
            let detail = format!(
                "{peer} has ring epoch {}, {} has {}, and one of them is of a version whose ring cannot change",
                hello.epoch, me.node, self.epoch
            );
            (RefuseReason::Epoch, detail)
        } else if hello.epoch == self.epoch && hello.ring_hash != self.ring_hash {
            let detail = format!(
                "{peer} and {} have different rings for epoch {}",
                me.node, self.epoch
            );
            (RefuseReason::Ring, detail)
        } else {
            return None;
        })
    }
}

/// What a hello says of the process that it is from.
fn lineage_of(hello: &Hello) -> Lineage {
    let earlier = hello
        .earlier
        .iter()
        .map(|start| (Boot(start.boot), start.process));
    Lineage {
        process: hello.process,
        earlier: earlier.collect(),
    }
}

/// What the rest of the node thinks of a peer whose hello is in order.
pub(crate) type Admission<'a> = &'a (dyn Fn(&PeerIdentity, &Lineage) -> Result<(), Refusal> + Sync);

/// Who is at the other end of a handshake that went well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Met {
    /// The peer.
    pub(crate) peer: PeerIdentity,
    /// Which process of its data directory.
    pub(crate) lineage: Lineage,
    /// Protocol version of the connection.
    pub(crate) version: u32,
}

/// Both directions of a connection during the handshake.
pub(crate) struct Shaking<'a, R, W> {
    pub(crate) local: &'a LocalNode,
    pub(crate) reader: &'a mut FrameReader<R>,
    pub(crate) writer: &'a mut FrameWriter<W>,
    pub(crate) admission: Admission<'a>,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Shaking<'_, R, W> {
    /// The dialler's side: `expected` must answer.
    pub(crate) async fn dial(mut self, expected: &NodeName) -> Result<Met, TransportError> {
        self.send(Frame::Hello(self.local.hello(Some(expected))))
            .await?;
        let hello = match self.reader.next().await? {
            Frame::Hello(hello) => hello,
            Frame::Refuse(refuse) => return Err(refused(refuse)),
            _ => return Err(TransportError::Handshake),
        };

        let met = self.judge(hello, Some(expected)).await?;
        self.send(Frame::Welcome(Welcome {
            version: met.version,
        }))
        .await?;
        self.reader.handshake_done();

        Ok(met)
    }

    /// The listener's side. Whoever dials says who it is first: before that nothing it says is of interest.
    pub(crate) async fn listen(mut self) -> Result<Met, TransportError> {
        let Frame::Hello(hello) = self.reader.next().await? else {
            return Err(TransportError::Handshake);
        };

        let met = self.judge(hello, None).await?;
        self.send(Frame::Hello(self.local.hello(None))).await?;

        match self.reader.next().await? {
            Frame::Welcome(welcome) if welcome.version == met.version => {}
            Frame::Refuse(refuse) => return Err(refused(refuse)),
            _ => return Err(TransportError::Handshake),
        }

        self.reader.handshake_done();
        Ok(met)
    }

    async fn judge(
        &mut self,
        hello: Hello,
        expected: Option<&NodeName>,
    ) -> Result<Met, TransportError> {
        let judged = self
            .local
            .judge(&hello, expected)
            .and_then(|(peer, version)| {
                let lineage = lineage_of(&hello);
                (self.admission)(&peer, &lineage)?;
                Ok(Met {
                    peer,
                    lineage,
                    version,
                })
            });
        match judged {
            Ok(judged) => Ok(judged),
            Err(refusal) => {
                let refuse = Refuse {
                    reason: refusal.reason as i32,
                    detail: refusal.detail.clone(),
                };
                self.send(Frame::Refuse(refuse)).await?;
                Err(TransportError::Refused {
                    node: hello.node,
                    refusal,
                })
            }
        }
    }

    async fn send(&mut self, frame: Frame) -> Result<(), TransportError> {
        self.writer.queue(&frame);
        Ok(self.writer.flush().await?)
    }
}

/// What a peer refused; its words are cut to a length that fits into a log.
pub(crate) fn refused(refuse: Refuse) -> TransportError {
    let reason = RefuseReason::try_from(refuse.reason).unwrap_or(RefuseReason::Unspecified);
    let mut detail = refuse.detail;
    detail.truncate(detail.floor_char_boundary(DETAIL_BYTES_MAX));
    TransportError::RefusedByPeer(Refusal::new(reason, detail))
}

#[cfg(test)]
mod tests;
