//! The optional arguments of queues and exchanges: what they may be, and when two declarations agree.

use std::time::Duration;

use amqp_core::wire::{ShortString, Table, Value};

use super::{
    erlang,
    fault::{Entity, Fault},
    message::MAX_MILLISECONDS,
};

/// What is compared when a queue is declared again, in this order.
const QUEUE_KEYS: [&str; 13] = [
    "x-expires",
    "x-message-ttl",
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-max-length",
    "x-max-length-bytes",
    "x-overflow",
    "x-max-priority",
    "x-queue-mode",
    "x-queue-version",
    "x-single-active-consumer",
    "x-queue-type",
    "x-queue-master-locator",
];

/// What a queue was declared to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct QueueSettings {
    /// `x-expires`: how long the queue lives without being used.
    pub(super) expires: Option<Duration>,
    /// `x-message-ttl`: how long a message may wait.
    pub(super) message_ttl: Option<Duration>,
    /// `x-dead-letter-exchange` and `x-dead-letter-routing-key`.
    pub(super) dead_letter: Option<DeadLetter>,
    /// `x-max-length`: how many messages may wait.
    pub(super) max_length: Option<u64>,
    /// `x-max-length-bytes`: how many octets of bodies may wait.
    pub(super) max_length_bytes: Option<u64>,
    /// `x-overflow`: what happens to the message too many.
    pub(super) overflow: Overflow,
    /// `x-max-priority`: the highest priority, if the queue knows any.
    pub(super) max_priority: Option<u8>,
    /// `x-single-active-consumer`: whether only one consumer at a time gets messages.
    pub(super) single_active: bool,
}

/// Where dead messages go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DeadLetter {
    /// The exchange they are published to.
    pub(super) exchange: ShortString,
    /// Their new routing key; their own if there is none.
    pub(super) routing_key: Option<ShortString>,
}

/// What happens when a queue is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Overflow {
    /// The oldest messages go.
    #[default]
    DropHead,
    /// New messages are refused.
    RejectPublish,
    /// New messages are refused, and dead-lettered.
    RejectPublishDeadLetter,
}

impl QueueSettings {
    /// Checks the arguments of a queue that is being created.
    pub(super) fn parse(arguments: &Table, queue: Entity<'_>) -> Result<Self, Fault> {
        let check = Check { arguments, queue };
        let expires = check.milliseconds("x-expires", 1)?;
        let message_ttl = check.milliseconds("x-message-ttl", 0)?;
        let dead_letter = check.dead_letter()?;
        let max_length = check.natural("x-max-length", i64::MAX)?;
        let max_length_bytes = check.natural("x-max-length-bytes", i64::MAX)?;
        let overflow = check.overflow()?;
        let max_priority = check.max_priority()?;
        check.one_of("x-queue-mode", &["default", "lazy"], "queue mode")?;
        check.natural("x-queue-version", 2)?;
        let single_active = check.boolean("x-single-active-consumer")?;
        check.one_of("x-queue-type", &["classic", "quorum"], "queue type")?;
        Ok(Self {
            expires,
            message_ttl,
            dead_letter,
            max_length,
            max_length_bytes,
            overflow,
            max_priority,
            single_active,
        })
    }
}

/// Whether a queue is declared as a quorum queue, which some properties are not for.
pub(super) fn is_quorum(arguments: &Table) -> bool {
    arguments.get("x-queue-type").and_then(Value::as_str) == Some("quorum")
}

/// Checks that a queue is declared again with the arguments it has.
pub(super) fn assert_same_queue(received: &Table, current: &Table, queue: Entity<'_>) -> Result<(), Fault> {
    for key in QUEUE_KEYS {
        let classic = (key == "x-queue-type").then(|| Value::from("classic"));
        let pick = |table: &Table| table.get(key).cloned().or_else(|| classic.clone());
        if !same(pick(received).as_ref(), pick(current).as_ref()) {
            return Err(inequivalent(key, received, current, queue));
        }
    }
    Ok(())
}

/// Checks that an exchange is declared again with the arguments it has.
pub(super) fn assert_same_exchange(received: &Table, current: &Table, exchange: Entity<'_>) -> Result<(), Fault> {
    const KEY: &str = "alternate-exchange";
    if same(received.get(KEY), current.get(KEY)) {
        return Ok(());
    }
    Err(inequivalent(KEY, received, current, exchange))
}

fn inequivalent(key: &str, received: &Table, current: &Table, entity: Entity<'_>) -> Fault {
    let (received, current) = (received.get(key), current.get(key));
    match (received, current) {
        (Some(received), Some(current)) => {
            let quoted = |value| format!("'{}'", erlang::value(value));
            Fault::inequivalent(key, entity, quoted(received), quoted(current))
        }
        _ => Fault::inequivalent(key, entity, describe(received), describe(current)),
    }
}

