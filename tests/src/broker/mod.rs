//! A broker to embed in tests: AMQP 0-9-1 as RabbitMQ 3.10 speaks it, as a state machine without sockets, threads or
//! clock.
//!
//! [`Broker`] takes octets and gives octets; whoever drives it brings the transport and the time. Two runs with the
//! same input are the same to the last octet: names that the broker makes up are counted, and whenever several things
//! could come first, their names decide. [`EmbeddedBroker`] is the driver for TCP, with everything included:
//!
//! ```no_run
//! let broker = amqp_test::broker::EmbeddedBroker::start()?;
//! let address = broker.uri(); // amqp://guest:guest@127.0.0.1:40123/%2f
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! The one rule that explains most of the order of things: what a client sends is carried out frame by frame, and what
//! queues have to say about it, deliveries and confirms above all, follows when the input is used up. RabbitMQ does
//! the same, because its queues are processes of their own.
//!
//! What is there: direct, fanout, topic and headers exchanges, bindings between exchanges, alternate exchanges;
//! queues that are durable, exclusive, auto-deleted, limited in length, time or age, with priorities, a single active
//! consumer or dead letters; consumers with priorities and both kinds of prefetch; confirms, transactions, returns,
//! direct reply-to; alarms and heartbeats. What is not: policies, permissions, streams, the plugins. Quorum queues
//! are classic queues by another name.

mod arguments;
mod channel;
mod connection;
mod consumers;
mod death;
mod erlang;
mod exchange;
mod fault;
mod mailbox;
mod message;
mod name;
mod output;
mod queue;
mod routing;
mod tcp;
mod vhost;

use std::collections::BTreeMap;

use amqp_core::{Instant, wire::ShortString};
use bytes::{Bytes, BytesMut};

pub use self::tcp::EmbeddedBroker;
use self::{
    connection::{Connection, Users, World},
    name::Names,
    vhost::VirtualHost,
};

/// A connection of a [`Broker`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(u64);

/// A channel of any connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ChannelKey {
    connection: ConnectionId,
    number: u16,
}

/// Something that the broker runs out of. While an alarm lasts, connections that publish are not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// Memory.
    Memory,
    /// Disk space.
    Disk,
}

#[derive(Clone, Copy, Debug, Default)]
struct Alarms {
    memory: bool,
    disk: bool,
}

impl Alarms {
    fn reason(self) -> Option<&'static str> {
        match (self.memory, self.disk) {
            (false, false) => None,
            (true, false) => Some("low on memory"),
            (false, true) => Some("low on disk"),
            (true, true) => Some("low on memory & disk"),
        }
    }

    fn set(&mut self, alarm: Alarm, raised: bool) {
        match alarm {
            Alarm::Memory => self.memory = raised,
            Alarm::Disk => self.disk = raised,
        }
    }
}

/// What can be said of a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueStatus {
    /// Messages that wait to be delivered.
    pub ready: usize,
    /// Messages that were delivered and are not acknowledged.
    pub unacknowledged: usize,
    /// Consumers.
    pub consumers: usize,
}

/// A broker.
///
/// A driver does four things: it tells what happened ([`accept`](Self::accept), [`receive`](Self::receive),
/// [`disconnected`](Self::disconnected), [`handle_timeout`](Self::handle_timeout)), and after that does what there is
/// to do for each connection: write what [`take_output`](Self::take_output) gives, hang up if
/// [`wants_close`](Self::wants_close), read no more unless [`wants_read`](Self::wants_read), and come back at
/// [`poll_timeout`](Self::poll_timeout).
///
/// There is one user, `guest` with the password `guest`, and one virtual host, `/`, unless more are added.
///
/// ```
/// use amqp_core::Instant;
/// use amqp_test::broker::Broker;
/// use bytes::BytesMut;
///
/// let mut broker = Broker::new();
/// let connection = broker.accept(Instant::ORIGIN);
/// let mut input = BytesMut::from(&b"AMQP\0\0\x09\x01"[..]);
/// broker.receive(connection, &mut input, Instant::ORIGIN);
/// assert!(broker.take_output(connection).len() > 8, "the broker answers with connection.start");
/// ```
#[derive(Debug)]
pub struct Broker {
    connections: BTreeMap<ConnectionId, Connection>,
    vhosts: BTreeMap<ShortString, VirtualHost>,
    users: Users,
    names: Names,
    alarms: Alarms,
    accepted: u64,
    now: Instant,
}

impl Broker {
    /// An empty broker.
    pub fn new() -> Self {
        let mut broker = Self {
            connections: BTreeMap::new(),
            vhosts: BTreeMap::new(),
            users: Users::new(),
            names: Names::default(),
            alarms: Alarms::default(),
            accepted: 0,
            now: Instant::ORIGIN,
        };
        broker.add_virtual_host("/");
        broker.add_user("guest", "guest");
        broker
    }

    /// Adds a user, who may do everything, or changes the password.
    pub fn add_user(&mut self, name: impl Into<ShortString>, password: impl AsRef<[u8]>) {
        self.users.insert(name.into(), Bytes::copy_from_slice(password.as_ref()));
    }

