//! One connection from socket to handshake.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use trireme_base::NodeName;
use trireme_replication::PeerIdentity;
use trireme_wire::frame::Frame;

use super::{Lineage, Mesh};
use crate::handshake::{Shaking, refused};
use crate::slot::{BoxedRead, BoxedWrite};
use crate::{Connection, FrameReader, FrameWriter, PeerAddress, TransportError};

/// A connection, and what resolves when it is dropped.
pub(super) type Connected = (Connection, oneshot::Receiver<()>);

impl Mesh {
    pub(super) async fn dial(&self, peer: &PeerAddress) -> Result<Connected, TransportError> {
        let connecting = TcpStream::connect(&peer.address);
        let stream = within(self.config.connect_timeout, "connecting", connecting).await??;
        self.shake_tcp(stream, Some(&peer.node)).await
    }

    pub(super) async fn accept(&self, stream: TcpStream) -> Result<Connected, TransportError> {
        self.shake_tcp(stream, None).await
    }

    /// Asks a peer that dials this node whether it would let it in, and ends the conversation there. An error that is no
    /// refusal says nothing.
    pub(super) async fn ask(&self, peer: &PeerAddress) -> Result<(), TransportError> {
        let connecting = TcpStream::connect(&peer.address);
        let stream = within(self.config.connect_timeout, "connecting", connecting).await??;
        stream.set_nodelay(true)?;

        let (read, write) = stream.into_split();
        let mut reader = FrameReader::new(read);
        let mut writer = FrameWriter::new(write);

        let hello = self.local.read().hello(Some(&peer.node));
        let asking = async {
            writer.queue(&Frame::Hello(hello));
            writer.flush().await?;
            match reader.next().await? {
                Frame::Hello(_) => Ok(()),
                Frame::Refuse(refuse) => Err(refused(refuse)),
                _ => Err(TransportError::Handshake),
            }
        };

        within(self.config.handshake_timeout, "asking", asking).await?
    }

    async fn shake_tcp(
        &self,
        stream: TcpStream,
        expected: Option<&NodeName>,
    ) -> Result<Connected, TransportError> {
        // An acknowledgement is a small frame that somebody waits for.
        stream.set_nodelay(true)?;
        let (read, write) = stream.into_split();
        self.shake(read, write, expected).await
    }

    /// The handshake over any byte stream: as dialler if a name is expected, else as listener.
    pub(super) async fn shake(
        &self,
        read: impl AsyncRead + Send + Unpin + 'static,
        write: impl AsyncWrite + Send + Unpin + 'static,
        expected: Option<&NodeName>,
    ) -> Result<Connected, TransportError> {
        let mut reader = FrameReader::new(Box::new(read) as BoxedRead);
        let mut writer = FrameWriter::new(Box::new(write) as BoxedWrite);
        let local = self.local.read().clone();
        let shaking = Shaking {
            local: &local,
            reader: &mut reader,
            writer: &mut writer,
            admission: &|peer: &PeerIdentity, lineage: &Lineage| self.admit(peer, lineage),
        };

        let hellos = async {
            match expected {
                Some(name) => shaking.dial(name).await,
                None => shaking.listen().await,
            }
        };

        let met = within(self.config.handshake_timeout, "shaking hands", hellos).await??;
        self.enter(&met).await?;
        let (alive, closed) = oneshot::channel();

        Ok((
            Connection {
                peer: met.peer,
                version: met.version,
                reader,
                writer,
                _alive: alive,
            },
            closed,
        ))
    }
}

async fn within<T>(
    limit: Duration,
    what: &'static str,
    work: impl Future<Output = T>,
) -> Result<T, TransportError> {
    tokio::time::timeout(limit, work)
        .await
        .map_err(|_| TransportError::Timeout(what))
}