fn describe(value: Option<&Value>) -> String {
    match value {
        None => "none".to_owned(),
        Some(value) => format!("the value '{}' of type '{}'", erlang::value(value), erlang::type_name(value)),
    }
}

/// Integers agree whatever their width.
fn same(one: Option<&Value>, other: Option<&Value>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one == other || (one.as_i64().is_some() && one.as_i64() == other.as_i64()),
        (one, other) => one.is_none() && other.is_none(),
    }
}

/// The name of another exchange in an argument such as `alternate-exchange`.
pub(super) fn exchange_name(arguments: &Table, key: &str, entity: Entity<'_>) -> Result<Option<ShortString>, Fault> {
    match arguments.get(key) {
        None => Ok(None),
        Some(Value::LongString(name)) => Ok(Some(ShortString::from(name.clone()).detach())),
        Some(other) => {
            let kind = erlang::type_name(other);
            let place = entity.kind();
            // RabbitMQ has its own sentence for the names of exchanges.
            let rest = entity.to_string();
            let rest = rest.strip_prefix(place).unwrap_or(&rest);
            Err(Fault::precondition(format_args!("invalid type '{kind}' for arg '{key}' in {place}{rest}")))
        }
    }
}

/// The priority of a consumer, `x-priority`.
pub(super) fn consumer_priority(arguments: &Table, queue: Entity<'_>) -> Result<i64, Fault> {
    Check { arguments, queue }.integer("x-priority").map(Option::unwrap_or_default)
}

/// The arguments of one queue under inspection.
struct Check<'a> {
    arguments: &'a Table,
    queue: Entity<'a>,
}