    /// Adds a virtual host. One of that name that is there stays as it is.
    pub fn add_virtual_host(&mut self, name: impl Into<ShortString>) {
        let name = name.into();
        self.vhosts.entry(name.clone()).or_insert_with(|| VirtualHost::new(name));
    }

    /// A client has connected.
    pub fn accept(&mut self, now: Instant) -> ConnectionId {
        self.accepted += 1;
        let id = ConnectionId(self.accepted);
        self.connections.insert(id, Connection::new(id, now));
        id
    }

    /// Octets have come: takes whole frames and leaves the tail. Takes nothing while [`wants_read`](Self::wants_read)
    /// is false; call again with the same input when it is true.
    pub fn receive(&mut self, id: ConnectionId, input: &mut BytesMut, now: Instant) {
        self.advance(now);
        self.with_connection(id, |connection, world| connection.receive(input, world));
        self.settle();
    }

    /// The transport of a connection is gone.
    pub fn disconnected(&mut self, id: ConnectionId, now: Instant) {
        self.advance(now);
        self.with_connection(id, Connection::end);
        self.connections.remove(&id);
        self.settle();
    }

    /// Time has passed: heartbeats, messages that expire, clients that take too long.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
        let ids: Vec<ConnectionId> = self.connections.keys().copied().collect();
        for id in ids {
            self.with_connection(id, Connection::handle_timeout);
        }
        self.settle();
    }

    /// Takes what is to be written to a connection. From here on the client counts as having read it.
    pub fn take_output(&mut self, id: ConnectionId) -> BytesMut {
        let output = self.with_connection(id, Connection::take_output).unwrap_or_default();
        self.settle();
        output
    }

    /// Raises an alarm: from now on whoever publishes is not read any more, after the frame that is there.
    pub fn raise_alarm(&mut self, alarm: Alarm) {
        self.alarms.set(alarm, true);
    }

    /// Ends an alarm. When it was the last one, every connection is read again.
    pub fn clear_alarm(&mut self, alarm: Alarm) {
        self.alarms.set(alarm, false);
        if self.alarms.reason().is_none() {
            self.connections.values_mut().for_each(Connection::unblock);
        }
    }

    /// Closes a connection with 320 and this reason, as an operator does.
    pub fn close_connection(&mut self, id: ConnectionId, reason: &str, now: Instant) {
        self.advance(now);
        self.with_connection(id, |connection, world| connection.force_close(reason, world));
        self.settle();
    }

    /// Stops the broker as for maintenance and starts it again: connections are closed with 320, and what is left is
    /// what was durable or persistent.
    pub fn restart(&mut self, now: Instant) {
        self.advance(now);
        let ids: Vec<ConnectionId> = self.connections.keys().copied().collect();
        for id in ids {
            self.with_connection(id, |connection, world| {
                connection.force_close("broker forced connection closure with reason 'shutdown'", world);
                connection.abandon(world);
            });
        }
        self.vhosts.values_mut().for_each(VirtualHost::restart);
        self.alarms = Alarms::default();
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let connections = self.connections.values().filter_map(Connection::next_timer);
        connections.chain(self.vhosts.values().filter_map(VirtualHost::next_timer)).min()
    }

    /// Whether there is something to write to a connection.
    pub fn has_output(&self, id: ConnectionId) -> bool {
        self.connections.get(&id).is_some_and(Connection::has_output)
    }

    /// Whether the broker takes input from a connection. It does not during an alarm, and from a client that leaves
    /// too much unread itself.
    pub fn wants_read(&self, id: ConnectionId) -> bool {
        self.connections.get(&id).is_some_and(Connection::wants_read)
    }

    /// Whether the transport of a connection is to be dropped: all is said, and all of it taken.
    pub fn wants_close(&self, id: ConnectionId) -> bool {
        self.connections.get(&id).is_none_or(Connection::wants_close)
    }

    /// The connections that have not ended, oldest first.
    pub fn connections(&self) -> impl Iterator<Item = ConnectionId> {
        self.connections.keys().copied()
    }

    /// How a queue is doing, if it exists.
    pub fn queue(&self, virtual_host: &str, name: &str) -> Option<QueueStatus> {
        let queue = self.vhosts.get(&virtual_host.into())?.queue(&name.into())?;
        let (ready, unacknowledged) = (queue.ready(), queue.unacked());
        Some(QueueStatus { ready, unacknowledged, consumers: queue.consumers.len() })
    }

    fn with_connection<T>(
        &mut self,
        id: ConnectionId,
        act: impl FnOnce(&mut Connection, &mut World<'_>) -> T,
    ) -> Option<T> {
        let Self { connections, vhosts, users, names, alarms, now, .. } = self;
        let mut world = World { vhosts, users, names, alarms, now: *now };
        connections.get_mut(&id).map(|connection| act(connection, &mut world))
    }

    fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
        let now = self.now;
        self.vhosts.values_mut().for_each(|vhost| vhost.advance(now));
    }

    /// Lets the channels read what queues had to say, until nobody has anything left to say.
    fn settle(&mut self) {
        while let Some((channel, notices)) = self.vhosts.values_mut().find_map(VirtualHost::next_notices) {
            self.with_connection(channel.connection, |connection, world| {
                connection.read(channel.number, notices, world);
            });
        }
    }
}

impl Default for Broker {
    fn default() -> Self {
        Self::new()
    }
}
