//! TCP: reaching the broker, and ending the link.

use std::{
    net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs},
    time::{Duration, Instant},
};

use amqp_core::{Cause, Config, ConnectionError, Misuse, Uri};

use crate::link::later;

/// How long a write may take nothing before the thread that is stuck in it looks at the clock.
const WRITE_PATIENCE: Duration = Duration::from_millis(500);

/// Connects to the first address of the host that answers.
pub(crate) fn connect(uri: &Uri, config: &Config) -> Result<TcpStream, ConnectionError> {
    if uri.is_tls() {
        return Err(ConnectionError::Misuse(Misuse::NoTls));
    }
    let unreachable = |error: &std::io::Error| unreachable(uri, error);
    let addresses: Vec<SocketAddr> = uri.address().to_socket_addrs().map_err(|error| unreachable(&error))?.collect();
    let deadline = later(config.connect_timeout);
    let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        // A timeout of zero is refused by the standard library.
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        match TcpStream::connect_timeout(&address, left).and_then(prepared) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(unreachable(&last))
}

/// Another handle of the same stream.
pub(crate) fn cloned(stream: &TcpStream, uri: &Uri) -> Result<TcpStream, ConnectionError> {
    stream.try_clone().map_err(|error| unreachable(uri, &error))
}

/// Ends both directions. Only ever done when nothing is to be read any more: RabbitMQ resets a half-closed connection.
pub(crate) fn hang_up(stream: &TcpStream) {
    // It may have ended already.
    let _ = stream.shutdown(Shutdown::Both);
}

fn prepared(stream: TcpStream) -> std::io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(WRITE_PATIENCE))?;
    Ok(stream)
}

fn unreachable(uri: &Uri, error: &std::io::Error) -> ConnectionError {
    let (host, port) = uri.address();
    ConnectionError::Unreachable { address: format!("{host}:{port}"), cause: Cause::from(error) }
}