impl Check<'_> {
    fn refuse(&self, key: &str, reason: impl std::fmt::Display) -> Fault {
        Fault::precondition(format_args!("invalid arg '{key}' for {}: {reason}", self.queue))
    }

    fn refuse_type(&self, key: &str, value: &Value) -> Fault {
        self.refuse(key, format_args!("{{unacceptable_type,{}}}", erlang::type_name(value)))
    }

    fn integer(&self, key: &str) -> Result<Option<i64>, Fault> {
        let Some(value) = self.arguments.get(key) else { return Ok(None) };
        match value.as_i64() {
            Some(integer) => Ok(Some(integer)),
            None => {
                let kind = erlang::type_name(value);
                Err(self.refuse(key, format_args!("\"expected integer, got {kind}\"")))
            }
        }
    }

    fn natural(&self, key: &str, most: i64) -> Result<Option<u64>, Fault> {
        let Some(integer) = self.integer(key)? else { return Ok(None) };
        match u64::try_from(integer) {
            Err(_) => Err(self.refuse(key, format_args!("{{value_negative,{integer}}}"))),
            Ok(_) if integer > most => Err(self.refuse(key, format_args!("{{value_too_large,{integer}}}"))),
            Ok(natural) => Ok(Some(natural)),
        }
    }

    fn milliseconds(&self, key: &str, least: u64) -> Result<Option<Duration>, Fault> {
        match self.natural(key, MAX_MILLISECONDS)? {
            Some(number) if number < least => Err(self.refuse(key, format_args!("{{value_zero,{number}}}"))),
            number => Ok(number.map(Duration::from_millis)),
        }
    }

    fn max_priority(&self) -> Result<Option<u8>, Fault> {
        const KEY: &str = "x-max-priority";
        let Some(number) = self.natural(KEY, i64::MAX)? else { return Ok(None) };
        match u8::try_from(number) {
            Ok(priority) => Ok(Some(priority)),
            Err(_) => Err(self.refuse(KEY, format_args!("{{max_value_exceeded,{number}}}"))),
        }
    }

    fn boolean(&self, key: &str) -> Result<bool, Fault> {
        match self.arguments.get(key) {
            None => Ok(false),
            Some(Value::Bool(value)) => Ok(*value),
            Some(other) => Err(self.refuse_type(key, other)),
        }
    }

    fn one_of(&self, key: &str, known: &[&str], what: &str) -> Result<(), Fault> {
        match self.arguments.get(key) {
            None => Ok(()),
            Some(Value::LongString(word)) if known.iter().any(|known| known.as_bytes() == &word[..]) => Ok(()),
            Some(value @ Value::LongString(_)) => {
                let word = erlang::value(value);
                Err(self.refuse(key, format_args!("\"unsupported {what} '{word}'\"")))
            }
            Some(other) => Err(self.refuse_type(key, other)),
        }
    }

    fn overflow(&self) -> Result<Overflow, Fault> {
        const KEY: &str = "x-overflow";
        match self.arguments.get(KEY) {
            None => Ok(Overflow::default()),
            Some(Value::LongString(word)) => match &word[..] {
                b"drop-head" => Ok(Overflow::DropHead),
                b"reject-publish" => Ok(Overflow::RejectPublish),
                b"reject-publish-dlx" => Ok(Overflow::RejectPublishDeadLetter),
                _ => Err(self.refuse(KEY, "invalid_overflow")),
            },
            Some(other) => Err(self.refuse_type(KEY, other)),
        }
    }

    fn dead_letter(&self) -> Result<Option<DeadLetter>, Fault> {
        const KEY: &str = "x-dead-letter-routing-key";
        let exchange = exchange_name(self.arguments, "x-dead-letter-exchange", self.queue)?;
        let routing_key = match self.arguments.get(KEY) {
            None => None,
            Some(Value::LongString(key)) => Some(ShortString::from(key.clone()).detach()),
            Some(other) => return Err(self.refuse_type(KEY, other)),
        };
        match exchange {
            Some(exchange) => Ok(Some(DeadLetter { exchange, routing_key })),
            None if routing_key.is_some() => Err(self.refuse(KEY, "routing_key_but_no_dlx_defined")),
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use amqp_core::method::ReplyCode;

    use super::*;

    fn parse(key: &str, value: impl Into<Value>) -> Result<QueueSettings, String> {
        let (name, vhost) = (ShortString::from("q"), ShortString::from("/"));
        let arguments = Table::new().with(key, value);
        QueueSettings::parse(&arguments, Entity::queue(&name, &vhost)).map_err(words)
    }

    fn words(fault: Fault) -> String {
        match fault {
            Fault::Channel(ReplyCode::PRECONDITION_FAILED, words) => words,
            other => panic!("not a 406: {other:?}"),
        }
    }

    #[test]
    fn bad_arguments_are_refused_in_rabbitmqs_words() {
        let refused = |key: &str, value: Value, reason: &str| {
            let expected = format!("invalid arg '{key}' for queue 'q' in vhost '/': {reason}");
            assert_eq!(parse(key, value), Err(expected));
        };
        refused("x-message-ttl", "a".into(), "\"expected integer, got longstr\"");
        refused("x-message-ttl", (-1).into(), "{value_negative,-1}");
        refused("x-message-ttl", (1_i64 << 40).into(), "{value_too_large,1099511627776}");
        refused("x-expires", 0.into(), "{value_zero,0}");
        refused("x-overflow", "zzz".into(), "invalid_overflow");
        refused("x-overflow", 1.into(), "{unacceptable_type,signedint}");
        refused("x-max-priority", 256.into(), "{max_value_exceeded,256}");
        refused("x-dead-letter-routing-key", "a".into(), "routing_key_but_no_dlx_defined");
        refused("x-single-active-consumer", 5.into(), "{unacceptable_type,signedint}");
        refused("x-queue-type", "zzz".into(), "\"unsupported queue type 'zzz'\"");
        refused("x-queue-mode", "zzz".into(), "\"unsupported queue mode 'zzz'\"");
        let words = "invalid type 'signedint' for arg 'x-dead-letter-exchange' in queue 'q' in vhost '/'";
        assert_eq!(parse("x-dead-letter-exchange", 5), Err(words.to_owned()));
        assert_eq!(parse("x-unheard-of", 5), Ok(QueueSettings::default()));
    }

    #[test]
    fn declarations_differ_in_rabbitmqs_words() {
        let (name, vhost) = (ShortString::from("q"), ShortString::from("/"));
        let compare = |received: Table, current: Table| {
            assert_same_queue(&received, &current, Entity::queue(&name, &vhost)).map_err(words)
        };
        let limited = |limit: Value| Table::new().with("x-max-length", limit);
        let differs = |rest: &str| Err(format!("inequivalent arg 'x-max-length' for queue 'q' in vhost '/': {rest}"));
        assert_eq!(compare(limited(5.into()), limited(5_i64.into())), Ok(()));
        assert_eq!(compare(limited(6.into()), limited(5.into())), differs("received '6' but current is '5'"));
        let words = "received the value '5' of type 'signedint' but current is none";
        assert_eq!(compare(limited(5.into()), Table::new()), differs(words));
        let words = "received none but current is the value '5' of type 'signedint'";
        assert_eq!(compare(Table::new(), limited(5.into())), differs(words));
        assert_eq!(compare(Table::new().with("x-queue-type", "classic"), Table::new()), Ok(()));
        assert_eq!(compare(Table::new().with("foo", "bar"), Table::new()), Ok(()));
    }
}
