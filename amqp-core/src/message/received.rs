//! What comes from the broker: deliveries, fetched and returned messages.
//!
//! [`Message`] is what they have in common; the three types add what only they have.

use core::{fmt, ops::Deref, str};

use bytes::Bytes;

use crate::{
    channel_id::ChannelId,
    frame::decode_properties,
    method::{Properties, ReplyCode, basic},
    wire::{Malformed, Reader, ShortStr, Table},
};

/// Where the names stand in the frame of a method that carries a message.
#[derive(Clone, Debug)]
pub(crate) struct Envelope {
    /// The payload of the method's frame; what was behind it may follow.
    payload: Bytes,
    /// Positions of the length octets of the names; [`NOWHERE`] if there is no such name.
    first_name_at: u16,
    exchange_at: u16,
    routing_key_at: u16,
    /// The delivery tag; zero for a returned message.
    pub(crate) delivery_tag: u64,
    redelivered: bool,
    /// The reply code of a returned message, the number of messages left for a fetched one.
    number: u32,
}

/// No position: a payload of three short strings does not reach this far.
const NOWHERE: u16 = u16::MAX;

impl Envelope {
    /// Reads the payload of a `basic.deliver`.
    pub(crate) fn deliver(payload: Bytes) -> Result<Self, Malformed> {
        let Deliver { delivery_tag, redelivered, exchange_at, routing_key_at, .. } = Deliver::read(&payload)?;
        Ok(Self { payload, first_name_at: 4, exchange_at, routing_key_at, delivery_tag, redelivered, number: 0 })
    }

    #[inline]
    fn of_delivery(method: &Deliver<'_>, payload: Bytes) -> Self {
        let Deliver { delivery_tag, redelivered, exchange_at, routing_key_at, .. } = *method;
        Self { payload, first_name_at: 4, exchange_at, routing_key_at, delivery_tag, redelivered, number: 0 }
    }

    /// Reads the payload of a `basic.get-ok`.
    pub(crate) fn got(payload: Bytes) -> Result<Self, Malformed> {
        let mut reader = Reader::new(&payload);
        reader.long()?;
        let delivery_tag = reader.long_long()?;
        let redelivered = reader.bits()?.bit(0);
        let exchange_at = position(&payload, &reader);
        reader.short_str()?;
        let routing_key_at = position(&payload, &reader);
        reader.short_str()?;
        let number = reader.long()?;
        reader.finish()?;
        Ok(Self { payload, first_name_at: NOWHERE, exchange_at, routing_key_at, delivery_tag, redelivered, number })
    }

    /// Reads the payload of a `basic.return`.
    pub(crate) fn returned(payload: Bytes) -> Result<Self, Malformed> {
        let mut reader = Reader::new(&payload);
        reader.long()?;
        let number = reader.short()?.into();
        let first_name_at = position(&payload, &reader);
        reader.short_str()?;
        let exchange_at = position(&payload, &reader);
        reader.short_str()?;
        let routing_key_at = position(&payload, &reader);
        reader.short_str()?;
        reader.finish()?;
        Ok(Self { payload, first_name_at, exchange_at, routing_key_at, delivery_tag: 0, redelivered: false, number })
    }

    /// The consumer tag of a delivery, the reply text of a returned message.
    pub(crate) fn first_name(&self) -> ShortStr<'_> {
        self.name(self.first_name_at)
    }

    fn name(&self, at: u16) -> ShortStr<'_> {
        let name = self.payload.get(usize::from(at)..).and_then(|rest| {
            let (length, rest) = rest.split_first()?;
            rest.get(..usize::from(*length))
        });
        ShortStr::new(name.unwrap_or_default())
    }
}

/// How far `reader` has come in `payload`.
fn position(payload: &Bytes, reader: &Reader<'_>) -> u16 {
    u16::try_from(payload.len().saturating_sub(reader.remaining())).unwrap_or(NOWHERE)
}

/// The payload of a `basic.deliver`. Its layout is fixed and every delivery comes through here, so it is read directly
/// and not through nom.
pub(crate) struct Deliver<'a> {
    pub(crate) consumer_tag: ShortStr<'a>,
    delivery_tag: u64,
    redelivered: bool,
    exchange_at: u16,
    routing_key_at: u16,
}

