//! Asks a port whether the node we started is behind it.
//!
//! The first frame of an AMQP broker, `connection.start`, carries its server properties. We do not decode it: this must
//! work while the codec is being worked on. Two byte patterns tell what we need.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// Loopback answers at once or not at all; a node that is still booting may dawdle. The caller asks again.
const PATIENCE: Duration = Duration::from_secs(2);

/// Far above what any broker says about itself (RabbitMQ: 500 octets).
const MAX_PAYLOAD: usize = 64 * 1024;

/// What the broker said first.
#[derive(Debug)]
pub(super) struct Greeting {
    payload: Vec<u8>,
}

impl Greeting {
    /// Connects, says hello and returns the answer, if it is that of an AMQP broker.
    pub(super) fn receive(port: u16) -> io::Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(b"AMQP\x00\x00\x09\x01")?;
        let mut head = [0; 7];
        stream.read_exact(&mut head)?;
        let [kind, _, _, size @ ..] = head;
        let size = u32::from_be_bytes(size) as usize;
        if kind != 1 || size > MAX_PAYLOAD {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a method frame"));
        }
        let mut payload = vec![0; size];
        stream.read_exact(&mut payload)?;
        Ok(Self { payload })
    }

    /// Whether this is the node of that name, and not one that another process started on our port a moment ago.
    pub(super) fn is_from(&self, node: &str) -> bool {
        // The cluster name: by default the node's own name up to the @, then the name of the machine.
        let name = node.split('@').next().unwrap_or(node);
        position(&self.payload, format!("{name}@").as_bytes()).is_some()
    }

    /// The server property `version`.
    pub(super) fn version(&self) -> Option<String> {
        const KEY: &[u8] = b"\x07versionS";
        let value = self.payload.get(position(&self.payload, KEY)? + KEY.len()..)?;
        let (size, text) = value.split_first_chunk()?;
        String::from_utf8(text.get(..u32::from_be_bytes(*size) as usize)?.to_vec()).ok()
    }
}

fn position(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greeting_tells_node_and_version() {
        let payload =
            b"\x0ccluster_nameS\0\0\0\x10amqp-test-7-1@vm\x07versionS\0\0\0\x063.10.8\0\0\0\x05PLAIN".to_vec();
        let greeting = Greeting { payload };
        assert!(greeting.is_from("amqp-test-7-1@localhost"));
        assert!(!greeting.is_from("amqp-test-7-11@localhost"));
        assert_eq!(greeting.version().as_deref(), Some("3.10.8"));
        let cut = Greeting { payload: b"\x07versionS\0\0\0\x063.10".to_vec() };
        assert_eq!(cut.version(), None);
    }
}
