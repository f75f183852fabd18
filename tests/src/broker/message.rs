//! A message as the broker keeps it: checked once, when it is published, and shared by all queues that hold it.
//!
//! Properties are forwarded octet for octet as they came, except that a `BCC` header is taken out.

use std::time::Duration;

use amqp_core::{
    method::Properties,
    wire::{Malformed, Reader, ShortString, Table, Value, Writer},
};
use bytes::{Bytes, BytesMut};

use super::{erlang, fault::Fault};

/// The largest body RabbitMQ 3.10 takes, in octets.
pub(super) const MAX_BODY: u64 = 128 * 1024 * 1024;
/// The queue that direct replies are consumed from, and the address that asks for them. There is no such queue.
pub(super) const DIRECT_REPLY_TO: &str = "amq.rabbitmq.reply-to";
/// The longest time-to-live RabbitMQ takes, in milliseconds: 32 bits of them.
pub(super) const MAX_MILLISECONDS: i64 = u32::MAX as i64;

/// A published message.
#[derive(Clone, Debug)]
pub(super) struct Message {
    /// The exchange it was published to.
    pub(super) exchange: ShortString,
    /// The routing key, then the keys of the `CC` and `BCC` headers.
    pub(super) keys: Vec<ShortString>,
    /// Property flags and properties, encoded.
    pub(super) properties: Bytes,
    /// The headers, if there are any that can be decoded.
    pub(super) headers: Option<Table>,
    /// The body.
    pub(super) body: Bytes,
    /// The priority; 0 if none was given.
    pub(super) priority: u8,
    /// Whether it survives a restart of the broker in a durable queue.
    pub(super) persistent: bool,
    /// How long it may wait in a queue.
    pub(super) expiration: Option<Duration>,
    /// Whether it asks for replies to the channel that published it.
    pub(super) wants_direct_reply: bool,
}

impl Message {
    /// Checks what `user` published. Nothing of it keeps the buffer alive that it was read into.
    pub(super) fn publish(
        exchange: &ShortString,
        routing_key: &ShortString,
        properties: &Bytes,
        body: Bytes,
        user: &ShortString,
    ) -> Result<Self, Fault> {
        let decoded = decode_properties(properties).map_err(|_| Fault::internal())?;
        let headers = decode_headers(&decoded)?;
        check_user(&decoded, user)?;
        let expiration = expiration(&decoded)?;
        let persistent = match decoded.delivery_mode {
            None | Some(1) => false,
            Some(2) => true,
            Some(other) => return Err(invalid(format_args!("{{delivery_mode_unknown,{other}}}"))),
        };
        let mut keys = vec![routing_key.detach()];
        for header in ["CC", "BCC"] {
            keys.extend(copies(headers.as_ref(), header)?);
        }
        let priority = decoded.priority.unwrap_or(0);
        let wants_direct_reply = decoded.reply_to.as_ref().is_some_and(|reply_to| *reply_to == DIRECT_REPLY_TO);
        let message = Self {
            exchange: exchange.detach(),
            keys,
            properties: Bytes::copy_from_slice(properties),
            headers,
            body,
            priority,
            persistent,
            expiration,
            wants_direct_reply,
        };
        Ok(message.without_blind_copies(decoded))
    }

    /// The routing key it was published with.
    pub(super) fn routing_key(&self) -> ShortString {
        self.keys.first().cloned().unwrap_or_default()
    }

    /// The same message with other headers and without its expiration, on its way to `exchange`.
    pub(super) fn republish(&self, exchange: ShortString, keys: Vec<ShortString>, headers: Table) -> Self {
        let mut properties = decode_properties(&self.properties).unwrap_or_default();
        properties.expiration = None;
        properties.headers = Some(headers.clone().into());
        Self {
            exchange,
            keys,
            properties: encode_properties(&properties).unwrap_or_else(|| self.properties.clone()),
            headers: Some(headers),
            expiration: None,
            ..self.clone()
        }
    }

