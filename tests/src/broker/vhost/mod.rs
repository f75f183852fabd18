//! A virtual host: everything that clients share. Exchanges, queues, the bindings between them, and a mailbox for each
//! open channel.
//!
//! What a client asks for is carried out at once; what queues say about it waits in the mailboxes.

mod delivery;
mod topology;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use amqp_core::{Instant, wire::ShortString};

pub(super) use self::{
    delivery::{Settlement, Unacked, Verdict},
    topology::{assert_free, count, one_line},
};
use super::{
    ChannelKey, ConnectionId,
    arguments::DeadLetter,
    consumers::Consumer,
    death::Reason,
    exchange::{Bindings, Exchange, Kind},
    fault::{Entity, Fault},
    mailbox::{Mailbox, Notice},
    message::DIRECT_REPLY_TO,
    queue::{Queue, QueueRef, Stored},
};

/// A virtual host.
#[derive(Clone, Debug)]
pub(super) struct VirtualHost {
    name: ShortString,
    exchanges: BTreeMap<ShortString, Exchange>,
    queues: BTreeMap<ShortString, Queue>,
    bindings: Bindings,
    mailboxes: BTreeMap<ChannelKey, Mailbox>,
    /// The channels whose mailbox holds something.
    notified: BTreeSet<ChannelKey>,
    /// Who gets what is sent to an address of the direct reply-to feature.
    reply_addresses: BTreeMap<ShortString, (ChannelKey, ShortString)>,
    /// When a message or a queue may be at its end. Entries outlive what they were made for, and then mean nothing.
    timers: BTreeSet<(Instant, ShortString)>,
    /// Dead messages that have not gone where dead messages go yet.
    graves: VecDeque<Grave>,
    queues_made: u64,
    now: Instant,
}

/// A message that died in a queue which has a place for those.
#[derive(Clone, Debug)]
struct Grave {
    queue: ShortString,
    dead_letter: DeadLetter,
    stored: Stored,
    reason: Reason,
}

impl VirtualHost {
    /// A virtual host with nothing in it but the exchanges that each has.
    pub(super) fn new(name: ShortString) -> Self {
        let predeclared = [
            ("amq.direct", Kind::Direct),
            ("amq.fanout", Kind::Fanout),
            ("amq.headers", Kind::Headers),
            ("amq.match", Kind::Headers),
            ("amq.topic", Kind::Topic),
        ];
        let mut exchanges: BTreeMap<ShortString, Exchange> =
            predeclared.into_iter().map(|(name, kind)| (name.into(), Exchange::predeclared(kind))).collect();
        let trace = Exchange { internal: true, ..Exchange::predeclared(Kind::Topic) };
        exchanges.insert("amq.rabbitmq.trace".into(), trace);
        Self {
            name,
            exchanges,
            queues: BTreeMap::new(),
            bindings: Bindings::default(),
            mailboxes: BTreeMap::new(),
            notified: BTreeSet::new(),
            reply_addresses: BTreeMap::new(),
            timers: BTreeSet::new(),
            graves: VecDeque::new(),
            queues_made: 0,
            now: Instant::ORIGIN,
        }
    }

    /// The name that clients open it by.
    pub(super) fn name(&self) -> &ShortString {
        &self.name
    }

    /// Opens a mailbox.
    pub(super) fn open_channel(&mut self, channel: ChannelKey) {
        self.mailboxes.insert(channel, Mailbox::default());
    }

    /// Takes a channel out: its consumers leave, and what it had not acknowledged goes back.
    pub(super) fn close_channel(
        &mut self,
        channel: ChannelKey,
        consumers: &BTreeMap<ShortString, QueueRef>,
        mut unacked: Vec<Unacked>,
    ) {
        let mut mailbox = self.mailboxes.remove(&channel).unwrap_or_default();
        self.notified.remove(&channel);
        self.reply_addresses.retain(|_, (consumer, _)| *consumer != channel);
        for notice in mailbox.take() {
            let Notice::Deliver(delivery) = notice else { continue };
            let consumer = Some(delivery.consumer_tag);
            unacked.extend(delivery.unacked.map(|(queue, position)| Unacked { queue, position, consumer }));
        }
        let abandoned: Vec<QueueRef> = consumers
            .iter()
            .filter(|(tag, queue)| self.queue_of(queue).is_some_and(|queue| queue.consumers.leave(channel, tag)))
            .map(|(_, queue)| queue.clone())
            .collect();
        self.settle(channel, unacked, Settlement::Requeue);
        for queue in abandoned {
            self.consumer_left(&queue);
        }
    }

    /// Takes a connection out, whose channels are closed: its exclusive queues go.
    pub(super) fn close_connection(&mut self, connection: ConnectionId) {
        let owned: Vec<ShortString> = self
            .queues
            .iter()
            .filter(|(_, queue)| queue.declared.owner == Some(connection))
            .map(|(name, _)| name.clone())
            .collect();
        for name in owned {
            self.remove_queue(&name);
        }
    }

