//! A queue: messages that wait, messages that were delivered and not acknowledged, and the consumers that take them.
//!
//! A message keeps its [`Position`] for as long as it is in the queue, so one that is given back stands where it stood.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use amqp_core::{
    Instant,
    wire::{ShortString, Table},
};

use super::{
    ConnectionId,
    arguments::{Overflow, QueueSettings},
    consumers::Consumers,
    message::Message,
};

/// A queue as others remember it: the name, and which of the queues that had that name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct QueueRef {
    pub(super) name: ShortString,
    pub(super) number: u64,
}

/// Where a message stands: higher priorities first, then in the order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    rank: u8,
    sequence: u64,
}

/// A message in a queue.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) message: Arc<Message>,
    /// Whether it was delivered before.
    pub(super) redelivered: bool,
    /// When its time is over.
    pub(super) expires: Option<Instant>,
}

/// What a queue was declared with.
#[derive(Clone, Debug)]
pub(super) struct Declared {
    pub(super) durable: bool,
    pub(super) auto_delete: bool,
    /// The connection that it belongs to, if it is exclusive.
    pub(super) owner: Option<ConnectionId>,
    pub(super) arguments: Table,
    pub(super) settings: QueueSettings,
}

/// A queue.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    pub(super) number: u64,
    pub(super) declared: Declared,
    pub(super) consumers: Consumers,
    ready: BTreeMap<Position, Stored>,
    ready_octets: u64,
    unacked: BTreeMap<Position, Stored>,
    next_sequence: u64,
    used_at: Instant,
}

impl Queue {
    /// An empty queue.
    pub(super) fn new(number: u64, declared: Declared, now: Instant) -> Self {
        let consumers = Consumers::new(declared.settings.single_active);
        Self {
            number,
            declared,
            consumers,
            ready: BTreeMap::new(),
            ready_octets: 0,
            unacked: BTreeMap::new(),
            next_sequence: 0,
            used_at: now,
        }
    }

    /// Adds a message at the end of those with its priority, and says when its time will be over.
    pub(super) fn push(&mut self, message: Arc<Message>, now: Instant) -> Option<Instant> {
        let settings = &self.declared.settings;
        let time_to_live = match (settings.message_ttl, message.expiration) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        let expires = time_to_live.map(|duration| now.saturating_add(duration));
        let priority = settings.max_priority.map_or(0, |most| message.priority.min(most));
        let position = Position { rank: u8::MAX - priority, sequence: self.next_sequence };
        self.next_sequence += 1;
        self.insert(position, Stored { message, redelivered: false, expires });
        expires
    }

    /// Takes the first waiting message. It stays known under its position until it is settled, unless nobody will.
    pub(super) fn take(&mut self, no_ack: bool) -> Option<(Position, Stored)> {
        let (position, stored) = self.pop()?;
        if !no_ack {
            self.unacked.insert(position, stored.clone());
        }
        Some((position, stored))
    }

    /// Forgets a delivered message, and gives it to whoever wants to do something with it.
    pub(super) fn settle(&mut self, position: Position) -> Option<Stored> {
        self.unacked.remove(&position)
    }

    /// Puts a delivered message back where it stood, and says when its time will be over.
    pub(super) fn requeue(&mut self, position: Position) -> Option<Instant> {
        let stored = self.unacked.remove(&position)?;
        let expires = stored.expires;
        self.insert(position, Stored { redelivered: true, ..stored });
        expires
    }

    /// Takes the first message out if its time is over. Behind one whose time is not, nothing expires: RabbitMQ looks
    /// at the first only.
    pub(super) fn take_expired(&mut self, now: Instant) -> Option<Stored> {
        let expires = self.ready.first_key_value()?.1.expires?;
        if expires <= now { self.pop().map(|(_, stored)| stored) } else { None }
    }

    /// Takes the first message out if there are more than there may be.
    pub(super) fn take_surplus(&mut self) -> Option<Stored> {
        let settings = &self.declared.settings;
        let surplus = settings.max_length.is_some_and(|most| self.ready.len() as u64 > most)
            || settings.max_length_bytes.is_some_and(|most| self.ready_octets > most);
        if surplus && settings.overflow == Overflow::DropHead { self.pop().map(|(_, stored)| stored) } else { None }
    }

    /// Takes all waiting messages out and counts them.
    pub(super) fn purge(&mut self) -> usize {
        self.ready_octets = 0;
        std::mem::take(&mut self.ready).len()
    }

    /// Notes that the queue is in use.
    pub(super) fn touch(&mut self, now: Instant) {
        self.used_at = now;
    }

    /// Keeps what survives a restart of the broker.
    pub(super) fn restart(&mut self, now: Instant) {
        let positions: Vec<Position> = self.unacked.keys().copied().collect();
        for position in positions {
            self.requeue(position);
        }
        self.ready.retain(|_, stored| stored.message.persistent);
        self.ready_octets = self.ready.values().map(Stored::octets).sum();
        self.consumers = Consumers::new(self.declared.settings.single_active);
        self.used_at = now;
    }

