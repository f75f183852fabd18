//! Dead letters: messages that were rejected, waited too long or found the queue full, and the `x-death` header that
//! tells their story.
//!
//! The header lists deaths by queue and reason, the latest first, each with a count.

use amqp_core::{
    Instant,
    wire::{ShortString, Table, Value},
};

use super::message::Message;

const DEATHS: &str = "x-death";

/// Why a message is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// A consumer gave it back and did not want it requeued.
    Rejected,
    /// Its time was over.
    Expired,
    /// The queue was full.
    MaxLength,
}

impl Reason {
    fn name(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::MaxLength => "maxlen",
        }
    }
}

/// The headers of a message that died in `queue`.
pub(super) fn headers(message: &Message, queue: &ShortString, reason: Reason, now: Instant) -> Table {
    let mut headers = message.headers.clone().unwrap_or_default();
    let mut deaths = deaths(&headers);
    let known = deaths.iter().position(|death| is_death(death, queue, reason));
    let latest = match known {
        Some(at) => sorted(&again(&deaths.remove(at))),
        None if deaths.is_empty() => first(message, &headers, queue, reason, now),
        None => sorted(&first(message, &headers, queue, reason, now)),
    };
    let was_alive = deaths.is_empty() && known.is_none();
    deaths.insert(0, latest);
    set(&mut headers, DEATHS, deaths.into_iter().map(Value::Table).collect::<Vec<_>>());
    if was_alive {
        set(&mut headers, "x-first-death-exchange", text(&message.exchange));
        set(&mut headers, "x-first-death-queue", text(queue));
        set(&mut headers, "x-first-death-reason", reason.name());
    }
    headers
}

/// Whether a message that arrives in `queue` again has come round without anybody having rejected it on the way: it
/// would go round for ever.
pub(super) fn is_cycle(headers: &Table, queue: &ShortString) -> bool {
    let deaths = deaths(headers);
    let Some(at) = deaths.iter().position(|death| field(death, "queue") == Some(queue.as_bytes())) else {
        return false;
    };
    deaths.iter().take(at + 1).all(|death| field(death, "reason") != Some(Reason::Rejected.name().as_bytes()))
}

fn deaths(headers: &Table) -> Vec<Table> {
    let deaths = headers.get(DEATHS).and_then(Value::as_array).unwrap_or_default();
    deaths.iter().filter_map(Value::as_table).cloned().collect()
}

fn field<'a>(death: &'a Table, name: &str) -> Option<&'a [u8]> {
    death.get(name).and_then(Value::as_bytes)
}

fn is_death(death: &Table, queue: &ShortString, reason: Reason) -> bool {
    field(death, "queue") == Some(queue.as_bytes()) && field(death, "reason") == Some(reason.name().as_bytes())
}

/// The entry of a message that dies like this for the first time.
fn first(message: &Message, headers: &Table, queue: &ShortString, reason: Reason, now: Instant) -> Table {
    let copies = headers.get("CC").and_then(Value::as_array).unwrap_or_default();
    let mut keys = vec![Value::from(&message.routing_key())];
    keys.extend(copies.iter().filter(|key| matches!(key, Value::LongString(_))).cloned());
    let mut death = Table::new()
        .with("count", 1_i64)
        .with("reason", reason.name())
        .with("queue", text(queue))
        .with("time", Value::Timestamp(now.saturating_duration_since(Instant::ORIGIN).as_secs()))
        .with("exchange", text(&message.exchange))
        .with("routing-keys", keys);
    if let Some(expiration) = message.expiration {
        death.insert("original-expiration", expiration.as_millis().to_string());
    }
    death
}

/// The entry of a message that dies in the same way once more.
fn again(death: &Table) -> Table {
    let count = death.get("count").and_then(Value::as_i64).unwrap_or(0);
    let mut death = death.clone();
    death.insert("count", count.saturating_add(1));
    death
}

/// RabbitMQ sorts the entry by name as soon as there is more than one.
fn sorted(death: &Table) -> Table {
    let mut entries: Vec<_> = death.iter().collect();
    entries.sort_by_key(|(name, _)| *name);
    entries.into_iter().map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Replaces an entry, or puts it in front of the first name that sorts behind it, where RabbitMQ puts it.
fn set(table: &mut Table, name: &'static str, value: impl Into<Value>) {
    if table.get(name).is_some() {
        table.insert(name, value);
        return;
    }
    let behind = table.iter().position(|(present, _)| present.as_bytes() > name.as_bytes()).unwrap_or(table.len());
    let mut entries: Vec<(ShortString, Value)> =
        table.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    entries.insert(behind, (name.into(), value.into()));
    *table = entries.into_iter().collect();
}

fn text(name: &ShortString) -> Value {
    Value::from(name)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;

    fn message(headers: Option<Table>) -> Message {
        Message {
            exchange: "x".into(),
            keys: vec!["k".into()],
            properties: Bytes::from_static(&[0, 0]),
            headers,
            body: Bytes::new(),
            priority: 0,
            persistent: false,
            expiration: None,
            wants_direct_reply: false,
        }
    }

    #[test]
    fn the_first_death_is_told_as_measured() {
        let now = Instant::from(Duration::from_secs(7));
        let headers = headers(&message(Some(Table::new().with("z", 1))), &"q".into(), Reason::Rejected, now);
        let death = Table::new()
            .with("count", 1_i64)
            .with("reason", "rejected")
            .with("queue", "q")
            .with("time", Value::Timestamp(7))
            .with("exchange", "x")
            .with("routing-keys", vec![Value::from("k")]);
        let expected = Table::new()
            .with("x-death", vec![Value::Table(death)])
            .with("x-first-death-exchange", "x")
            .with("x-first-death-queue", "q")
            .with("x-first-death-reason", "rejected")
            .with("z", 1);
        assert_eq!(headers, expected);
    }

    #[test]
    fn the_same_death_again_is_counted_and_comes_first() {
        let now = Instant::ORIGIN;
        let once = headers(&message(None), &"q".into(), Reason::Rejected, now);
        let twice = headers(&message(Some(once)), &"r".into(), Reason::Rejected, now);
        let thrice = headers(&message(Some(twice)), &"q".into(), Reason::Rejected, now);
        let told: Vec<_> = deaths(&thrice)
            .iter()
            .map(|death| (field(death, "queue").map(<[u8]>::to_vec), death.get("count").and_then(Value::as_i64)))
            .collect();
        assert_eq!(told, [(Some(b"q".to_vec()), Some(2)), (Some(b"r".to_vec()), Some(1))]);
        assert_eq!(thrice.get("x-first-death-queue"), Some(&Value::from("q")));
    }

    #[test]
    fn only_a_rejection_breaks_a_cycle() {
        let expired = headers(&message(None), &"q".into(), Reason::Expired, Instant::ORIGIN);
        assert!(is_cycle(&expired, &"q".into()));
        assert!(!is_cycle(&expired, &"r".into()));
        let rejected = headers(&message(None), &"q".into(), Reason::Rejected, Instant::ORIGIN);
        assert!(!is_cycle(&rejected, &"q".into()));
    }
}
