//! A client that knows nothing: it writes frames and shows what comes back, one line for each method.

use std::{
    cell::RefCell,
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    rc::Rc,
    time::Duration,
};

use amqp_core::{
    Instant,
    frame::{ContentHeader, Decoder, Frame, FrameKind, FrameLimits, PROTOCOL_HEADER},
    method::{AnyMethod, MethodId, Properties, basic, channel, connection},
    wire::{ShortString, Table},
};
use amqp_test::broker::{Broker, ConnectionId};
use bytes::{Bytes, BytesMut};

/// How long a real broker may take for what it has to say.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait whether a real broker says more than it should.
const QUIET: Duration = Duration::from_millis(5);
/// How long to give a real broker for what it does without saying anything.
const SILENT_WORK: Duration = Duration::from_millis(50);

/// A case that runs on any broker.
pub(crate) type Case = fn(&World);

/// Makes a test of each function, which runs it on a new embedded broker, and a list of all for the other broker.
macro_rules! cases {
    ($($(#[$doc:meta])* fn $name:ident($world:ident) $body:block)+) => {
        $($(#[$doc])* fn $name($world: &crate::support::World) $body)+

        pub(crate) const CASES: &[(&str, crate::support::Case)] = &[$((concat!(module_path!(), "::", stringify!($name)), $name)),+];

        mod embedded {
            $(#[test] fn $name() { super::$name(&crate::support::World::embedded()); })+
        }
    };
}

/// A broker to talk to.
pub(crate) enum World {
    Embedded(Rc<RefCell<Broker>>),
    Tcp { port: u16 },
}

impl World {
    pub(crate) fn embedded() -> Self {
        Self::Embedded(Rc::new(RefCell::new(Broker::new())))
    }

    pub(crate) fn tcp(port: u16) -> Self {
        Self::Tcp { port }
    }

    /// The broker itself, in a test that runs on the embedded one alone.
    pub(crate) fn broker(&self) -> std::cell::RefMut<'_, Broker> {
        match self {
            Self::Embedded(broker) => broker.borrow_mut(),
            Self::Tcp { .. } => panic!("a real broker cannot be looked into"),
        }
    }

    /// A connection on which nothing was said yet.
    pub(crate) fn dial(&self) -> Client {
        let link = match self {
            Self::Embedded(broker) => {
                let id = broker.borrow_mut().accept(Instant::ORIGIN);
                Link::Embedded { broker: Rc::clone(broker), id, now: Instant::ORIGIN }
            }
            Self::Tcp { port } => {
                let stream = TcpStream::connect(("127.0.0.1", *port)).expect("the node listens");
                stream.set_nodelay(true).expect("a TCP option");
                Link::Tcp(stream)
            }
        };
        let decoder = Decoder::new(FrameLimits { body: 131_072, other: 131_072 });
        Client { link, input: BytesMut::new(), unsent: BytesMut::new(), decoder, ended: false, open: false }
    }

    /// An open connection with all capabilities.
    pub(crate) fn connect(&self) -> Client {
        self.connect_with(capabilities(), connection::TuneOk::new(2047, 131_072, 0))
    }

    pub(crate) fn connect_with(&self, capabilities: Table, tune: connection::TuneOk) -> Client {
        let mut client = self.dial();
        client.raw(PROTOCOL_HEADER);
        client.take_one("connection.start");
        client.raw(&on(0, start_ok("PLAIN", b"\0guest\0guest", capabilities)));
        client.take_one("connection.tune");
        client.raw(&[on(0, tune), on(0, connection::Open::new("/"))].concat());
        client.take_one("connection.open-ok");
        client
    }

    /// An open connection with channel 1 open.
    pub(crate) fn open(&self) -> Client {
        let mut client = self.connect();
        client.open(1);
        client
    }
}

/// One client.
pub(crate) struct Client {
    link: Link,
    input: BytesMut,
    unsent: BytesMut,
    decoder: Decoder,
    ended: bool,
    /// The connection is open, and neither side has closed it.
    open: bool,
}

enum Link {
    Embedded { broker: Rc<RefCell<Broker>>, id: ConnectionId, now: Instant },
    Tcp(TcpStream),
}

impl Client {
    /// Opens a channel.
    pub(crate) fn open(&mut self, number: u16) {
        self.raw(&on(number, channel::Open::new()));
        self.take_one("channel.open-ok");
    }

    /// Writes frames in one piece, and expects exactly this to be seen then.
    #[track_caller]
    pub(crate) fn send(&mut self, frames: &[BytesMut], expected: &[&str]) {
        self.raw(&frames.concat());
        self.sees(expected);
    }

    /// Writes octets.
    pub(crate) fn raw(&mut self, octets: &[u8]) {
        match &mut self.link {
            Link::Embedded { .. } => {
                self.unsent.extend_from_slice(octets);
                self.feed();
            }
            // A broker that has hung up already is heard when it is read.
            Link::Tcp(stream) => drop(stream.write_all(octets)),
        }
    }

    /// Lets time pass on the embedded broker.
    pub(crate) fn wait_until(&mut self, at: Duration) {
        let Link::Embedded { broker, now, .. } = &mut self.link else { panic!("time passes by itself") };
        *now = Instant::from(at);
        broker.borrow_mut().handle_timeout(*now);
    }

    /// Gives the embedded broker what it did not want before.
    pub(crate) fn feed(&mut self) {
        let Link::Embedded { broker, id, now } = &mut self.link else { return };
        broker.borrow_mut().receive(*id, &mut self.unsent, *now);
    }

    /// Which connection of the embedded broker it is.
    pub(crate) fn id(&self) -> ConnectionId {
        match &self.link {
            Link::Embedded { id, .. } => *id,
            Link::Tcp(_) => panic!("a real broker has no such names"),
        }
    }

    /// Expects exactly this to be seen now. The end of the connection is seen as `end`.
    #[track_caller]
    pub(crate) fn sees(&mut self, expected: &[&str]) {
        let seen = self.collect(expected.len());
        assert_eq!(seen, expected);
    }

    /// Takes one method and checks its name only.
    #[track_caller]
    pub(crate) fn take_one(&mut self, name: &str) -> AnyMethod {
        let frame = self.next(PATIENCE).unwrap_or_else(|| panic!("nothing instead of {name}"));
        let method = frame.decode_method().expect("a method");
        assert_eq!(method.id().name(), Some(name));
        method
    }

    /// Octets that are no frames.
    pub(crate) fn answer(&mut self, length: usize) -> Vec<u8> {
        while self.input.len() < length && self.read(PATIENCE) {}
        let length = length.min(self.input.len());
        self.input.split_to(length).to_vec()
    }

    /// What is seen, of which so many lines are expected.
    pub(crate) fn collect(&mut self, lines: usize) -> Vec<String> {
        let mut seen = Vec::new();
        let mut content = None;
        let quiet = if lines == 0 { SILENT_WORK } else { QUIET };
        loop {
            let complete = content.is_none() && seen.len() >= lines;
            let Some(frame) = self.next(if complete { quiet } else { PATIENCE }) else { break };
            show(&frame, &mut content, &mut seen);
        }
        if self.has_ended() {
            seen.push("end".to_owned());
        }
        seen
    }

    /// All frames, of which so many are expected.
    pub(crate) fn frames(&mut self, count: usize) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next(if frames.len() >= count { QUIET } else { PATIENCE }) {
            frames.push(frame);
        }
        frames
    }

    /// Whether the broker has hung up, or wants to.
    pub(crate) fn has_ended(&mut self) -> bool {
        match &self.link {
            Link::Embedded { broker, id, .. } => broker.borrow().wants_close(*id),
            Link::Tcp(_) => self.ended,
        }
    }

    fn next(&mut self, patience: Duration) -> Option<Frame> {
        loop {
            if let Some(frame) = self.decoder.decode(&mut self.input).expect("the broker writes frames") {
                self.follow(&frame);
                return Some(frame);
            }
            if !self.read(patience) {
                return None;
            }
        }
    }

    fn follow(&mut self, frame: &Frame) {
        if frame.channel != 0 {
            return;
        }
        match frame.decode_method() {
            Ok(AnyMethod::ConnectionOpenOk(_)) => self.open = true,
            Ok(AnyMethod::ConnectionClose(_) | AnyMethod::ConnectionCloseOk(_)) => self.open = false,
            _ => {}
        }
    }

    fn read(&mut self, patience: Duration) -> bool {
        match &mut self.link {
            Link::Embedded { broker, id, .. } => {
                let output = broker.borrow_mut().take_output(*id);
                self.input.extend_from_slice(&output);
                !output.is_empty()
            }
            Link::Tcp(stream) => {
                let mut chunk = [0; 65_536];
                stream.set_read_timeout(Some(patience)).expect("a TCP option");
                match stream.read(&mut chunk) {
                    Ok(0) => self.ended = true,
                    Ok(length) => self.input.extend_from_slice(&chunk[..length]),
                    Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return false,
                    Err(_) => self.ended = true,
                }
                !self.ended
            }
        }
    }
}

impl Drop for Client {
    /// Leaves in good order, so that what belongs to the connection is gone when the next case begins.
    fn drop(&mut self) {
        if let Link::Embedded { broker, id, now } = &self.link {
            // A failed test may have the broker borrowed.
            if let Ok(mut broker) = broker.try_borrow_mut() {
                broker.disconnected(*id, *now);
            }
            return;
        }
        if !self.open {
            return;
        }
        let close = connection::Close::new(amqp_core::method::ReplyCode::REPLY_SUCCESS, "");
        self.raw(&on(0, close));
        while self.open && self.next(PATIENCE).is_some() {}
    }
}

/// A method as a frame.
pub(crate) fn on(number: u16, method: impl Into<AnyMethod>) -> BytesMut {
    encode(&Frame::method(number, &method.into()).expect("a method that can be sent"))
}

/// A message as frames.
pub(crate) fn publish(number: u16, publish: basic::Publish, body: &str) -> BytesMut {
    publish_with(number, publish, &Properties::new(), body)
}

/// A message with properties as frames.
pub(crate) fn publish_with(number: u16, publish: basic::Publish, properties: &Properties, body: &str) -> BytesMut {
    let header = ContentHeader::new(body.len() as u64, properties).expect("properties that can be sent");
    let mut frames = on(number, publish);
    frames.extend_from_slice(&encode(&Frame::header(number, &header)));
    if !body.is_empty() {
        frames.extend_from_slice(&encode(&Frame::body(number, Bytes::copy_from_slice(body.as_bytes()))));
    }
    frames
}

/// A message to the default exchange.
pub(crate) fn to_queue(queue: &str, body: &str) -> BytesMut {
    publish(1, basic::Publish::new("", queue), body)
}

/// A frame of any kind and content.
pub(crate) fn raw_frame(kind: u8, number: u16, payload: &[u8]) -> BytesMut {
    let mut frame = BytesMut::from(&[kind][..]);
    frame.extend_from_slice(&number.to_be_bytes());
    frame.extend_from_slice(&u32::try_from(payload.len()).expect("a short payload").to_be_bytes());
    frame.extend_from_slice(payload);
    frame.extend_from_slice(&[0xce]);
    frame
}

/// A content header with raw properties.
pub(crate) fn header(number: u16, size: u64, properties: &'static [u8]) -> BytesMut {
    encode(&Frame::header(number, &ContentHeader::with_encoded(size, Bytes::from_static(properties))))
}

/// A part of a body.
pub(crate) fn body(number: u16, part: &'static str) -> BytesMut {
    encode(&Frame::body(number, Bytes::from_static(part.as_bytes())))
}

pub(crate) fn encode(frame: &Frame) -> BytesMut {
    let mut octets = BytesMut::new();
    frame.encode(&mut octets);
    octets
}

pub(crate) fn start_ok(mechanism: &str, response: &'static [u8], capabilities: Table) -> connection::StartOk {
    let properties = Table::new().with("capabilities", capabilities);
    connection::StartOk::new(properties, mechanism, response, "en_US")
}

pub(crate) fn capabilities() -> Table {
    ["authentication_failure_close", "consumer_cancel_notify", "connection.blocked"]
        .into_iter()
        .map(|name| (ShortString::from(name), true))
        .collect()
}

/// What a message consists of, until it is complete.
struct Content {
    line: String,
    properties: Properties,
    size: u64,
    body: Vec<u8>,
}

fn show(frame: &Frame, content: &mut Option<Content>, seen: &mut Vec<String>) {
    match frame.kind {
        FrameKind::Heartbeat => seen.push("heartbeat".to_owned()),
        FrameKind::Method => {
            let method = frame.decode_method().expect("a method");
            let line = format!("{} {}", frame.channel, show_method(&method));
            match method {
                AnyMethod::BasicDeliver(_) | AnyMethod::BasicGetOk(_) | AnyMethod::BasicReturn(_) => {
                    *content = Some(Content { line, properties: Properties::new(), size: u64::MAX, body: Vec::new() });
                }
                _ => seen.push(line),
            }
        }
        FrameKind::Header => {
            let header = frame.decode_header().expect("a content header");
            let content = content.as_mut().expect("a method in front of it");
            content.properties = header.properties().expect("valid properties");
            content.size = header.body_size;
        }
        FrameKind::Body => content.as_mut().expect("a header in front of it").body.extend_from_slice(&frame.payload),
    }
    if let Some(complete) = content.take_if(|content| content.body.len() as u64 == content.size) {
        let headers = complete.properties.headers.map(|headers| headers.table().expect("valid headers"));
        let headers = headers.map(|table| format!(" {}", show_table(&table))).unwrap_or_default();
        seen.push(format!("{} '{}'{headers}", complete.line, String::from_utf8_lossy(&complete.body)));
    }
}

fn show_table(table: &Table) -> String {
    let entries: Vec<String> = table.iter().map(|(name, value)| format!("{name}={}", show_value(value))).collect();
    format!("{{{}}}", entries.join(", "))
}

fn show_value(value: &amqp_core::wire::Value) -> String {
    use amqp_core::wire::Value;
    match value {
        Value::LongString(text) => String::from_utf8_lossy(text).into_owned(),
        Value::Table(table) => show_table(table),
        Value::Array(values) => format!("[{}]", values.iter().map(show_value).collect::<Vec<_>>().join(", ")),
        Value::Timestamp(_) => "time".to_owned(),
        other => other.as_i64().map_or_else(|| format!("{other:?}"), |integer| integer.to_string()),
    }
}

fn show_method(method: &AnyMethod) -> String {
    let name = method.id().name().expect("a method of the protocol");
    let rest = match method {
        AnyMethod::ConnectionTune(tune) => format!("{} {} {}", tune.channel_max, tune.frame_max, tune.heartbeat),
        AnyMethod::ConnectionClose(close) => {
            let method = MethodId::new(close.class_id, close.method_id);
            show_close(close.reply_code.0, &close.reply_text, method)
        }
        AnyMethod::ChannelClose(close) => {
            let method = MethodId::new(close.class_id, close.method_id);
            show_close(close.reply_code.0, &close.reply_text, method)
        }
        AnyMethod::ConnectionBlocked(blocked) => blocked.reason.to_string(),
        AnyMethod::ChannelFlowOk(flow) => flow.active.to_string(),
        AnyMethod::QueueDeclareOk(ok) => format!("{} {} {}", show_name(&ok.queue), ok.message_count, ok.consumer_count),
        AnyMethod::QueuePurgeOk(ok) => ok.message_count.to_string(),
        AnyMethod::QueueDeleteOk(ok) => ok.message_count.to_string(),
        AnyMethod::BasicConsumeOk(ok) => show_name(&ok.consumer_tag),
        AnyMethod::BasicCancelOk(ok) => ok.consumer_tag.to_string(),
        AnyMethod::BasicCancel(cancel) => cancel.consumer_tag.to_string(),
        AnyMethod::BasicAck(ack) => format!("{}{}", ack.delivery_tag, show_flag(ack.multiple, "multiple")),
        AnyMethod::BasicNack(nack) => format!("{}{}", nack.delivery_tag, show_flag(nack.multiple, "multiple")),
        AnyMethod::BasicDeliver(deliver) => {
            let redelivered = show_flag(deliver.redelivered, "again");
            format!("{} {}{redelivered}", show_name(&deliver.consumer_tag), deliver.delivery_tag)
        }
        AnyMethod::BasicGetOk(got) => {
            let redelivered = show_flag(got.redelivered, "again");
            format!("{}{redelivered}, {} left", got.delivery_tag, got.message_count)
        }
        AnyMethod::BasicReturn(returned) => {
            let (exchange, key) = (&returned.exchange, &returned.routing_key);
            format!("{} {} '{exchange}' '{key}'", returned.reply_code.0, returned.reply_text)
        }
        _ => return name.to_owned(),
    };
    format!("{name} {rest}")
}

fn show_close(code: u16, text: &ShortString, method: MethodId) -> String {
    let blamed = if method.class == 0 { "-".to_owned() } else { method.to_string() };
    format!("{code} {blamed} {text}")
}

fn show_flag(set: bool, flag: &str) -> String {
    if set { format!(" {flag}") } else { String::new() }
}

/// Names that a broker makes up are all alike.
fn show_name(name: &ShortString) -> String {
    let name = name.to_string();
    for prefix in ["amq.gen-", "amq.ctag-"] {
        if name.starts_with(prefix) {
            return format!("{prefix}*");
        }
    }
    name
}

/// Declares an exclusive queue on channel 1.
pub(crate) fn own(queue: &str) -> BytesMut {
    on(1, amqp_core::method::queue::Declare::new(queue).exclusive())
}

/// Declares an exclusive queue with arguments on channel 1.
pub(crate) fn own_with(queue: &str, arguments: Table) -> BytesMut {
    on(1, amqp_core::method::queue::Declare::new(queue).exclusive().arguments(arguments))
}

/// Consumes on channel 1.
pub(crate) fn consume(queue: &str, tag: &str) -> BytesMut {
    on(1, basic::Consume::new(queue).consumer_tag(tag))
}

/// Fetches on channel 1, to acknowledge later.
pub(crate) fn get(queue: &str) -> BytesMut {
    on(1, basic::Get::new(queue))
}

/// What RabbitMQ says of a queue that belongs to another connection.
pub(crate) fn locked(blamed: &str, queue: &str) -> String {
    format!(
        "1 channel.close 405 {blamed} RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{queue}' in \
         vhost '/'. It could be originally declared on another connection or the exclusive property value does not \
         match that of the original declaration."
    )
}
