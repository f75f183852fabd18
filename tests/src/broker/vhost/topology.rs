//! Declaring, deleting, binding: the order of the checks, and with it which of several errors is reported, is
//! RabbitMQ's.

use amqp_core::{
    method::{exchange, queue},
    wire::{ShortString, Table},
};

use super::{
    super::{
        ConnectionId, arguments,
        arguments::QueueSettings,
        exchange::{Binding, Destination, Exchange, Kind},
        fault::{Entity, Fault},
        mailbox::Notice,
        queue::{Declared, Queue, QueueRef},
        routing,
    },
    VirtualHost,
};

/// How many messages wait in a queue, and how many consumers it has.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::broker) struct Counts {
    pub(in crate::broker) messages: u32,
    pub(in crate::broker) consumers: u32,
}

impl VirtualHost {
    /// Carries out `exchange.declare`.
    pub(in crate::broker) fn declare_exchange(&mut self, declare: &exchange::Declare) -> Result<(), Fault> {
        let name = &one_line(&declare.exchange);
        let named = Entity::exchange(name, &self.name);
        if name.is_empty() {
            return Err(Fault::default_exchange());
        }
        if declare.passive {
            return if self.exchanges.contains_key(name) { Ok(()) } else { Err(Fault::not_found(named)) };
        }
        let kind = Kind::parse(&declare.kind)?;
        if let Some(present) = self.exchanges.get(name) {
            return present.assert_same(kind, declare, named);
        }
        assert_free("exchange", name)?;
        let exchange = Exchange::declare(kind, declare, named)?;
        self.exchanges.insert(name.detach(), exchange);
        Ok(())
    }

    /// Carries out `exchange.delete`.
    pub(in crate::broker) fn delete_exchange(&mut self, delete: &exchange::Delete) -> Result<(), Fault> {
        let name = &one_line(&delete.exchange);
        if name.is_empty() {
            return Err(Fault::default_exchange());
        }
        let named = Entity::exchange(name, &self.name);
        if is_reserved(name) {
            return Err(Fault::access_refused(format_args!("deletion of system {named} not allowed")));
        }
        if delete.if_unused && !self.bindings.from(name).is_empty() {
            return Err(Fault::precondition(format_args!("{named} in use")));
        }
        self.remove_exchange(name);
        Ok(())
    }

    /// Carries out `exchange.bind`.
    pub(in crate::broker) fn bind_exchange(&mut self, bind: &exchange::Bind) -> Result<(), Fault> {
        let (source, destination) = (one_line(&bind.source), one_line(&bind.destination));
        if source.is_empty() || destination.is_empty() {
            return Err(Fault::default_exchange());
        }
        self.assert_exchange(&source)?;
        self.assert_exchange(&destination)?;
        self.bind(&source, Destination::Exchange(destination.detach()), &bind.routing_key, &bind.arguments)
    }

    /// Carries out `exchange.unbind`.
    pub(in crate::broker) fn unbind_exchange(&mut self, unbind: &exchange::Unbind) -> Result<(), Fault> {
        let (source, destination) = (one_line(&unbind.source), one_line(&unbind.destination));
        if source.is_empty() || destination.is_empty() {
            return Err(Fault::default_exchange());
        }
        self.unbind(&source, Destination::Exchange(destination), &unbind.routing_key, &unbind.arguments);
        Ok(())
    }

    /// Carries out `queue.declare` for a queue that has a name, be it a made-up one.
    pub(in crate::broker) fn declare_queue(
        &mut self,
        declare: &queue::Declare,
        name: &ShortString,
        connection: ConnectionId,
    ) -> Result<Counts, Fault> {
        let now = self.now;
        if declare.passive {
            return self.queue_for(name, connection).map(|queue| queue.used(now));
        }
        let named = Entity::queue(name, &self.name);
        // A queue that goes with its connection is never durable, whatever is asked for.
        let durable = declare.durable && !declare.exclusive;
        if let Some(present) = self.queues.get_mut(name) {
            present.assert_same(declare, durable, connection, named)?;
            return Ok(present.used(now));
        }
        let settings = QueueSettings::parse(&declare.arguments, named)?;
        assert_quorum(declare, named)?;
        let declared = Declared {
            durable,
            auto_delete: declare.auto_delete,
            owner: declare.exclusive.then_some(connection),
            arguments: declare.arguments.clone(),
            settings,
        };
        self.queues_made += 1;
        let queue = Queue::new(self.queues_made, declared, now);
        let name = name.detach();
        self.timers.extend(queue.unused_until().map(|at| (at, name.clone())));
        self.queues.insert(name, queue);
        Ok(Counts::default())
    }

