//! TCP mesh between nodes: handshake, framing, flow control.