    /// The same message with another address to reply to.
    pub(super) fn with_reply_to(mut self, reply_to: ShortString) -> Self {
        let mut properties = decode_properties(&self.properties).unwrap_or_default();
        properties.reply_to = Some(reply_to);
        if let Some(encoded) = encode_properties(&properties) {
            self.properties = encoded;
        }
        self
    }

    fn without_blind_copies(mut self, mut properties: Properties) -> Self {
        let Some(headers) = self.headers.as_mut() else { return self };
        if headers.remove("BCC").is_some() {
            properties.headers = Some(headers.clone().into());
            // What was just decoded can be encoded again: it has become smaller.
            if let Some(encoded) = encode_properties(&properties) {
                self.properties = encoded;
            }
        }
        self
    }
}

fn decode_properties(octets: &Bytes) -> Result<Properties, Malformed> {
    // RabbitMQ ignores the two lowest flags, though bit 0 ought to announce a second word.
    const IGNORED: u8 = 0b11;
    let octets = match octets.get(1) {
        Some(low) if low & IGNORED != 0 => {
            let mut masked = BytesMut::from(&octets[..]);
            masked[1] &= !IGNORED;
            masked.freeze()
        }
        _ => octets.clone(),
    };
    let mut reader = Reader::new(&octets);
    let properties = Properties::decode(&mut reader)?;
    reader.finish()?;
    Ok(properties)
}

fn encode_properties(properties: &Properties) -> Option<Bytes> {
    let mut out = BytesMut::new();
    let mut writer = Writer::new(&mut out);
    properties.encode(&mut writer).ok()?;
    writer.commit();
    Some(out.freeze())
}

/// Headers that are nested too deep for us pass unseen, because RabbitMQ forwards them; what it cannot read either
/// costs the connection.
fn decode_headers(properties: &Properties) -> Result<Option<Table>, Fault> {
    match properties.headers.as_ref().map(amqp_core::method::Headers::table) {
        None | Some(Err(Malformed::TooDeep | Malformed::TableTooLarge)) => Ok(None),
        Some(Ok(table)) if table.iter().any(|(_, value)| !is_finite(value)) => Err(Fault::internal()),
        Some(Ok(table)) => Ok(Some(table)),
        Some(Err(_)) => Err(Fault::internal()),
    }
}

/// Whether RabbitMQ can read the value: it has no words for floats that are infinite or not a number.
pub(super) fn is_finite(value: &Value) -> bool {
    match value {
        Value::F32(value) => value.is_finite(),
        Value::F64(value) => value.is_finite(),
        Value::Array(values) => values.iter().all(is_finite),
        Value::Table(table) => table.iter().all(|(_, value)| is_finite(value)),
        _ => true,
    }
}

fn check_user(properties: &Properties, user: &ShortString) -> Result<(), Fault> {
    match &properties.user_id {
        Some(claimed) if claimed != user => Err(Fault::precondition(format_args!(
            "user_id property set to '{claimed}' but authenticated user was '{user}'"
        ))),
        _ => Ok(()),
    }
}

fn expiration(properties: &Properties) -> Result<Option<Duration>, Fault> {
    let Some(text) = &properties.expiration else { return Ok(None) };
    let refuse = |reason: String| Fault::precondition(format_args!("invalid expiration '{text}': {reason}"));
    let text = text.to_string();
    let digits_from = usize::from(text.starts_with(['-', '+']));
    let digits = text[digits_from..].bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 {
        return Err(refuse("no_integer".to_owned()));
    }
    let (number, rest) = text.split_at(digits_from + digits);
    if !rest.is_empty() {
        return Err(refuse(format!("{{leftover_string,\"{rest}\"}}")));
    }
    // More digits than 64 bits hold are far beyond every limit.
    let number: i64 = number.parse().unwrap_or(i64::MAX);
    match u64::try_from(number) {
        Ok(milliseconds) => Ok(Some(Duration::from_millis(milliseconds))),
        Err(_) => Err(refuse(format!("{{value_negative,{number}}}"))),
    }
}

