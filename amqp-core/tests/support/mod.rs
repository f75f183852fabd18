//! The other side of the connection: a `Peer` plays the server, in virtual time, on the core's own codec.
//!
//! What the client writes is shown as text (`1 queue.declare`, `1 header 5`, `1 body hello`), so that a test reads as
//! a transcript; [`Peer::wrote`] takes it. Octets that are not whole frames fail the test at once.

// Every test file is a crate of its own and uses its part of this one.
#![allow(dead_code)]

pub(crate) mod conversation;
pub(crate) mod random;
pub(crate) mod script;

use std::{collections::VecDeque, time::Duration};

use amqp_core::{
    Answer, CallId, ChannelId, Config, Connection, ConnectionError, Error, Event, Instant, Pending,
    connection::Reply,
    frame::{ContentHeader, Decoder, Frame, FrameKind, FrameLimits, PROTOCOL_HEADER},
    method::{AnyMethod, Properties, ReplyCode, basic, channel, connection},
    wire::Table,
};
use bytes::{Buf, Bytes, BytesMut};

/// Whatever the client may write.
const NO_LIMITS: FrameLimits = FrameLimits { body: u32::MAX, other: u32::MAX };

pub(crate) struct Peer {
    pub(crate) client: Connection,
    /// The time since the origin.
    pub(crate) now: Duration,
    /// Whether this side takes what the client writes while time goes by.
    pub(crate) reads: bool,
    decoder: Decoder,
    octets: BytesMut,
    frames: Vec<(Duration, Frame)>,
    events: VecDeque<Event>,
}

impl Peer {
    /// A client that has sent its protocol header and nothing else.
    pub(crate) fn greeted(config: Config) -> Self {
        let now = Duration::from_secs(1000);
        let mut client = Connection::new(config, Instant::from(now));
        let header = client.outbox().copy_to_bytes(PROTOCOL_HEADER.len());
        assert_eq!(&header[..], PROTOCOL_HEADER);
        assert!(!client.wants_write(), "nothing follows the protocol header");
        Self {
            client,
            now,
            reads: true,
            decoder: Decoder::new(NO_LIMITS),
            octets: BytesMut::new(),
            frames: Vec::new(),
            events: VecDeque::new(),
        }
    }

    /// A client that has sent start-ok.
    pub(crate) fn logging_in(config: Config) -> Self {
        let mut peer = Self::greeted(config);
        peer.send(0, start());
        peer
    }

    /// A client that has sent tune-ok and open.
    pub(crate) fn opening(config: Config, tune: connection::Tune) -> Self {
        let mut peer = Self::logging_in(config);
        peer.send(0, tune);
        peer
    }

    /// A client that is open; what it wrote until then and its first event are out of the way.
    pub(crate) fn tuned(config: Config, tune: connection::Tune) -> Self {
        let mut peer = Self::opening(config, tune);
        peer.send(0, connection::OpenOk::new());
        assert_eq!(peer.events(), [Event::Opened]);
        assert_eq!(peer.wrote(), ["0 connection.start-ok", "0 connection.tune-ok", "0 connection.open"]);
        peer
    }

    /// An open client as RabbitMQ tunes it.
    pub(crate) fn open() -> Self {
        Self::tuned(Config::default(), tune())
    }

    /// Opens a channel, which is then out of the way.
    pub(crate) fn open_channel(&mut self) -> ChannelId {
        let (id, opening) = self.client.open_channel().expect("a free channel");
        assert_eq!(self.wrote(), [format!("{id} channel.open")]);
        self.send(id.number(), channel::OpenOk::new());
        self.claim(opening).expect("an open channel");
        id
    }

    pub(crate) fn channel(&mut self, id: ChannelId) -> amqp_core::Channel<'_> {
        self.client.channel(id).expect("a channel that was not released")
    }

    pub(crate) fn instant(&self) -> Instant {
        Instant::from(self.now)
    }
}

/// What the server sends.
impl Peer {
    pub(crate) fn send(&mut self, channel: u16, method: impl Into<AnyMethod>) {
        self.send_frame(&method_frame(channel, method));
    }

    pub(crate) fn send_frame(&mut self, frame: &Frame) {
        self.send_octets(&octets([frame]));
    }

