//! What the broker sends on one channel.

use alloc::boxed::Box;

use bytes::Bytes;

use super::{Channel, Life, Mode};
use crate::{
    config::Oversized,
    connection::{
        content::{Announced, Content},
        event::Event,
        outcome::{Outcome, Settled},
        pending::{Answer, Body, Call},
    },
    error::{ChannelError, Close, Error, Violation},
    frame::{Frame, FrameKind, read_method_id},
    message::{Delivery, Envelope, Got, Message, Returned},
    method::{AnyMethod, Method, MethodId, ReplyCode, basic, channel, connection},
    wire::{Malformed, Reader, ShortString},
};

impl Channel<'_> {
    /// Takes a frame of this channel.
    ///
    /// Behind our close answers and returned messages still count: they come before close-ok. Deliveries do not, the
    /// broker takes them back. Behind the broker's close only its answer to ours matters.
    pub(in crate::connection) fn receive(&mut self, frame: Frame) -> Result<(), Violation> {
        match self.state.life {
            Life::Closed => Ok(()),
            Life::Closing if self.state.fault.is_some() => self.receive_last(&frame),
            _ => match frame.kind {
                FrameKind::Method => self.receive_method(frame),
                FrameKind::Header => self.receive_header(&frame),
                FrameKind::Body => self.receive_body(frame),
                FrameKind::Heartbeat => Err(Violation::Heartbeat),
            },
        }
    }

    fn receive_last(&mut self, frame: &Frame) -> Result<(), Violation> {
        if frame.kind != FrameKind::Method || read_method_id(&mut Reader::new(&frame.payload))? != channel::CloseOk::ID
        {
            return Ok(());
        }
        self.receive_any(frame.decode_method()?)
    }

    fn receive_header(&mut self, frame: &Frame) -> Result<(), Violation> {
        let number = frame.channel;
        let header = frame.decode_header()?;
        if header.class_id != basic::Deliver::ID.class {
            return Err(Violation::ContentHeader { channel: number });
        }
        let size = header.body_size;
        let message = self.state.assembly.header(header, number, self.shared.limits.message_size as u64)?;
        if self.state.assembly.is_discarding() {
            self.shared.events.push(Event::Oversized { channel: self.state.id, size });
        }
        message.map_or(Ok(()), |message| self.deliver(message))
    }

    fn receive_body(&mut self, frame: Frame) -> Result<(), Violation> {
        let kept = self.state.assembly.kept();
        let message = self.state.assembly.body(frame.payload, frame.channel)?;
        let others = self.shared.assembling.saturating_sub(kept);
        *self.shared.assembling = others.saturating_add(self.state.assembly.kept());
        if *self.shared.assembling > self.shared.limits.assembly {
            *self.shared.assembling = others;
            let (channel, size) = (self.state.id, self.state.assembly.discard());
            self.shared.events.push(Event::Oversized { channel, size });
        }
        message.map_or(Ok(()), |message| self.deliver(message))
    }

    fn receive_method(&mut self, frame: Frame) -> Result<(), Violation> {
        let id = read_method_id(&mut Reader::new(&frame.payload))?;
        if !self.state.assembly.is_idle() && id != channel::Close::ID {
            return Err(Violation::ContentOrder { channel: frame.channel });
        }
        match id {
            basic::Deliver::ID => self.announce(Announced::Delivery, Envelope::deliver, id, frame.payload),
            basic::Return::ID => self.announce(Announced::Returned, Envelope::returned, id, frame.payload),
            basic::GetOk::ID => self.announce(Announced::Got, Envelope::got, id, frame.payload),
            _ => self.receive_any(frame.decode_method()?),
        }
    }

    fn announce(
        &mut self,
        announced: Announced,
        read: fn(Bytes) -> Result<Envelope, Malformed>,
        id: MethodId,
        payload: Bytes,
    ) -> Result<(), Violation> {
        if announced == Announced::Got && self.state.calls.oldest(id).is_none() {
            return Err(self.unexpected_reply(id));
        }
        let envelope =
            read(payload).map_err(|error| Violation::Malformed { what: id.name().unwrap_or("method"), error })?;
        self.state.assembly.announce(announced, envelope);
        Ok(())
    }

    fn receive_any(&mut self, method: AnyMethod) -> Result<(), Violation> {
        match method {
            AnyMethod::ChannelClose(close) => self.closed_by_peer(&close),
            AnyMethod::ChannelCloseOk(_) if self.state.life == Life::Closing => {
                self.state.life = Life::Closed;
                self.close_confirmed(&method);
            }
            AnyMethod::ChannelFlow(_) | AnyMethod::BasicCancel(_) if self.state.life == Life::Closing => {}
            AnyMethod::ChannelFlow(flow) => {
                self.state.paused = !flow.active;
                self.reply(&channel::FlowOk::new(flow.active).into());
                self.shared.events.push(Event::Flow { channel: self.state.id, active: flow.active });
            }
            AnyMethod::BasicCancel(cancel) => self.consumer_cancelled(cancel),
            AnyMethod::BasicAck(basic::Ack { delivery_tag, multiple, .. }) => {
                return self.confirmed(delivery_tag, multiple, true);
            }
            AnyMethod::BasicNack(basic::Nack { delivery_tag, multiple, .. }) => {
                return self.confirmed(delivery_tag, multiple, false);
            }
            AnyMethod::BasicGetEmpty(_) => {
                let call = self.answered(basic::GetEmpty::ID, None)?;
                self.answer(&call, Ok(Body::Got(None)));
            }
            method => return self.receive_reply(method),
        }
        Ok(())
    }

    fn receive_reply(&mut self, method: AnyMethod) -> Result<(), Violation> {
        let tag = match &method {
            AnyMethod::BasicConsumeOk(ok) => Some(ok.consumer_tag.clone()),
            AnyMethod::BasicCancelOk(ok) => Some(ok.consumer_tag.clone()),
            _ => None,
        };
        if !method.sent_by_server() || method.id().class == connection::Start::ID.class {
            return Err(Violation::UnexpectedMethod { method: method.id(), channel: self.state.id.number() });
        }
        let call = match self.answered(method.id(), tag.as_ref()) {
            // Brokers answer for consumers that are gone.
            Err(_) if tag.is_some() => return Ok(()),
            call => call?,
        };
        match &method {
            AnyMethod::ChannelOpenOk(_) if self.state.life == Life::Opening => self.state.life = Life::Open,
            AnyMethod::BasicCancelOk(ok) => {
                self.consumer_ended(&ok.consumer_tag);
                self.state.consumers.retain(|consumer| consumer.tag != ok.consumer_tag);
            }
            AnyMethod::BasicConsumeOk(ok) if call.abandoned => self.cancel_orphan(&ok.consumer_tag),
            _ => {}
        }
        if self.state.barrier == Some(call.id) {
            self.state.barrier = None;
        }
        self.shared.output.answered(self.state.id.number(), call.id);
        self.answer(&call, Ok(Body::Method(method)));
        Ok(())
    }

    /// A soft error, or ours crossing with theirs: exactly one close-ok, and nothing before it that was still queued.
    fn closed_by_peer(&mut self, close: &channel::Close) {
        if self.state.fault.is_some() {
            // It has been answered; RabbitMQ before 4.3 repeats itself when the answer takes long.
            return;
        }
        let number = self.state.id.number();
        let mut close = Close::new(close.reply_code, close.reply_text.as_bytes(), close.class_id, close.method_id);
        close.culprit = self.state.ledger.culprit(&close).map(Box::new);
        let error = ChannelError::ClosedByBroker(close);
        let close_was_queued = self.shared.output.purge(number);
        self.state.barrier = None;
        self.write_short(&channel::CloseOk::new().into());
        // Our close is on its way and will be answered, unless it never left.
        let awaits_close_ok = self.state.life == Life::Closing && !close_was_queued;
        self.state.life = if awaits_close_ok { Life::Closing } else { Life::Closed };
        self.fail(&Error::Channel(error.clone()));
        if awaits_close_ok {
            self.expect_close_ok();
        }
        self.shared.events.push(Event::ChannelClosed { channel: self.state.id, error });
    }

    /// Both closes have crossed. RabbitMQ 3.10 sometimes forgets its answer to ours when our close-ok comes right behind
    /// it (seen in 2 of 100 under load), so the number is not kept for it for ever.
    fn expect_close_ok(&mut self) {
        let close = channel::Close::new(ReplyCode::REPLY_SUCCESS, "").into();
        let call = self.enqueue(&close, channel::CloseOk::ID);
        if let Some(call) = self.state.calls.get_mut(call) {
            call.abandoned = true;
        }
    }

    /// The answer to our close. Calls that were pipelined in front of it and never answered end with it.
    fn close_confirmed(&mut self, method: &AnyMethod) {
        self.end_publishes(&ChannelError::Closed.into());
        for call in self.state.calls.drain() {
            let body = match call.reply {
                channel::CloseOk::ID => Ok(Body::Method(method.clone())),
                _ => Err(ChannelError::Closed.into()),
            };
            self.shared.timers.end_call(call.id, self.state.id, call.deadline);
            self.answer(&call, body);
        }
        self.state.consumers.clear();
    }

    fn consumer_cancelled(&mut self, cancel: basic::Cancel) {
        let known = self.state.consumers.iter().position(|consumer| consumer.tag == cancel.consumer_tag);
        if !cancel.is_nowait() {
            self.reply(&basic::CancelOk::new(cancel.consumer_tag.clone()).into());
        }
        // A cancel for a consumer that is gone has crossed with ours.
        if let Some(at) = known
            && !self.state.consumers.remove(at).orphan
        {
            let (channel, consumer_tag) = (self.state.id, cancel.consumer_tag);
            self.shared.events.push(Event::ConsumerCancelled { channel, consumer_tag, by_broker: true });
        }
    }

    fn confirmed(&mut self, delivery_tag: u64, multiple: bool, ack: bool) -> Result<(), Violation> {
        let (channel, events) = (self.state.id, &mut *self.shared.events);
        let settled = |delivery_tags, returned: Option<Returned>| {
            let outcome = match returned {
                Some(returned) => Outcome::Returned(Box::new(returned)),
                None if ack => Outcome::Acked,
                None => Outcome::Nacked,
            };
            events.push(Event::Settled(Settled { channel, delivery_tags, outcome }));
        };
        match &mut self.state.mode {
            Mode::Confirms { before, confirms } if delivery_tag <= confirms.published() => {
                let last = if multiple && delivery_tag == 0 { confirms.published() } else { delivery_tag };
                match (multiple, delivery_tag) {
                    (false, 0) => return Err(self.unexpected_reply(basic::Ack::ID)),
                    (false, _) => confirms.settle_one(last, settled),
                    (true, _) => confirms.settle_up_to(last, settled),
                }
                // The channel works in order: whatever was published before has been looked at.
                self.state.ledger.prove(before.saturating_add(last));
                Ok(())
            }
            _ => Err(self.unexpected_reply(if ack { basic::Ack::ID } else { basic::Nack::ID })),
        }
    }

    /// A message has come in whole.
    fn deliver(&mut self, content: Content) -> Result<(), Violation> {
        match content.announced {
            Announced::Returned => {
                if let Some(message) = self.message(content) {
                    self.take_returned(Returned::new(message));
                }
                Ok(())
            }
            Announced::Delivery => {
                self.deliver_to_consumer(content);
                Ok(())
            }
            Announced::Got => self.deliver_to_call(content),
        }
    }

    /// In confirm mode a message that came back is the outcome of its publish, otherwise it stands for itself.
    fn take_returned(&mut self, returned: Returned) {
        let unmatched = match &mut self.state.mode {
            Mode::Confirms { confirms, .. } => confirms.returned(returned),
            _ => Some(returned),
        };
        self.shared.events.extend(unmatched.map(Event::Returned));
    }

    fn deliver_to_consumer(&mut self, content: Content) {
        let tag = content.envelope.first_name();
        let consumer = self.state.consumers.iter().find(|consumer| consumer.tag.as_short_str() == tag);
        let (no_ack, orphan) = consumer.map_or((false, true), |consumer| (consumer.no_ack, consumer.orphan));
        let delivery_tag = content.envelope.delivery_tag;
        if self.state.life == Life::Closing {
            // The broker takes it back.
        } else if orphan {
            // It was on its way when its consumer ended: another consumer shall have it.
            self.give_back(delivery_tag, no_ack);
        } else if let Some(message) = self.message_or_settle(content, no_ack) {
            self.shared.events.push(Event::Delivery(Delivery::new(message, no_ack)));
        }
    }

    fn deliver_to_call(&mut self, content: Content) -> Result<(), Violation> {
        let call = self.answered(basic::GetOk::ID, None)?;
        let (delivery_tag, size) = (content.envelope.delivery_tag, content.size);
        if call.abandoned {
            self.give_back(delivery_tag, call.no_ack);
            return Ok(());
        }
        // What is within the limit of a message has met that of all together.
        let limits = [self.shared.limits.message_size as u64, self.shared.limits.assembly as u64];
        let limit = limits.into_iter().find(|limit| size > *limit).unwrap_or(limits[0]);
        let body = match self.message_or_settle(content, call.no_ack) {
            Some(message) => Ok(Body::Got(Some(Got::new(message, call.no_ack)))),
            None => Err(ChannelError::MessageTooLarge { size, limit }.into()),
        };
        self.answer(&call, body);
        Ok(())
    }

    /// The message; or, if it was too large to be kept, none: it is settled by policy.
    fn message_or_settle(&mut self, content: Content, no_ack: bool) -> Option<Message> {
        let delivery_tag = content.envelope.delivery_tag;
        let message = self.message(content);
        if message.is_none() && !no_ack {
            match self.shared.limits.oversized {
                Oversized::Reject => self.reply(&basic::Reject::new(delivery_tag).into()),
                Oversized::Requeue => self.reply(&basic::Reject::new(delivery_tag).requeue().into()),
                _ => {}
            }
        }
        message
    }

    fn message(&mut self, content: Content) -> Option<Message> {
        Some(Message::new(self.state.id, content.envelope, &content.properties, content.body?))
    }

    fn give_back(&mut self, delivery_tag: u64, no_ack: bool) {
        if !no_ack {
            self.reply(&basic::Nack::new(delivery_tag).into());
        }
    }

    /// A consumer was created that nobody waits for any more.
    fn cancel_orphan(&mut self, tag: &ShortString) {
        self.orphan(tag);
        if let Ok(call) = self.start(basic::Cancel::new(tag.clone()).into(), basic::CancelOk::ID) {
            self.abandon(call);
        }
    }

    fn answered(&mut self, reply: MethodId, tag: Option<&ShortString>) -> Result<Call, Violation> {
        let call = self.state.calls.answered_by(reply, tag.map(ShortString::as_short_str));
        let call = call.ok_or_else(|| self.unexpected_reply(reply))?;
        self.state.ledger.prove(call.published);
        self.shared.timers.end_call(call.id, self.state.id, call.deadline);
        Ok(call)
    }

    fn answer(&mut self, call: &Call, body: Result<Body, Error>) {
        if !call.abandoned {
            self.shared.events.push(Event::Answer(Answer::new(call.id, body)));
        }
    }

    fn unexpected_reply(&self, method: MethodId) -> Violation {
        Violation::UnexpectedReply { method, channel: self.state.id.number() }
    }

    /// Sends what the protocol owes the broker, unless our close was sent.
    fn reply(&mut self, method: &AnyMethod) {
        if self.state.life != Life::Closing {
            self.write_short(method);
        }
    }

    /// Writes a method of a few octets, which always fits a frame.
    fn write_short(&mut self, method: &AnyMethod) {
        let after = self.state.barrier;
        let fits = self.write(method, after.as_slice());
        debug_assert!(fits.is_ok(), "{method:?} fits a frame");
    }
}
