//! A server that does what its script says, for what no broker does on request.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    thread::{self, JoinHandle},
    time::Instant,
};

use amqp_core::{
    frame::{Decoder, Frame, FrameKind, FrameLimits, PROTOCOL_HEADER},
    method::{AnyMethod, Method, ReplyCode, channel, connection},
    wire::Table,
};
use bytes::BytesMut;

use crate::support::{PATIENCE, eventually};

/// The script, running in a thread of its own.
pub(crate) struct Script {
    address: SocketAddr,
    thread: JoinHandle<()>,
}

impl Script {
    /// Runs `script` on the first connection to a port of its own.
    pub(crate) fn start(script: impl FnOnce(&mut Peer) + Send + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let thread = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.set_nodelay(true).unwrap();
            script(&mut Peer::new(stream));
        });
        Self { address, thread }
    }

    /// As [`start`](Self::start), after the handshake.
    pub(crate) fn start_open(script: impl FnOnce(&mut Peer) + Send + 'static) -> Self {
        Self::start(|peer| {
            peer.handshake(connection::Tune::new(2047, 131_072, 0));
            script(peer);
        })
    }

    pub(crate) fn uri(&self) -> String {
        format!("amqp://{}", self.address)
    }

    /// Waits for the end of the script; fails if it did.
    #[track_caller]
    pub(crate) fn finish(self) {
        eventually(|| self.thread.is_finished().then_some(()));
        if let Err(panic) = self.thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

/// The server's end of a connection.
pub(crate) struct Peer {
    pub(crate) stream: TcpStream,
    input: BytesMut,
    decoder: Decoder,
}

impl Peer {
    fn new(stream: TcpStream) -> Self {
        let limits = FrameLimits { body: 131_072, other: 131_072 };
        Self { stream, input: BytesMut::new(), decoder: Decoder::new(limits) }
    }

    /// Lets the client in.
    pub(crate) fn handshake(&mut self, tune: connection::Tune) {
        self.protocol_header();
        self.send(0, connection::Start::new(0, 9, Table::new(), "PLAIN", "en_US"));
        self.expect::<connection::StartOk>();
        self.send(0, tune);
        self.expect::<connection::TuneOk>();
        self.expect::<connection::Open>();
        self.send(0, connection::OpenOk::new());
    }

    pub(crate) fn protocol_header(&mut self) {
        let mut header = [0; 8];
        self.stream.read_exact(&mut header).unwrap();
        assert_eq!(&header, PROTOCOL_HEADER);
    }

    /// Lets the client open a channel; gives its number.
    pub(crate) fn open_channel(&mut self) -> u16 {
        let number = self.expect::<channel::Open>();
        self.send(number, channel::OpenOk::new());
        number
    }

    /// Lets the client close a channel.
    pub(crate) fn close_channel(&mut self) {
        let number = self.expect::<channel::Close>();
        self.send(number, channel::CloseOk::new());
    }

    /// Lets the client close the connection, whatever else it says before, and waits until it hangs up.
    pub(crate) fn close(&mut self) {
        while let Some(frame) = self.next_frame() {
            if frame.kind == FrameKind::Method && matches!(frame.decode_method(), Ok(AnyMethod::ConnectionClose(_))) {
                self.send(0, connection::CloseOk::new());
            }
        }
    }

    /// The next frame, heartbeats left out, must be this method; gives the channel's number.
    #[track_caller]
    pub(crate) fn expect<M: Method>(&mut self) -> u16 {
        self.receive::<M>().0
    }

    /// The next frame, heartbeats left out, must be this method.
    #[track_caller]
    pub(crate) fn receive<M: Method>(&mut self) -> (u16, M) {
        let (channel, method) = self.receive_any();
        match M::try_from(method) {
            Ok(method) => (channel, method),
            Err(other) => panic!("{} was to come, {other:?} came", M::NAME),
        }
    }

    /// The next frame must be a method.
    #[track_caller]
    pub(crate) fn receive_any(&mut self) -> (u16, AnyMethod) {
        let frame = self.next_frame().expect("a method was to come, the client hung up");
        (frame.channel, frame.decode_method().unwrap())
    }

    /// The next frame that is no heartbeat; none when the client has hung up.
    pub(crate) fn next_frame(&mut self) -> Option<Frame> {
        loop {
            match self.decoder.decode(&mut self.input).unwrap() {
                Some(frame) if frame.kind == FrameKind::Heartbeat => {}
                Some(frame) => return Some(frame),
                None => {
                    let mut buffer = [0; 65_536];
                    match self.stream.read(&mut buffer) {
                        Ok(0) => return None,
                        Ok(count) => self.input.extend_from_slice(&buffer[..count]),
                        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                        Err(error) => panic!("waiting for the client: {error}"),
                    }
                }
            }
        }
    }

    /// Reads and drops everything until the client hangs up.
    pub(crate) fn wait_for_end(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.next_frame().is_some() {
            assert!(Instant::now() < deadline, "the client does not hang up");
        }
    }

    pub(crate) fn send(&mut self, channel: u16, method: impl Into<AnyMethod>) {
        self.send_frames([Frame::method(channel, &method.into()).unwrap()]);
    }

    /// Sends frames in one piece.
    pub(crate) fn send_frames(&mut self, frames: impl IntoIterator<Item = Frame>) {
        let mut out = BytesMut::new();
        frames.into_iter().for_each(|frame| frame.encode(&mut out));
        self.stream.write_all(&out).unwrap();
    }
}

/// What a broker sends to close a channel: 404, and that a publish is to blame.
pub(crate) fn not_found() -> channel::Close {
    let mut close = channel::Close::new(ReplyCode::NOT_FOUND, "NOT_FOUND - no such thing");
    (close.class_id, close.method_id) = (60, 40);
    close
}