impl<'a> Deliver<'a> {
    #[inline]
    pub(crate) fn read(payload: &'a [u8]) -> Result<Self, Malformed> {
        let (consumer_tag, rest) = payload.get(4..).and_then(split_short_string).ok_or(Malformed::Truncated)?;
        let (delivery_tag, rest) = rest.split_first_chunk().ok_or(Malformed::Truncated)?;
        let (bits, exchange) = rest.split_first().ok_or(Malformed::Truncated)?;
        let (_, routing_key) = split_short_string(exchange).ok_or(Malformed::Truncated)?;
        let (_, rest) = split_short_string(routing_key).ok_or(Malformed::Truncated)?;
        if !rest.is_empty() {
            return Err(Malformed::TrailingOctets);
        }
        let position = |rest: &[u8]| u16::try_from(payload.len().saturating_sub(rest.len())).unwrap_or(NOWHERE);
        Ok(Self {
            consumer_tag: ShortStr::new(consumer_tag),
            delivery_tag: u64::from_be_bytes(*delivery_tag),
            redelivered: bits & 1 == 1,
            exchange_at: position(exchange),
            routing_key_at: position(routing_key),
        })
    }
}

/// The short string at the start of `octets`, and what comes behind it.
#[inline]
fn split_short_string(octets: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, octets) = octets.split_first()?;
    octets.split_at_checked(usize::from(*length))
}

/// A message as the broker sent it: where it was published, its properties, its body.
///
/// All parts are slices of the buffer that the message was read into.
#[derive(Clone)]
pub struct Message {
    channel: ChannelId,
    envelope: Envelope,
    /// Where the properties start in the slice of the envelope. They go to its end: one slice costs less than two.
    properties_at: u16,
    body: Bytes,
}

impl Message {
    /// A message that was put together from pieces: its properties are copied behind the method.
    pub(crate) fn new(channel: ChannelId, mut envelope: Envelope, properties: &[u8], body: Bytes) -> Self {
        let properties_at = u16::try_from(envelope.payload.len()).unwrap_or(NOWHERE);
        envelope.payload = [&envelope.payload, properties].concat().into();
        Self { channel, envelope, properties_at, body }
    }

    /// A message for a consumer; `frames` goes from the method's payload to the end of the header's, of which the last
    /// `properties` octets are the properties.
    #[inline]
    pub(crate) fn delivered(
        channel: ChannelId,
        method: &Deliver<'_>,
        frames: Bytes,
        properties: usize,
        body: Bytes,
    ) -> Self {
        let properties_at = u16::try_from(frames.len().saturating_sub(properties)).unwrap_or(NOWHERE);
        Self { channel, envelope: Envelope::of_delivery(method, frames), properties_at, body }
    }

    /// The channel that it came on.
    pub fn channel(&self) -> ChannelId {
        self.channel
    }

    /// The exchange that it was published to; empty for the default exchange.
    pub fn exchange(&self) -> ShortStr<'_> {
        self.envelope.name(self.envelope.exchange_at)
    }

    /// The routing key that it was published with.
    pub fn routing_key(&self) -> ShortStr<'_> {
        self.envelope.name(self.envelope.routing_key_at)
    }

    /// The properties, decoded. An error if the publisher's octets are not properties; the message is intact.
    pub fn properties(&self) -> Result<Properties, Malformed> {
        decode_properties(&self.envelope.payload.slice_ref(self.encoded_properties()))
    }

    /// The application headers, decoded; empty when there are none.
    pub fn headers(&self) -> Result<Table, Malformed> {
        self.properties()?.headers.map_or(Ok(Table::new()), |headers| headers.table())
    }

    /// Property flags and properties as they were received.
    pub fn encoded_properties(&self) -> &[u8] {
        self.envelope.payload.get(usize::from(self.properties_at)..).unwrap_or_default()
    }

    /// The body.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The body as text, if it is UTF-8.
    pub fn body_str(&self) -> Result<&str, str::Utf8Error> {
        str::from_utf8(&self.body)
    }

    /// Copies the message into memory of its own.
    ///
    /// A message shares the buffer that it was read into, up to 64 KiB, with its neighbours. Call this on a small
    /// message that is kept for long, or its whole buffer is kept with it.
    #[must_use]
    pub fn detach(&self) -> Self {
        let envelope = Envelope { payload: Bytes::copy_from_slice(&self.envelope.payload), ..self.envelope.clone() };
        Self { envelope, body: Bytes::copy_from_slice(&self.body), ..self.clone() }
    }
}

/// Equal if the broker said the same, however it came in.
impl PartialEq for Message {
    fn eq(&self, other: &Self) -> bool {
        let fixed = |message: &Self| {
            let Envelope { delivery_tag, redelivered, number, .. } = message.envelope;
            (message.channel, delivery_tag, redelivered, number)
        };
        fixed(self) == fixed(other)
            && self.envelope.first_name() == other.envelope.first_name()
            && self.exchange() == other.exchange()
            && self.routing_key() == other.routing_key()
            && self.encoded_properties() == other.encoded_properties()
            && self.body == other.body
    }
}