fn copies(headers: Option<&Table>, name: &str) -> Result<Vec<ShortString>, Fault> {
    match headers.and_then(|headers| headers.get(name)) {
        None => Ok(Vec::new()),
        Some(Value::Array(keys)) => Ok(keys.iter().filter_map(copy_key).collect()),
        Some(other) => {
            let kind = erlang::type_name(other);
            Err(invalid(format_args!("{{unacceptable_type_in_header,\"{name}\",{kind}}}")))
        }
    }
}

fn copy_key(value: &Value) -> Option<ShortString> {
    match value {
        Value::LongString(key) => Some(Bytes::copy_from_slice(key).into()),
        _ => None,
    }
}

fn invalid(reason: std::fmt::Arguments<'_>) -> Fault {
    Fault::precondition(format_args!("invalid message: {reason}"))
}

#[cfg(test)]
mod tests {
    use amqp_core::method::ReplyCode;

    use super::*;

    fn publish(properties: &Properties) -> Result<Message, Fault> {
        let encoded = encode_properties(properties).expect("short");
        Message::publish(&"x".into(), &"k".into(), &encoded, Bytes::new(), &"guest".into())
    }

    fn refusal(properties: &Properties) -> String {
        match publish(properties) {
            Err(Fault::Channel(ReplyCode::PRECONDITION_FAILED, words)) => words,
            other => panic!("not refused with 406: {other:?}"),
        }
    }

    #[test]
    fn an_expiration_is_decimal_milliseconds() {
        let with = |text: &str| Properties::new().expiration(text);
        assert_eq!(publish(&with("250")).expect("taken").expiration, Some(Duration::from_millis(250)));
        assert_eq!(refusal(&with("abc")), "invalid expiration 'abc': no_integer");
        assert_eq!(refusal(&with("-1")), "invalid expiration '-1': {value_negative,-1}");
        assert_eq!(refusal(&with("10s")), r#"invalid expiration '10s': {leftover_string,"s"}"#);
        assert_eq!(refusal(&with("")), "invalid expiration '': no_integer");
        assert!(publish(&with("99999999999999999999")).is_ok());
    }

    #[test]
    fn what_a_publisher_claims_about_itself_is_checked() {
        let words = "user_id property set to 'bob' but authenticated user was 'guest'";
        assert_eq!(refusal(&Properties::new().user_id("bob")), words);
        assert_eq!(refusal(&Properties::new().delivery_mode(3)), "invalid message: {delivery_mode_unknown,3}");
    }

    #[test]
    fn blind_copies_route_and_vanish() {
        let headers = Table::new()
            .with("CC", vec![Value::from("a")])
            .with("BCC", vec![Value::from("b"), Value::from(1)])
            .with("h", 1);
        let message = publish(&Properties::new().headers(headers)).expect("taken");
        assert_eq!(message.keys, ["k", "a", "b"]);
        let left = decode_properties(&message.properties).expect("valid").headers.expect("there").table();
        assert_eq!(left, Ok(Table::new().with("CC", vec![Value::from("a")]).with("h", 1)));
    }

    #[test]
    fn copies_that_are_no_array_are_refused() {
        let with = |name: &str, value: Value| Properties::new().headers(Table::new().with(name, value));
        let words = r#"invalid message: {unacceptable_type_in_header,"CC",longstr}"#;
        assert_eq!(refusal(&with("CC", Value::from("x"))), words);
        let words = r#"invalid message: {unacceptable_type_in_header,"BCC",signedint}"#;
        assert_eq!(refusal(&with("BCC", Value::from(1))), words);
    }

    #[test]
    fn undecodable_properties_are_an_internal_error() {
        let publish = |properties: &'static [u8]| {
            let properties = Bytes::from_static(properties);
            Message::publish(&"".into(), &"".into(), &properties, Bytes::new(), &"guest".into()).map(|_| ())
        };
        assert_eq!(publish(b"\x80\0\x05ab"), Err(Fault::internal()));
        assert_eq!(publish(b"\0\x01\0\0"), Err(Fault::internal()));
        assert_eq!(publish(b"\x20\0\0\0\0\x03\x01aZ"), Err(Fault::internal()));
        assert_eq!(publish(b"\0\x03"), Ok(()));
    }
}
