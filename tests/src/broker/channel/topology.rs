//! Exchanges, queues and bindings, as a channel asks for them.

use amqp_core::{
    method::{AnyMethod, exchange, queue},
    wire::ShortString,
};

use super::{
    super::{
        fault::Fault,
        vhost::{assert_free, one_line},
    },
    Channel, Context,
};

impl Channel {
    /// Carries out a method about exchanges, queues and bindings. Anything else is none that a client sends.
    pub(super) fn change_topology(&mut self, method: AnyMethod, context: &mut Context<'_>) -> Result<(), Fault> {
        match method {
            AnyMethod::ExchangeDeclare(declare) => {
                context.vhost.declare_exchange(&declare)?;
                self.answer(declare.is_nowait(), context, exchange::DeclareOk::new());
            }
            AnyMethod::ExchangeDelete(delete) => {
                context.vhost.delete_exchange(&delete)?;
                self.answer(delete.is_nowait(), context, exchange::DeleteOk::new());
            }
            AnyMethod::ExchangeBind(bind) => {
                context.vhost.bind_exchange(&bind)?;
                self.answer(bind.is_nowait(), context, exchange::BindOk::new());
            }
            AnyMethod::ExchangeUnbind(unbind) => {
                context.vhost.unbind_exchange(&unbind)?;
                self.answer(unbind.is_nowait(), context, exchange::UnbindOk::new());
            }
            AnyMethod::QueueDeclare(declare) => self.declare_queue(&declare, context)?,
            AnyMethod::QueueBind(bind) => {
                let (name, key) = self.queue_and_key(&bind.queue, &bind.routing_key)?;
                context.vhost.bind_queue(&bind, &name, &key, self.key.connection)?;
                self.answer(bind.is_nowait(), context, queue::BindOk::new());
            }
            AnyMethod::QueueUnbind(unbind) => {
                let (name, key) = self.queue_and_key(&unbind.queue, &unbind.routing_key)?;
                context.vhost.unbind_queue(&unbind, &name, &key)?;
                self.send(context, queue::UnbindOk::new());
            }
            AnyMethod::QueuePurge(purge) => {
                let name = one_line(&self.queue_name(&purge.queue)?);
                let purged = context.vhost.purge_queue(&name, self.key.connection)?;
                self.answer(purge.is_nowait(), context, queue::PurgeOk::new(purged));
            }
            AnyMethod::QueueDelete(delete) => {
                let name = one_line(&self.queue_name(&delete.queue)?);
                let deleted = context.vhost.delete_queue(&delete, &name, self.key.connection)?;
                self.answer(delete.is_nowait(), context, queue::DeleteOk::new(deleted));
            }
            _ => return Err(Fault::unimplemented_method()),
        }
        Ok(())
    }

    fn declare_queue(&mut self, declare: &queue::Declare, context: &mut Context<'_>) -> Result<(), Fault> {
        if declare.passive && context.vhost.is_reply_address(&declare.queue) {
            // Nobody declared it, and yet it is there, with its one consumer.
            let answer = queue::DeclareOk::new(declare.queue.clone(), 0, 1);
            self.answer(declare.is_nowait(), context, answer);
            return Ok(());
        }
        let name = match one_line(&declare.queue) {
            name if name.is_empty() && !declare.passive => context.names.queue(),
            name => {
                if !declare.passive {
                    assert_free("queue", &name)?;
                }
                name.detach()
            }
        };
        let counts = context.vhost.declare_queue(declare, &name, self.key.connection)?;
        self.last_queue = Some(name.clone());
        let answer = queue::DeclareOk::new(name, counts.messages, counts.consumers);
        self.answer(declare.is_nowait(), context, answer);
        Ok(())
    }

    /// The queue that is meant: an empty name stands for the one declared last.
    pub(super) fn queue_name(&self, name: &ShortString) -> Result<ShortString, Fault> {
        if name.is_empty() { self.last_queue.clone().ok_or_else(Fault::no_previous_queue) } else { Ok(name.clone()) }
    }

    /// The same for a binding, whose key is the name of the queue if both are empty.
    fn queue_and_key(&self, name: &ShortString, key: &ShortString) -> Result<(ShortString, ShortString), Fault> {
        let queue = one_line(&self.queue_name(name)?);
        let key = if name.is_empty() && key.is_empty() { queue.clone() } else { key.clone() };
        Ok((queue, key))
    }
}
