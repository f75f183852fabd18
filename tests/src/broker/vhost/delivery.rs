//! The way of a message: from its exchange to queues, from a queue to a consumer, back again, or to where dead
//! messages go.

use std::{collections::BTreeSet, sync::Arc};

use amqp_core::wire::ShortString;

use super::{
    super::{
        ChannelKey, ConnectionId,
        arguments::Overflow,
        death::{self, Reason},
        exchange::{Binding, Destination, Exchange, Kind},
        fault::{Entity, Fault},
        mailbox::{Delivery, Notice},
        message::Message,
        queue::{Position, QueueRef, Stored},
        routing,
    },
    Grave, VirtualHost,
};

/// What became of a message that was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::broker) enum Verdict {
    /// It is in all queues it was routed to.
    Stored,
    /// At least one of them had no room and refuses it.
    Refused,
}

/// A delivered message that somebody has to settle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::broker) struct Unacked {
    pub(in crate::broker) queue: QueueRef,
    pub(in crate::broker) position: Position,
    /// The consumer that got it; none if it was fetched.
    pub(in crate::broker) consumer: Option<ShortString>,
}

/// How a delivery ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::broker) enum Settlement {
    /// The message is done with.
    Acknowledge,
    /// The message goes back to where it stood.
    Requeue,
    /// The message is dead.
    Reject,
}

impl VirtualHost {
    /// Checks that a client may publish to an exchange.
    pub(in crate::broker) fn assert_publishable(&self, name: &ShortString) -> Result<(), Fault> {
        if name.is_empty() {
            return Ok(());
        }
        let named = Entity::exchange(name, &self.name);
        match self.exchanges.get(name) {
            None => Err(Fault::not_found(named)),
            Some(Exchange { internal: true, .. }) => {
                Err(Fault::access_refused(format_args!("cannot publish to internal {named}")))
            }
            Some(_) => Ok(()),
        }
    }

    /// The queues that a message to `exchange` ends in.
    pub(in crate::broker) fn route(&self, exchange: &ShortString, message: &Message) -> BTreeSet<ShortString> {
        if exchange.is_empty() {
            return message.keys.iter().filter(|key| self.queues.contains_key(*key)).cloned().collect();
        }
        let mut queues = BTreeSet::new();
        let mut seen = BTreeSet::from([exchange]);
        let mut to_visit = vec![exchange];
        while let Some(name) = to_visit.pop() {
            let Some(exchange) = self.exchanges.get(name) else { continue };
            let mut destinations =
                self.bindings.from(name).iter().filter(|binding| follows(exchange.kind, binding, message)).peekable();
            if destinations.peek().is_none() {
                to_visit.extend(exchange.alternate.iter().filter(|alternate| seen.insert(alternate)));
            }
            for binding in destinations {
                match &binding.destination {
                    Destination::Queue(queue) => {
                        queues.insert(queue.clone());
                    }
                    Destination::Exchange(next) => to_visit.extend(Some(next).filter(|next| seen.insert(next))),
                }
            }
        }
        queues
    }

    /// Puts a message into queues.
    pub(in crate::broker) fn publish(&mut self, message: &Arc<Message>, queues: &BTreeSet<ShortString>) -> Verdict {
        let refused = queues.iter().filter(|queue| !self.enqueue(queue, message)).count();
        self.bury();
        if refused == 0 { Verdict::Stored } else { Verdict::Refused }
    }

    /// Sends a message to a direct reply address; nothing happens if there is nobody.
    pub(in crate::broker) fn reply(&mut self, message: &Arc<Message>) {
        let Some((channel, tag)) = self.reply_addresses.get(&message.routing_key()).cloned() else { return };
        let delivery = Delivery { consumer_tag: tag, unacked: None, message: Arc::clone(message), redelivered: false };
        self.notify(channel, Notice::Deliver(delivery));
    }

    /// Fetches a message, and counts those that are left behind it.
    pub(in crate::broker) fn fetch(
        &mut self,
        name: &ShortString,
        no_ack: bool,
        connection: ConnectionId,
    ) -> Result<Option<(Unacked, Stored, usize)>, Fault> {
        let now = self.now;
        let queue = self.queue_for(name, connection)?;
        queue.touch(now);
        let number = queue.number;
        let Some((position, stored)) = queue.take(no_ack) else { return Ok(None) };
        self.expire(name);
        self.bury();
        let left = self.queues.get(name).map_or(0, super::Queue::ready);
        let queue = QueueRef { name: name.detach(), number };
        Ok(Some((Unacked { queue, position, consumer: None }, stored, left)))
    }

    /// Ends deliveries, and hands out what their queues can hand out because of it. True if the channel's own limit may
    /// have held back more, from any queue that it consumes from.
    pub(in crate::broker) fn settle(&mut self, channel: ChannelKey, deliveries: Vec<Unacked>, how: Settlement) -> bool {
        let mut concerned = BTreeSet::new();
        let mut consumer_deliveries = 0;
        for delivery in deliveries {
            consumer_deliveries += usize::from(delivery.consumer.is_some());
            self.settle_one(channel, &delivery, how);
            concerned.insert(delivery.queue.name);
        }
        let mailbox = self.mailboxes.get_mut(&channel);
        let was_limited = mailbox.is_some_and(|mailbox| mailbox.settle(consumer_deliveries));
        for name in concerned {
            self.trim(&name);
            self.drain(&name);
        }
        self.bury();
        was_limited
    }