    /// Whether the queue refuses messages because it is full.
    pub(super) fn refuses(&self, message: &Message) -> bool {
        let settings = &self.declared.settings;
        let octets = self.ready_octets + message.body.len() as u64;
        settings.overflow != Overflow::DropHead
            && (settings.max_length.is_some_and(|most| self.ready.len() as u64 >= most)
                || settings.max_length_bytes.is_some_and(|most| octets > most))
    }

    /// When the queue goes because nobody uses it.
    pub(super) fn unused_until(&self) -> Option<Instant> {
        let expires: Duration = self.declared.settings.expires?;
        self.consumers.is_empty().then(|| self.used_at.saturating_add(expires))
    }

    /// How many messages wait.
    pub(super) fn ready(&self) -> usize {
        self.ready.len()
    }

    /// How many messages were delivered and not acknowledged.
    pub(super) fn unacked(&self) -> usize {
        self.unacked.len()
    }

    /// Whether another connection than `connection` owns the queue.
    pub(super) fn is_locked(&self, connection: ConnectionId) -> bool {
        self.declared.owner.is_some_and(|owner| owner != connection)
    }

    fn insert(&mut self, position: Position, stored: Stored) {
        self.ready_octets += stored.octets();
        self.ready.insert(position, stored);
    }

    fn pop(&mut self) -> Option<(Position, Stored)> {
        let (position, stored) = self.ready.pop_first()?;
        self.ready_octets -= stored.octets();
        Some((position, stored))
    }
}

impl Stored {
    fn octets(&self) -> u64 {
        self.message.body.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn queue(settings: QueueSettings) -> Queue {
        let arguments = Table::new();
        let declared = Declared { durable: false, auto_delete: false, owner: None, arguments, settings };
        Queue::new(1, declared, Instant::ORIGIN)
    }

    fn message(body: &'static str, priority: u8) -> Arc<Message> {
        Arc::new(Message {
            exchange: "".into(),
            keys: vec!["q".into()],
            properties: Bytes::from_static(&[0, 0]),
            headers: None,
            body: Bytes::from_static(body.as_bytes()),
            priority,
            persistent: false,
            expiration: None,
            wants_direct_reply: false,
        })
    }

    fn filled(settings: QueueSettings, bodies: &[(&'static str, u8)]) -> Queue {
        let mut queue = queue(settings);
        for &(body, priority) in bodies {
            queue.push(message(body, priority), Instant::ORIGIN);
        }
        queue
    }

    fn drain(queue: &mut Queue) -> Vec<(String, bool)> {
        std::iter::from_fn(|| queue.take(true))
            .map(|(_, stored)| (String::from_utf8_lossy(&stored.message.body).into_owned(), stored.redelivered))
            .collect()
    }

    #[test]
    fn what_is_given_back_stands_where_it_stood() {
        let mut queue = filled(QueueSettings::default(), &[("a", 0), ("b", 0), ("c", 0)]);
        let (first, _) = queue.take(false).expect("ready");
        let (second, _) = queue.take(false).expect("ready");
        queue.requeue(second);
        queue.requeue(first);
        assert_eq!(drain(&mut queue), [("a".into(), true), ("b".into(), true), ("c".into(), false)]);
    }

    #[test]
    fn higher_priorities_come_first_and_are_capped() {
        let settings = QueueSettings { max_priority: Some(5), ..QueueSettings::default() };
        let mut queue = filled(settings, &[("1", 1), ("9", 9), ("5", 5), ("3", 3), ("0", 0), ("7", 7)]);
        let order: Vec<String> = drain(&mut queue).into_iter().map(|(body, _)| body).collect();
        assert_eq!(order, ["9", "5", "7", "3", "1", "0"]);
    }

    #[test]
    fn only_the_first_message_expires() {
        let mut queue = filled(QueueSettings::default(), &[("a", 0)]);
        let short = Message { expiration: Some(Duration::from_millis(20)), ..Message::clone(&message("b", 0)) };
        let due = queue.push(Arc::new(short), Instant::ORIGIN).expect("it expires");
        assert!(queue.take_expired(due).is_none(), "the first message never expires");
        queue.take(true);
        assert!(queue.take_expired(due).is_some());
    }

    #[test]
    fn a_full_queue_drops_its_head_or_refuses() {
        let limited = |overflow| QueueSettings { max_length: Some(1), overflow, ..QueueSettings::default() };
        let mut queue = filled(limited(Overflow::DropHead), &[("a", 0), ("b", 0)]);
        assert!(queue.take_surplus().is_some_and(|stored| &stored.message.body[..] == b"a"));
        assert!(queue.take_surplus().is_none());
        let queue = filled(limited(Overflow::RejectPublish), &[("a", 0)]);
        assert!(queue.refuses(&message("b", 0)));
    }
}
