//! A recorded conversation: what the server said is in `conversation.hex`, what the client did is here.
//!
//! It has three acts, because a server answers only what was asked: the handshake, the work, the end. Within an act the
//! octets may arrive in pieces of any size.

use std::time::Duration;

use amqp_core::{
    CallId, Cause, Config, Connection, Event, Instant, Publish,
    frame::{Frame, PROTOCOL_HEADER},
    method::{Properties, ReplyCode, basic, confirm, queue},
};
use bytes::{Buf, BytesMut};

use super::{NO_LIMITS, shown};

/// The octets of each act, and what each of its frames is said to be.
pub(crate) fn recorded() -> Vec<Vec<(String, Vec<u8>)>> {
    let acts = include_str!("../conversation.hex").split("--\n");
    acts.map(|act| act.lines().filter(|line| !line.starts_with('#')).map(frame).collect()).collect()
}

/// The octets of each act.
pub(crate) fn acts() -> Vec<Vec<u8>> {
    recorded().iter().map(|act| act.iter().flat_map(|(_, octets)| octets.clone()).collect()).collect()
}

fn frame(line: &str) -> (String, Vec<u8>) {
    let (digits, name) = line.split_once(" # ").expect("octets and what they are");
    let octet = |at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal");
    (name.to_string(), (0..digits.len()).step_by(2).map(octet).collect())
}

/// The client's part.
pub(crate) struct Performance {
    pub(crate) client: Connection,
    pub(crate) calls: Vec<CallId>,
    pub(crate) events: Vec<Event>,
    now: Duration,
    input: BytesMut,
    written: BytesMut,
}

impl Performance {
    pub(crate) fn new() -> Self {
        let now = Duration::from_secs(7);
        Self {
            client: Connection::new(Config::default(), Instant::from(now)),
            calls: Vec::new(),
            events: Vec::new(),
            now,
            input: BytesMut::new(),
            written: BytesMut::new(),
        }
    }

    /// What the client does at the start of an act.
    pub(crate) fn act(&mut self, act: usize) {
        match act {
            1 => self.work(),
            2 => self.client.close(ReplyCode::REPLY_SUCCESS, "bye"),
            _ => {}
        }
    }

    /// Two channels: on the first a little of everything, on the second a publish that the broker refuses. One call is
    /// never answered. Whatever is refused because the connection has ended is left out.
    fn work(&mut self) {
        let Ok((first, opening)) = self.client.open_channel() else { return };
        let Ok((second, other_opening)) = self.client.open_channel() else { return };
        self.calls.extend([opening.call(), other_opening.call()]);
        let mut channel = self.client.channel(first).expect("it was just opened");
        let consume = basic::Consume::new("amq.gen-1").consumer_tag("t");
        let publish = Publish::new("", "nobody").body("lost").mandatory();
        let properties = Properties::new().message_id("1");
        let calls = [
            channel.call(queue::Declare::server_named()).map(|call| call.call()),
            channel.call(confirm::Select::new()).map(|call| call.call()),
            channel.call(consume).map(|call| call.call()),
            channel.call(basic::Qos::new(10)).map(|call| call.call()),
            channel.get(basic::Get::new("amq.gen-1")).map(|call| call.call()),
            channel.get(basic::Get::new("amq.gen-1")).map(|call| call.call()),
            channel.call(queue::Purge::new("amq.gen-1")).map(|call| call.call()),
        ];
        self.calls.extend(calls.map(|call| call.expect("the channel is open")));
        channel.publish(publish).expect("the channel is open");
        channel.publish(Publish::new("", "amq.gen-1").properties(&properties)).expect("the channel is open");
        let mut channel = self.client.channel(second).expect("it was just opened");
        channel.publish(Publish::new("nope", "key").body("refused")).expect("the channel is open");
        let call = channel.call(queue::Declare::new("never")).expect("the channel is open");
        self.calls.push(call.call());
    }

    /// Octets arrive.
    pub(crate) fn receive(&mut self, octets: &[u8]) {
        self.input.extend_from_slice(octets);
        self.client.receive(&mut self.input, Instant::from(self.now));
        self.collect();
    }

    pub(crate) fn disconnected(&mut self) {
        self.client.disconnected(Cause::end_of_stream(), Instant::from(self.now));
        self.collect();
    }

    /// The server falls silent for ever.
    pub(crate) fn silence(&mut self) {
        while let Some(at) = self.client.poll_timeout() {
            self.now = self.now.max(at.saturating_duration_since(Instant::ORIGIN));
            self.client.handle_timeout(Instant::from(self.now));
            self.collect();
        }
    }

    fn collect(&mut self) {
        self.events.extend(std::iter::from_fn(|| self.client.poll_event()));
        while self.client.wants_write() {
            let mut outbox = self.client.take_outbox();
            assert!(outbox.has_remaining(), "the client says that it has something to write and gives nothing");
            self.written.extend_from_slice(&outbox.copy_to_bytes(outbox.remaining()));
        }
    }

    /// Everything that the client wrote, as text.
    pub(crate) fn wrote(&self) -> Vec<String> {
        self.frames().iter().map(shown).collect()
    }

    pub(crate) fn frames(&self) -> Vec<Frame> {
        let mut written = self.written.clone();
        written.advance(PROTOCOL_HEADER.len().min(written.len()));
        let mut decoder = amqp_core::frame::Decoder::new(NO_LIMITS);
        let frames = std::iter::from_fn(|| decoder.decode(&mut written).expect("legal frames from the client"));
        frames.collect()
    }

    /// Nobody waits any more: each call has one answer, and the end is the last event.
    pub(crate) fn assert_over(&self, context: &str) {
        let answers = |call: &CallId| {
            let is_it = |event: &&Event| matches!(event, Event::Answer(answer) if answer.call() == *call);
            self.events.iter().filter(is_it).count()
        };
        for call in &self.calls {
            assert_eq!(answers(call), 1, "{context}: {call:?} in {:?}", self.events);
        }
        let ends = self.events.iter().filter(|event| matches!(event, Event::Closed(_))).count();
        assert_eq!(ends, 1, "{context}: {:?}", self.events);
        assert!(matches!(self.events.last(), Some(Event::Closed(_))), "{context}: {:?}", self.events);
        assert_eq!(self.client.poll_timeout(), None, "{context}");
    }
}