    fn settle_one(&mut self, channel: ChannelKey, delivery: &Unacked, how: Settlement) {
        let Some(queue) = self.queue_of(&delivery.queue) else { return };
        if let Some(tag) = &delivery.consumer {
            queue.consumers.settle(channel, tag);
        }
        match how {
            Settlement::Acknowledge => {
                queue.settle(delivery.position);
            }
            Settlement::Requeue => {
                let expires = queue.requeue(delivery.position);
                self.timers.extend(expires.map(|at| (at, delivery.queue.name.clone())));
            }
            Settlement::Reject => {
                let stored = queue.settle(delivery.position);
                self.graves
                    .extend(stored.and_then(|stored| self.grave(&delivery.queue.name, stored, Reason::Rejected)));
            }
        }
    }

    /// Hands messages to consumers for as long as there are both.
    pub(super) fn drain(&mut self, name: &ShortString) {
        let Self { queues, mailboxes, notified, .. } = self;
        let Some(queue) = queues.get_mut(name) else { return };
        let number = queue.number;
        while queue.ready() > 0 {
            let has_room = |channel, no_ack| mailboxes.get(&channel).is_some_and(|to| to.takes_delivery(no_ack));
            let Some(consumer) = queue.consumers.pick(|to| has_room(to.channel, to.no_ack)) else { break };
            let Some((position, stored)) = queue.take(consumer.no_ack) else { break };
            let unacked = (!consumer.no_ack).then(|| (QueueRef { name: name.clone(), number }, position));
            let Stored { message, redelivered, .. } = stored;
            let delivery = Delivery { consumer_tag: consumer.tag, unacked, message, redelivered };
            if let Some(mailbox) = mailboxes.get_mut(&consumer.channel) {
                mailbox.push(Notice::Deliver(delivery));
                notified.insert(consumer.channel);
            }
        }
        self.expire(name);
    }

    /// Hands out what these queues have.
    pub(in crate::broker) fn drain_all(&mut self, names: &[ShortString]) {
        for name in names {
            self.drain(name);
        }
        self.bury();
    }

    /// Takes out the messages whose time is over.
    pub(super) fn expire(&mut self, name: &ShortString) {
        let now = self.now;
        while let Some(stored) = self.queues.get_mut(name).and_then(|queue| queue.take_expired(now)) {
            self.graves.extend(self.grave(name, stored, Reason::Expired));
        }
    }

    /// Sends dead messages where they go, and those that die on the way there.
    pub(super) fn bury(&mut self) {
        while let Some(grave) = self.graves.pop_front() {
            let Grave { queue, dead_letter, stored, reason } = grave;
            let headers = death::headers(&stored.message, &queue, reason, self.now);
            let goes_on = |target: &ShortString| reason == Reason::Rejected || !death::is_cycle(&headers, target);
            let mut headers_sent = headers.clone();
            let keys = match dead_letter.routing_key {
                Some(key) => {
                    headers_sent.remove("CC");
                    vec![key]
                }
                None => stored.message.keys.clone(),
            };
            let message = Arc::new(stored.message.republish(dead_letter.exchange.clone(), keys, headers_sent));
            let queues: Vec<ShortString> =
                self.route(&dead_letter.exchange, &message).into_iter().filter(goes_on).collect();
            for queue in queues {
                self.enqueue(&queue, &message);
            }
        }
    }

    /// Puts a message into one queue; false if the queue refuses it.
    fn enqueue(&mut self, name: &ShortString, message: &Arc<Message>) -> bool {
        let now = self.now;
        // A queue that was deleted between routing and now has taken the message with it.
        let Some(queue) = self.queues.get_mut(name) else { return true };
        if queue.refuses(message) {
            if queue.declared.settings.overflow == Overflow::RejectPublishDeadLetter {
                let stored = Stored { message: Arc::clone(message), redelivered: false, expires: None };
                self.graves.extend(self.grave(name, stored, Reason::MaxLength));
            }
            return false;
        }
        let expires = queue.push(Arc::clone(message), now);
        self.timers.extend(expires.map(|at| (at, name.clone())));
        self.drain(name);
        self.trim(name);
        true
    }

    /// Takes out what is too much.
    fn trim(&mut self, name: &ShortString) {
        while let Some(stored) = self.queues.get_mut(name).and_then(super::Queue::take_surplus) {
            self.graves.extend(self.grave(name, stored, Reason::MaxLength));
        }
    }

    /// Where a message of this queue goes when it is dead, if the queue has a place.
    fn grave(&self, name: &ShortString, stored: Stored, reason: Reason) -> Option<Grave> {
        let dead_letter = self.queues.get(name)?.declared.settings.dead_letter.clone()?;
        Some(Grave { queue: name.clone(), dead_letter, stored, reason })
    }
}

fn follows(kind: Kind, binding: &Binding, message: &Message) -> bool {
    match kind {
        Kind::Direct => message.keys.contains(&binding.key),
        Kind::Fanout => true,
        Kind::Topic => message.keys.iter().any(|key| routing::topic_matches(&binding.key, key)),
        Kind::Headers => routing::headers_match(&binding.arguments, message.headers.as_ref()),
    }
}