    /// Carries out `queue.delete`, and counts the messages that were waiting.
    pub(in crate::broker) fn delete_queue(
        &mut self,
        delete: &queue::Delete,
        name: &ShortString,
        connection: ConnectionId,
    ) -> Result<u32, Fault> {
        let Some(queue) = self.queues.get(name) else { return Ok(0) };
        let named = Entity::queue(name, &self.name);
        if queue.is_locked(connection) {
            return Err(Fault::locked(named));
        }
        if delete.if_empty && queue.ready() > 0 {
            return Err(Fault::precondition(format_args!("{named} not empty")));
        }
        if delete.if_unused && !queue.consumers.is_empty() {
            return Err(Fault::precondition(format_args!("{named} in use")));
        }
        Ok(self.remove_queue(name))
    }

    /// Carries out `queue.bind`.
    pub(in crate::broker) fn bind_queue(
        &mut self,
        bind: &queue::Bind,
        name: &ShortString,
        key: &ShortString,
        connection: ConnectionId,
    ) -> Result<(), Fault> {
        let source = one_line(&bind.exchange);
        if source.is_empty() {
            return Err(Fault::default_exchange());
        }
        self.assert_exchange(&source)?;
        self.queue_for(name, connection)?;
        self.bind(&source, Destination::Queue(name.detach()), key, &bind.arguments)
    }

    /// Carries out `queue.unbind`; what is not bound is unbound already.
    pub(in crate::broker) fn unbind_queue(
        &mut self,
        unbind: &queue::Unbind,
        name: &ShortString,
        key: &ShortString,
    ) -> Result<(), Fault> {
        let source = one_line(&unbind.exchange);
        if source.is_empty() {
            return Err(Fault::default_exchange());
        }
        self.unbind(&source, Destination::Queue(name.clone()), key, &unbind.arguments);
        Ok(())
    }

    /// Carries out `queue.purge`, and counts the messages that were waiting.
    pub(in crate::broker) fn purge_queue(
        &mut self,
        name: &ShortString,
        connection: ConnectionId,
    ) -> Result<u32, Fault> {
        self.queue_for(name, connection).map(|queue| count(queue.purge()))
    }

    /// The queue as others remember it, if it exists and is not another connection's.
    pub(in crate::broker) fn find_queue(
        &mut self,
        name: &ShortString,
        connection: ConnectionId,
    ) -> Result<QueueRef, Fault> {
        let number = self.queue_for(name, connection)?.number;
        Ok(QueueRef { name: name.detach(), number })
    }

    /// A queue that `connection` may use.
    pub(super) fn queue_for(&mut self, name: &ShortString, connection: ConnectionId) -> Result<&mut Queue, Fault> {
        let named = Entity::queue(name, &self.name);
        match self.queues.get_mut(name) {
            None => Err(Fault::not_found(named)),
            Some(queue) if queue.is_locked(connection) => Err(Fault::locked(named)),
            Some(queue) => Ok(queue),
        }
    }

    /// Takes a queue out with its bindings, tells its consumers, and counts the messages that were waiting.
    pub(super) fn remove_queue(&mut self, name: &ShortString) -> u32 {
        let Some(queue) = self.queues.remove(name) else { return 0 };
        for consumer in queue.consumers.iter() {
            self.notify(consumer.channel, Notice::Cancelled(consumer.tag.clone()));
        }
        for source in self.bindings.remove_destination(&Destination::Queue(name.clone())) {
            self.exchange_emptied(&source);
        }
        count(queue.ready())
    }

