//! Consumers and deliveries: who gets what, and what the client does with it.

use std::collections::BTreeMap;

use amqp_core::{method::basic, wire::ShortString};

use super::{
    super::{
        arguments,
        consumers::Consumer,
        fault::{Entity, Fault},
        mailbox::{Delivery, Notice},
        message::DIRECT_REPLY_TO,
        vhost::{Settlement, Unacked, count},
    },
    Channel, Context, Failure, ReplyConsumer,
};

/// The deliveries of a channel that wait for the client to say what became of them.
#[derive(Debug, Default)]
pub(super) struct Unsettled {
    last_tag: u64,
    deliveries: BTreeMap<u64, Unacked>,
}

impl Unsettled {
    /// Counts a delivery, and remembers it if it has to be settled.
    fn deliver(&mut self, unacked: Option<Unacked>) -> u64 {
        self.last_tag += 1;
        self.deliveries.extend(unacked.map(|unacked| (self.last_tag, unacked)));
        self.last_tag
    }

    /// Takes what a tag stands for: itself, or all up to it.
    fn take(&mut self, tag: u64, multiple: bool) -> Result<Vec<(u64, Unacked)>, Fault> {
        if multiple && tag == 0 {
            return Ok(self.take_all());
        }
        let Some(last) = self.deliveries.remove(&tag) else { return Err(Fault::unknown_delivery_tag(tag)) };
        let mut taken = Vec::new();
        if multiple {
            let later = self.deliveries.split_off(&tag);
            taken.extend(std::mem::replace(&mut self.deliveries, later));
        }
        taken.push((tag, last));
        Ok(taken)
    }

    /// Takes everything.
    pub(super) fn take_all(&mut self) -> Vec<(u64, Unacked)> {
        std::mem::take(&mut self.deliveries).into_iter().collect()
    }

    /// Takes back what was taken.
    pub(super) fn restore(&mut self, deliveries: impl IntoIterator<Item = (u64, Unacked)>) {
        self.deliveries.extend(deliveries);
    }
}

impl Channel {
    pub(super) fn consume(&mut self, consume: &basic::Consume, context: &mut Context<'_>) -> Result<(), Fault> {
        if consume.queue == DIRECT_REPLY_TO {
            return self.consume_replies(consume, context);
        }
        let tag = self.free_tag(&consume.consumer_tag, context)?;
        let name = self.queue_name(&consume.queue)?;
        let queue = context.vhost.find_queue(&name, self.key.connection)?;
        let named = Entity::queue(&name, context.vhost.name());
        let consumer = Consumer {
            channel: self.key,
            tag: tag.clone(),
            no_ack: consume.no_ack,
            exclusive: consume.exclusive,
            prefetch: self.prefetch,
            priority: arguments::consumer_priority(&consume.arguments, named)?,
        };
        context.vhost.add_consumer(&queue, consumer)?;
        self.consumers.insert(tag.clone(), queue);
        if !consume.is_nowait() {
            context.vhost.notify(self.key, Notice::ConsumeOk(tag));
        }
        context.vhost.drain_all(&[name]);
        Ok(())
    }

    fn consume_replies(&mut self, consume: &basic::Consume, context: &mut Context<'_>) -> Result<(), Fault> {
        if !consume.no_ack {
            return Err(Fault::precondition("reply consumer cannot acknowledge"));
        }
        if self.reply_consumer.is_some() {
            return Err(Fault::precondition("reply consumer already set"));
        }
        let tag = self.free_tag(&consume.consumer_tag, context)?;
        let address = context.names.reply_address();
        context.vhost.add_reply_address(address.clone(), self.key, tag.clone());
        self.reply_consumer = Some(ReplyConsumer { tag: tag.clone(), address });
        self.answer(consume.is_nowait(), context, basic::ConsumeOk::new(tag));
        Ok(())
    }

    fn free_tag(&self, tag: &ShortString, context: &mut Context<'_>) -> Result<ShortString, Fault> {
        if tag.is_empty() {
            return Ok(context.names.consumer_tag());
        }
        if self.consumers.contains_key(tag) || self.reply_consumer.as_ref().is_some_and(|reply| reply.tag == *tag) {
            return Err(Fault::not_allowed(format_args!("attempt to reuse consumer tag '{tag}'")));
        }
        Ok(tag.detach())
    }

    /// RabbitMQ forgets the consumer at once and answers when its queue has. If that was sent so early that the
    /// answer to `basic.consume` is still to come, [`consumer_added`](Self::consumer_added) finds nobody.
    pub(super) fn cancel(&mut self, cancel: &basic::Cancel, context: &mut Context<'_>) -> Result<(), Fault> {
        let tag = cancel.consumer_tag.detach();
        let reply_consumer = self.reply_consumer.take_if(|reply| reply.tag == tag);
        if let Some(ReplyConsumer { address, .. }) = reply_consumer {
            context.vhost.remove_reply_address(&address);
        }
        let queue = self.consumers.remove(&tag);
        let left = queue.is_some_and(|queue| context.vhost.remove_consumer(&queue, self.key, &tag));
        match cancel.is_nowait() {
            true => {}
            false if left => context.vhost.notify(self.key, Notice::CancelOk(tag)),
            false => self.send(context, basic::CancelOk::new(tag)),
        }
        Ok(())
    }