    pub(crate) fn send_frames<'a>(&mut self, frames: impl IntoIterator<Item = &'a Frame>) {
        self.send_octets(&octets(frames));
    }

    pub(crate) fn send_octets(&mut self, octets: &[u8]) {
        let mut input = BytesMut::from(octets);
        self.client.receive(&mut input, self.instant());
        assert!(input.is_empty(), "whole frames leave nothing behind");
    }

    /// A message for a consumer, in one body frame.
    pub(crate) fn deliver(&mut self, channel: u16, tag: &str, delivery_tag: u64, body: &str) {
        self.send_frames(&delivery(channel, tag, delivery_tag, body));
    }

    /// A soft error.
    pub(crate) fn close_channel(&mut self, channel: u16, code: ReplyCode) {
        self.send(channel, soft_error(code));
    }

    /// A hard error.
    pub(crate) fn close_connection(&mut self, code: ReplyCode) {
        self.send(0, hard_error(code));
    }
}

/// What comes of it.
impl Peer {
    /// Takes what the client wrote since the last look, as text.
    pub(crate) fn wrote(&mut self) -> Vec<String> {
        self.frames().iter().map(shown).collect()
    }

    /// As [`wrote`](Self::wrote), only what one look at the outbox gives.
    pub(crate) fn wrote_at_once(&mut self) -> Vec<String> {
        self.read_once();
        std::mem::take(&mut self.frames).iter().map(|(_, frame)| shown(frame)).collect()
    }

    /// As [`wrote`](Self::wrote), as frames.
    pub(crate) fn frames(&mut self) -> Vec<Frame> {
        self.timed_frames().into_iter().map(|(_, frame)| frame).collect()
    }

    /// As [`frames`](Self::frames), each with the time at which it was taken.
    pub(crate) fn timed_frames(&mut self) -> Vec<(Duration, Frame)> {
        self.read();
        std::mem::take(&mut self.frames)
    }

    /// The only method that the client wrote.
    pub(crate) fn wrote_method(&mut self) -> AnyMethod {
        let frames = self.frames();
        assert_eq!(frames.len(), 1, "{frames:?}");
        frames[0].decode_method().expect("a method")
    }

    /// Takes all events.
    pub(crate) fn events(&mut self) -> Vec<Event> {
        self.events.extend(std::iter::from_fn(|| self.client.poll_event()));
        self.events.drain(..).collect()
    }

    /// Takes the only event.
    pub(crate) fn event(&mut self) -> Event {
        let mut events = self.events();
        assert_eq!(events.len(), 1, "{events:?}");
        events.remove(0)
    }

    /// Claims the answer to a call; the other events stay.
    pub(crate) fn claim<R: Reply>(&mut self, pending: Pending<R>) -> Result<R, Error> {
        let answer = self.take_answer(pending.call()).expect("an answer");
        pending.claim(answer)
    }

    pub(crate) fn is_answered<R>(&mut self, pending: &Pending<R>) -> bool {
        self.keep_events();
        self.events.iter().any(|event| matches!(event, Event::Answer(answer) if answer.call() == pending.call()))
    }

    /// The reason of the connection's end, which must be the last event.
    pub(crate) fn end(&mut self) -> ConnectionError {
        let events = self.events();
        let ends = events.iter().filter(|event| matches!(event, Event::Closed(_))).count();
        assert_eq!(ends, 1, "{events:?}");
        let Some(Event::Closed(error)) = events.last() else { panic!("something follows the end: {events:?}") };
        assert_eq!(self.client.fault(), Some(error));
        assert!(self.client.is_closed() && !self.client.is_open() && !self.client.wants_read());
        assert_eq!(self.client.poll_timeout(), None, "nothing is waited for after the end");
        error.clone()
    }

    fn take_answer(&mut self, call: CallId) -> Option<Answer> {
        self.keep_events();
        let is_it = |event: &Event| matches!(event, Event::Answer(answer) if answer.call() == call);
        let at = self.events.iter().position(is_it)?;
        let Some(Event::Answer(answer)) = self.events.remove(at) else { return None };
        Some(answer)
    }

    fn keep_events(&mut self) {
        self.events.extend(std::iter::from_fn(|| self.client.poll_event()));
    }