    /// Takes an exchange out with all bindings from it and to it.
    pub(super) fn remove_exchange(&mut self, name: &ShortString) {
        self.exchanges.remove(name);
        self.bindings.remove_source(name);
        for source in self.bindings.remove_destination(&Destination::Exchange(name.clone())) {
            self.exchange_emptied(&source);
        }
    }

    /// An exchange lost its last binding, which some do not outlive.
    fn exchange_emptied(&mut self, name: &ShortString) {
        if self.exchanges.get(name).is_some_and(|exchange| exchange.auto_delete) {
            self.remove_exchange(name);
        }
    }

    fn assert_exchange(&self, name: &ShortString) -> Result<&Exchange, Fault> {
        self.exchanges.get(name).ok_or_else(|| Fault::not_found(Entity::exchange(name, &self.name)))
    }

    fn bind(
        &mut self,
        source: &ShortString,
        destination: Destination,
        key: &ShortString,
        arguments: &Table,
    ) -> Result<(), Fault> {
        if self.assert_exchange(source)?.kind == Kind::Headers {
            routing::check_headers_binding(arguments)?;
        }
        let binding = Binding { destination, key: key.detach(), arguments: arguments.clone() };
        self.bindings.insert(&source.detach(), binding);
        Ok(())
    }

    fn unbind(&mut self, source: &ShortString, destination: Destination, key: &ShortString, arguments: &Table) {
        let binding = Binding { destination, key: key.clone(), arguments: arguments.clone() };
        if self.bindings.remove(source, &binding) {
            self.exchange_emptied(source);
        }
    }
}

impl Queue {
    fn assert_same(
        &self,
        declare: &queue::Declare,
        durable: bool,
        connection: ConnectionId,
        named: Entity<'_>,
    ) -> Result<(), Fault> {
        if self.is_locked(connection) || declare.exclusive != self.declared.owner.is_some() {
            return Err(Fault::locked(named));
        }
        let flags = [
            ("durable", durable, self.declared.durable),
            ("auto_delete", declare.auto_delete, self.declared.auto_delete),
        ];
        for (flag, received, current) in flags {
            if received != current {
                let (received, current) = (format!("'{received}'"), format!("'{current}'"));
                return Err(Fault::inequivalent(flag, named, received, current));
            }
        }
        arguments::assert_same_queue(&declare.arguments, &self.declared.arguments, named)
    }

    fn used(&mut self, now: amqp_core::Instant) -> Counts {
        self.touch(now);
        Counts { messages: count(self.ready()), consumers: count(self.consumers.len()) }
    }
}

/// What quorum queues cannot be. Apart from that they behave like classic ones here.
fn assert_quorum(declare: &queue::Declare, named: Entity<'_>) -> Result<(), Fault> {
    if !arguments::is_quorum(&declare.arguments) {
        return Ok(());
    }
    let property = match declare {
        declare if !declare.durable => "non-durable",
        declare if declare.auto_delete => "auto-delete",
        declare if declare.exclusive => "exclusive-owner",
        _ => return Ok(()),
    };
    Err(Fault::precondition(format_args!("invalid property '{property}' for {named}")))
}

/// Checks that a new queue or exchange takes no name that is the broker's own.
pub(in crate::broker) fn assert_free(kind: &str, name: &ShortString) -> Result<(), Fault> {
    if is_reserved(name) {
        return Err(Fault::access_refused(format_args!("{kind} name '{name}' contains reserved prefix 'amq.*'")));
    }
    Ok(())
}

fn is_reserved(name: &ShortString) -> bool {
    name.as_bytes().starts_with(b"amq.")
}

/// RabbitMQ silently takes line breaks out of names that are declared, bound, purged or deleted.
pub(in crate::broker) fn one_line(name: &ShortString) -> ShortString {
    if !name.as_bytes().iter().any(|octet| matches!(octet, b'\r' | b'\n')) {
        return name.clone();
    }
    let octets: Vec<u8> = name.as_bytes().iter().copied().filter(|octet| !matches!(octet, b'\r' | b'\n')).collect();
    bytes::Bytes::from(octets).into()
}

/// A count as it travels.
pub(in crate::broker) fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