    pub(super) fn consumer_added(&mut self, tag: ShortString, context: &mut Context<'_>) -> Result<(), Failure> {
        let known = self.consumers.contains_key(&tag);
        self.send(context, basic::ConsumeOk::new(tag));
        // RabbitMQ's channel crashes when the consumer was cancelled in the meantime.
        if known { Ok(()) } else { Err(Failure { fault: Fault::internal(), blamed: None }) }
    }

    pub(super) fn consumer_removed(&mut self, tag: ShortString, context: &mut Context<'_>) {
        self.send(context, basic::CancelOk::new(tag));
    }

    pub(super) fn consumer_lost(&mut self, tag: ShortString, context: &mut Context<'_>) {
        // The client may have cancelled the consumer itself by now, or made another one of that name.
        if self.consumers.get(&tag).is_none_or(|queue| context.vhost.has_queue(queue)) {
            return;
        }
        self.consumers.remove(&tag);
        if context.cancel_notify {
            self.send(context, basic::Cancel::new(tag).nowait());
        }
    }

    pub(super) fn deliver(&mut self, delivery: Delivery, context: &mut Context<'_>) {
        let Delivery { consumer_tag, unacked, message, redelivered } = delivery;
        let consumer = Some(consumer_tag.clone());
        let unacked = unacked.map(|(queue, position)| Unacked { queue, position, consumer });
        let tag = self.unsettled.deliver(unacked);
        let (exchange, key) = (message.exchange.clone(), message.routing_key());
        let deliver = basic::Deliver::new(consumer_tag, tag, redelivered, exchange, key);
        context.out.send_content(self.key.number, deliver, &message);
    }

    pub(super) fn get(&mut self, get: &basic::Get, context: &mut Context<'_>) -> Result<(), Fault> {
        let name = self.queue_name(&get.queue)?;
        let Some((unacked, stored, left)) = context.vhost.fetch(&name, get.no_ack, self.key.connection)? else {
            self.send(context, basic::GetEmpty::new());
            return Ok(());
        };
        let tag = self.unsettled.deliver((!get.no_ack).then_some(unacked));
        let message = stored.message;
        let (exchange, key) = (message.exchange.clone(), message.routing_key());
        let got = basic::GetOk::new(tag, stored.redelivered, exchange, key, count(left));
        context.out.send_content(self.key.number, got, &message);
        Ok(())
    }

    pub(super) fn qos(&mut self, qos: &basic::Qos, context: &mut Context<'_>) -> Result<(), Fault> {
        if qos.prefetch_size != 0 {
            let size = qos.prefetch_size;
            return Err(Fault::not_implemented(format_args!("prefetch_size!=0 ({size})")));
        }
        // A limit for later consumers lifts the one for the whole channel: the last one of the two that was set holds.
        let for_channel = if qos.global { qos.prefetch_count } else { 0 };
        context.vhost.set_prefetch(self.key, for_channel);
        context.vhost.drain_all(&self.consumed());
        if !qos.global {
            self.prefetch = qos.prefetch_count;
        }
        self.send(context, basic::QosOk::new());
        Ok(())
    }

    pub(super) fn recover(&mut self, requeue: bool, answer: bool, context: &mut Context<'_>) -> Result<(), Fault> {
        if !requeue {
            return Err(Fault::not_implemented("requeue=false"));
        }
        let unacked = self.unsettled.take_all();
        self.settle(unacked, Settlement::Requeue, context);
        self.answer(!answer, context, basic::RecoverOk::new());
        Ok(())
    }

    pub(super) fn ack(&mut self, ack: &basic::Ack, context: &mut Context<'_>) -> Result<(), Fault> {
        self.settle_tag(ack.delivery_tag, ack.multiple, Settlement::Acknowledge, context)
    }

    pub(super) fn nack(&mut self, nack: &basic::Nack, context: &mut Context<'_>) -> Result<(), Fault> {
        let how = if nack.requeue { Settlement::Requeue } else { Settlement::Reject };
        self.settle_tag(nack.delivery_tag, nack.multiple, how, context)
    }

    pub(super) fn reject(&mut self, reject: &basic::Reject, context: &mut Context<'_>) -> Result<(), Fault> {
        let how = if reject.requeue { Settlement::Requeue } else { Settlement::Reject };
        self.settle_tag(reject.delivery_tag, false, how, context)
    }

    fn settle_tag(
        &mut self,
        tag: u64,
        multiple: bool,
        how: Settlement,
        context: &mut Context<'_>,
    ) -> Result<(), Fault> {
        let taken = self.unsettled.take(tag, multiple)?;
        if let Some(taken) = self.mode.defer_settlement(taken, how) {
            self.settle(taken, how, context);
        }
        Ok(())
    }

    /// Ends deliveries for good.
    pub(super) fn settle(&mut self, taken: Vec<(u64, Unacked)>, how: Settlement, context: &mut Context<'_>) {
        let unacked = taken.into_iter().map(|(_, unacked)| unacked).collect();
        if context.vhost.settle(self.key, unacked, how) {
            context.vhost.drain_all(&self.consumed());
        }
    }
}