impl fmt::Debug for Message {
    /// Shows the body's size, not the body: it may be large, and secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("channel", &self.channel.number())
            .field("exchange", &self.exchange())
            .field("routing_key", &self.routing_key())
            .field("body", &format_args!("{} octets", self.body.len()))
            .finish()
    }
}

/// A message for a consumer (class `basic`, method `deliver`), or one that was fetched.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    message: Message,
    no_ack: bool,
}

impl Delivery {
    pub(crate) fn new(message: Message, no_ack: bool) -> Self {
        Self { message, no_ack }
    }

    /// The tag of the consumer that it is for; empty for a message that was fetched.
    pub fn consumer_tag(&self) -> ShortStr<'_> {
        self.message.envelope.first_name()
    }

    /// The number by which this channel acknowledges it.
    pub fn delivery_tag(&self) -> u64 {
        self.message.envelope.delivery_tag
    }

    /// Whether it was handed out before. False does not promise that it was not.
    pub fn redelivered(&self) -> bool {
        self.message.envelope.redelivered
    }

    /// Whether the broker considers it settled already, because it was asked for without acknowledgements.
    pub fn no_ack(&self) -> bool {
        self.no_ack
    }

    /// The request that acknowledges it. Nothing happens until it is sent.
    pub fn ack(&self) -> basic::Ack {
        basic::Ack::new(self.delivery_tag())
    }

    /// The request that gives it back to its queue.
    pub fn nack(&self) -> basic::Nack {
        basic::Nack::new(self.delivery_tag())
    }

    /// The request that has it dropped, or dead-lettered if its queue says so.
    pub fn reject(&self) -> basic::Reject {
        basic::Reject::new(self.delivery_tag())
    }

    /// Copies it into memory of its own, as [`Message::detach`].
    #[must_use]
    pub fn detach(&self) -> Self {
        Self { message: self.message.detach(), no_ack: self.no_ack }
    }
}

impl Deref for Delivery {
    type Target = Message;

    fn deref(&self) -> &Message {
        &self.message
    }
}

/// A message that was fetched from a queue (class `basic`, method `get-ok`).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Got {
    /// The message.
    pub delivery: Delivery,
    /// How many messages are left in the queue.
    pub message_count: u32,
}

impl Got {
    pub(crate) fn new(message: Message, no_ack: bool) -> Self {
        let message_count = message.envelope.number;
        Self { delivery: Delivery::new(message, no_ack), message_count }
    }
}

/// A mandatory message that reached no queue and came back (class `basic`, method `return`).
#[derive(Clone, Debug, PartialEq)]
pub struct Returned {
    message: Message,
}

impl Returned {
    pub(crate) fn new(message: Message) -> Self {
        Self { message }
    }

    /// Why it came back: 312 `NO_ROUTE` on RabbitMQ.
    pub fn reply_code(&self) -> ReplyCode {
        ReplyCode(u16::try_from(self.message.envelope.number).unwrap_or(0))
    }

    /// Why it came back, in the broker's words.
    pub fn reply_text(&self) -> ShortStr<'_> {
        self.message.envelope.first_name()
    }
}

impl fmt::Display for Returned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (exchange, key) = (self.exchange(), self.routing_key());
        write!(f, "{} {}, exchange {exchange:?}, routing key {key:?}", self.reply_code().0, self.reply_text())
    }
}

impl Deref for Returned {
    type Target = Message;

    fn deref(&self) -> &Message {
        &self.message
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_the_payload() {
        let payload = b"\0\x3c\0\x3c\x03tag\0\0\0\0\0\0\0\x07\x01\x02ex\x03key";
        let envelope = Envelope::deliver(Bytes::from_static(payload)).unwrap();
        let message = Message::new(ChannelId::new(1, 0), envelope, &[0, 0], Bytes::new());
        let delivery = Delivery::new(message, false);
        assert_eq!(delivery.consumer_tag(), "tag");
        assert_eq!(delivery.delivery_tag(), 7);
        assert!(delivery.redelivered());
        assert_eq!((delivery.exchange(), delivery.routing_key()), (ShortStr::new(b"ex"), ShortStr::new(b"key")));
        assert_eq!(delivery.detach(), delivery);
    }

    #[test]
    fn every_truncation_is_malformed() {
        let payload = b"\0\x3c\0\x3c\x03tag\0\0\0\0\0\0\0\x07\x01\x02ex\x03key";
        for length in 0..payload.len() {
            let result = Envelope::deliver(Bytes::copy_from_slice(&payload[..length]));
            assert_eq!(result.err(), Some(Malformed::Truncated), "cut at {length}");
        }
    }
}