    /// Adds a consumer.
    pub(super) fn add_consumer(&mut self, queue: &QueueRef, consumer: Consumer) -> Result<(), Fault> {
        let Some(found) = self.queue_of(queue) else { return Ok(()) };
        if !found.consumers.admits(consumer.exclusive) {
            let named = Entity::queue(&queue.name, &self.name);
            return Err(Fault::access_refused(format_args!("{named} in exclusive use")));
        }
        found.consumers.join(consumer);
        Ok(())
    }

    /// Takes a consumer out. False if it was not there any more.
    pub(super) fn remove_consumer(&mut self, queue: &QueueRef, channel: ChannelKey, tag: &ShortString) -> bool {
        let left = self.queue_of(queue).is_some_and(|queue| queue.consumers.leave(channel, tag));
        if left {
            self.consumer_left(queue);
        }
        left
    }

    fn consumer_left(&mut self, queue: &QueueRef) {
        let now = self.now;
        let Some(found) = self.queue_of(queue) else { return };
        found.touch(now);
        let (unused_until, is_empty) = (found.unused_until(), found.consumers.is_empty());
        if is_empty && found.declared.auto_delete {
            self.remove_queue(&queue.name);
            return;
        }
        self.timers.extend(unused_until.map(|at| (at, queue.name.clone())));
        // Whoever comes next in a queue with a single active consumer is served now.
        self.drain_all(std::slice::from_ref(&queue.name));
    }

    /// Makes an address that replies can be sent to.
    pub(super) fn add_reply_address(&mut self, address: ShortString, channel: ChannelKey, tag: ShortString) {
        self.reply_addresses.insert(address, (channel, tag));
    }

    /// Whether replies can be consumed from a queue of that name, or sent to it.
    pub(super) fn is_reply_address(&self, name: &ShortString) -> bool {
        *name == DIRECT_REPLY_TO || self.reply_addresses.contains_key(name)
    }

    /// Forgets the reply address of a channel.
    pub(super) fn remove_reply_address(&mut self, address: &ShortString) {
        self.reply_addresses.remove(address);
    }

    /// Sets how many messages a channel may hold unacknowledged.
    pub(super) fn set_prefetch(&mut self, channel: ChannelKey, prefetch: u16) {
        if let Some(mailbox) = self.mailboxes.get_mut(&channel) {
            mailbox.set_prefetch(prefetch);
        }
    }

    /// The client has read what there was for its channel. True if it can have more because of it.
    pub(super) fn clear_backlog(&mut self, channel: ChannelKey) -> bool {
        self.mailboxes.get_mut(&channel).is_some_and(Mailbox::clear_backlog)
    }

    /// Lets time pass: messages expire, and queues that nobody uses.
    pub(super) fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
        while let Some((due, _)) = self.timers.first() {
            if *due > self.now {
                break;
            }
            let Some((_, name)) = self.timers.pop_first() else { break };
            self.expire(&name);
            let unused_until = self.queues.get(&name).and_then(Queue::unused_until);
            match unused_until {
                Some(at) if at <= self.now => {
                    self.remove_queue(&name);
                }
                Some(at) => {
                    self.timers.insert((at, name));
                }
                None => {}
            }
        }
        self.bury();
    }

    /// When time has something to do here next.
    pub(super) fn next_timer(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Leaves a notice for a channel.
    pub(super) fn notify(&mut self, channel: ChannelKey, notice: Notice) {
        if let Some(mailbox) = self.mailboxes.get_mut(&channel) {
            mailbox.push(notice);
            self.notified.insert(channel);
        }
    }

    /// The next channel that has notices to read, with all of them.
    pub(super) fn next_notices(&mut self) -> Option<(ChannelKey, VecDeque<Notice>)> {
        let channel = self.notified.pop_first()?;
        let notices = self.mailboxes.get_mut(&channel).map(Mailbox::take).unwrap_or_default();
        Some((channel, notices))
    }

    /// Keeps what survives a restart of the broker. All connections are gone already.
    pub(super) fn restart(&mut self) {
        let transient = |queue: &Queue| !queue.declared.durable || queue.declared.owner.is_some();
        let gone: Vec<ShortString> =
            self.queues.iter().filter(|(_, queue)| transient(queue)).map(|(name, _)| name.clone()).collect();
        gone.iter().for_each(|name| {
            self.remove_queue(name);
        });
        let gone: Vec<ShortString> =
            self.exchanges.iter().filter(|(_, exchange)| !exchange.durable).map(|(name, _)| name.clone()).collect();
        gone.iter().for_each(|name| self.remove_exchange(name));
        self.mailboxes.clear();
        self.notified.clear();
        for queue in self.queues.values_mut() {
            queue.restart(self.now);
        }
    }

    /// The queue of that name, whoever owns it.
    pub(super) fn queue(&self, name: &ShortString) -> Option<&Queue> {
        self.queues.get(name)
    }

    /// Whether the queue is still the one that was meant.
    pub(super) fn has_queue(&self, queue: &QueueRef) -> bool {
        self.queues.get(&queue.name).is_some_and(|found| found.number == queue.number)
    }

    /// The queue that was meant, if it is still there.
    fn queue_of(&mut self, queue: &QueueRef) -> Option<&mut Queue> {
        self.queues.get_mut(&queue.name).filter(|found| found.number == queue.number)
    }
}