    /// Takes what the client has to write now.
    fn read(&mut self) {
        while self.client.wants_write() {
            let octets = self.read_once();
            assert!(octets > 0, "the client says that it has something to write and gives nothing");
        }
    }

    fn read_once(&mut self) -> usize {
        let mut outbox = self.client.take_outbox();
        let octets = outbox.remaining();
        self.octets.extend_from_slice(&outbox.copy_to_bytes(octets));
        self.client.recycle(outbox);
        while let Some(frame) = self.decoder.decode(&mut self.octets).expect("legal frames from the client") {
            self.frames.push((self.now, frame));
        }
        assert!(self.octets.is_empty(), "half a frame from the client");
        octets
    }
}

/// Time.
impl Peer {
    /// Lets time go by, calling the client exactly when it asks for it.
    pub(crate) fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        for _ in 0..100_000 {
            if self.reads {
                self.read();
            }
            let Some(at) = self.client.poll_timeout().map(since_origin).filter(|at| *at <= until) else {
                self.now = until;
                self.client.handle_timeout(self.instant());
                return;
            };
            self.now = self.now.max(at);
            self.client.handle_timeout(self.instant());
        }
        panic!("the timer spins");
    }
}

fn since_origin(instant: Instant) -> Duration {
    instant.saturating_duration_since(Instant::ORIGIN)
}

/// The greeting of a broker.
pub(crate) fn start() -> connection::Start {
    let properties = Table::new().with("product", "Peer").with("capabilities", Table::new().with("basic.nack", true));
    connection::Start::new(0, 9, properties, "AMQPLAIN PLAIN", "en_US")
}

/// What RabbitMQ offers.
pub(crate) fn tune() -> connection::Tune {
    connection::Tune::new(2047, 131_072, 60)
}

pub(crate) fn method_frame(channel: u16, method: impl Into<AnyMethod>) -> Frame {
    Frame::method(channel, &method.into()).expect("a method that can be sent")
}

pub(crate) fn header_frame(channel: u16, size: usize) -> Frame {
    Frame::header(channel, &ContentHeader::new(size as u64, &Properties::new()).expect("no properties"))
}

pub(crate) fn body_frame(channel: u16, body: &str) -> Frame {
    Frame::body(channel, Bytes::copy_from_slice(body.as_bytes()))
}

/// Header and body of a message.
pub(crate) fn content(channel: u16, body: &str) -> Vec<Frame> {
    let mut frames = vec![header_frame(channel, body.len())];
    if !body.is_empty() {
        frames.push(body_frame(channel, body));
    }
    frames
}

pub(crate) fn delivery(channel: u16, tag: &str, delivery_tag: u64, body: &str) -> Vec<Frame> {
    let deliver = basic::Deliver::new(tag, delivery_tag, false, "logs", "key");
    [vec![method_frame(channel, deliver)], content(channel, body)].concat()
}

/// A channel.close that blames basic.publish.
pub(crate) fn soft_error(code: ReplyCode) -> channel::Close {
    let mut close = channel::Close::new(code, "something is wrong");
    (close.class_id, close.method_id) = (60, 40);
    close
}

/// A connection.close that blames basic.publish.
pub(crate) fn hard_error(code: ReplyCode) -> connection::Close {
    let mut close = connection::Close::new(code, "something is very wrong");
    (close.class_id, close.method_id) = (60, 40);
    close
}

pub(crate) fn octets<'a>(frames: impl IntoIterator<Item = &'a Frame>) -> Vec<u8> {
    let mut octets = BytesMut::new();
    for frame in frames {
        frame.encode(&mut octets);
    }
    octets.to_vec()
}

/// A frame as text.
pub(crate) fn shown(frame: &Frame) -> String {
    let channel = frame.channel;
    match frame.kind {
        FrameKind::Method => format!("{channel} {}", frame.decode_method().expect("a method").id()),
        FrameKind::Header => format!("{channel} header {}", frame.decode_header().expect("a header").body_size),
        FrameKind::Body => format!("{channel} body {}", String::from_utf8_lossy(&frame.payload)),
        FrameKind::Heartbeat => "heartbeat".into(),
    }
}
