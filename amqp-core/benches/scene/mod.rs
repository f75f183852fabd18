//! The scene that speed is measured on: an open connection, one channel with one consumer, and the broker's octets.
//!
//! The benchmarks and the counts of allocations share it, so that both speak of the same messages.

use amqp_core::{
    ChannelId, Config, Connection, Event, Instant, Publish,
    frame::{ContentHeader, Frame},
    method::{AnyMethod, Properties, basic, channel, connection},
    wire::Table,
};
use bytes::{Buf, Bytes, BytesMut};

/// Where all messages are published to.
const EXCHANGE: &str = "ex.events";
/// The routing key of all messages.
const ROUTING_KEY: &str = "orders.eu.created";
/// How much a driver reads at once.
const READ_SIZE: usize = 64 * 1024;
/// Nothing here depends on the time.
pub(crate) const NOW: Instant = Instant::ORIGIN;

const CONSUMER_TAG: &str = "ctag-1.1";

/// An open connection, and its channel, which consumes.
pub(crate) struct Scene {
    /// The connection. Its outbox and its events are empty.
    pub(crate) connection: Connection,
    /// The channel.
    pub(crate) channel: ChannelId,
}

impl Scene {
    /// Plays the broker's part until messages can travel.
    pub(crate) fn new() -> Self {
        let mut connection = Connection::new(Config::default(), NOW);
        answer(&mut connection, 0, connection::Start::new(0, 9, Table::new(), &b"PLAIN"[..], &b"en_US"[..]));
        answer(&mut connection, 0, connection::Tune::new(2047, 131_072, 60));
        answer(&mut connection, 0, connection::OpenOk::new());
        let (id, _opening) = connection.open_channel().expect("the connection is open");
        answer(&mut connection, id.number(), channel::OpenOk::new());
        let consume = basic::Consume::new("orders").consumer_tag(CONSUMER_TAG);
        let (_tag, _starting) = connection.channel(id).and_then(|mut channel| channel.consume(consume)).expect("legal");
        answer(&mut connection, id.number(), basic::ConsumeOk::new(CONSUMER_TAG));
        let mut scene = Self { connection, channel: id };
        while let Some(event) = scene.connection.poll_event() {
            assert!(matches!(event, Event::Opened | Event::Answer(_)), "{event:?}");
        }
        scene.write();
        scene
    }

    /// Queues one message for the usual exchange and key.
    pub(crate) fn publish(&mut self, body: &[u8], properties: Option<&Properties>) {
        let publish = Publish::new(EXCHANGE, ROUTING_KEY).body(body);
        let publish = match properties {
            Some(properties) => publish.properties(properties),
            None => publish,
        };
        let mut channel = self.connection.channel(self.channel).expect("the channel is open");
        channel.publish(publish).expect("a legal message");
    }

    /// Takes out all that waits, as a driver does that writes without holding a lock.
    pub(crate) fn write(&mut self) -> usize {
        let mut outbox = self.connection.take_outbox();
        let octets = outbox.len();
        outbox.advance(octets);
        self.connection.recycle(outbox);
        octets
    }

    /// What the broker sends for one message.
    pub(crate) fn delivery(&self, body: &[u8], properties: &Properties) -> Bytes {
        let number = self.channel.number();
        let deliver = basic::Deliver::new(CONSUMER_TAG, 1, false, EXCHANGE, ROUTING_KEY).into();
        let header = ContentHeader::new(body.len() as u64, properties).expect("short properties");
        let mut octets = BytesMut::new();
        Frame::method(number, &deliver).expect("short names").encode(&mut octets);
        Frame::header(number, &header).encode(&mut octets);
        if !body.is_empty() {
            Frame::body(number, Bytes::copy_from_slice(body)).encode(&mut octets);
        }
        octets.freeze()
    }
}

/// One read full of this message, and how often it is in there.
pub(crate) fn one_read(message: &[u8]) -> (Vec<u8>, usize) {
    let count = READ_SIZE / message.len();
    (message.repeat(count), count)
}

/// The usual two properties.
pub(crate) fn two_properties() -> Properties {
    Properties::new().content_type("application/json").delivery_mode(2)
}

fn answer(connection: &mut Connection, channel: u16, method: impl Into<AnyMethod>) {
    let mut input = BytesMut::new();
    Frame::method(channel, &method.into()).expect("a short method").encode(&mut input);
    connection.receive(&mut input, NOW);
}
