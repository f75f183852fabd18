//! One channel of one connection: what it has declared, consumes, holds unacknowledged, and how far it is closed.
//!
//! ```text
//! Unopened ── channel.open ─► Open ── a soft error: close sent ─► Failed ── close-ok ─► gone
//!                              │
//!                              └───── close received: close-ok sent ─► Closed ── the client got it ─► gone
//! ```
//!
//! Methods on a channel that failed are ignored until the client has answered; those behind the client's own close
//! are too, except that opening the number again before it can know that it is free costs the connection.

mod assembly;
mod confirms;
mod consuming;
mod publishing;
mod topology;

use std::collections::{BTreeMap, VecDeque};

use amqp_core::{
    frame::Frame,
    method::{AnyMethod, MethodId, access, channel, tx},
    wire::ShortString,
};

use self::{
    assembly::{Assembly, Command},
    consuming::Unsettled,
    publishing::Mode,
};
use super::{
    ChannelKey,
    fault::{self, Fault},
    mailbox::Notice,
    name::Names,
    output::Output,
    queue::QueueRef,
    vhost::VirtualHost,
};

/// A channel.
#[derive(Debug)]
pub(super) struct Channel {
    key: ChannelKey,
    phase: Phase,
    assembly: Assembly,
    mode: Mode,
    consumers: BTreeMap<ShortString, QueueRef>,
    unsettled: Unsettled,
    /// `basic.qos` without `global`: what later consumers may hold unacknowledged.
    prefetch: u16,
    /// The queue that an empty name stands for: the one declared last.
    last_queue: Option<ShortString>,
    reply_consumer: Option<ReplyConsumer>,
}

/// How far a channel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Unopened,
    Open,
    /// Closed by the broker, which waits for the client's `close-ok`.
    Failed,
    /// Closed by the client, which has not read the answer yet.
    Closed,
}

/// The consumer of direct replies that a channel may have.
#[derive(Debug)]
struct ReplyConsumer {
    tag: ShortString,
    address: ShortString,
}

/// What a channel works with.
pub(super) struct Context<'a> {
    pub(super) vhost: &'a mut VirtualHost,
    pub(super) names: &'a mut Names,
    pub(super) out: &'a mut Output,
    pub(super) user: &'a ShortString,
    /// Whether the client wants to be told of consumers that go with their queue.
    pub(super) cancel_notify: bool,
}

/// An error, and the method that is to blame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) fault: Fault,
    pub(super) blamed: Option<MethodId>,
}

impl Failure {
    /// An error of a method.
    pub(super) fn of(fault: Fault, method: MethodId) -> Self {
        Self { fault, blamed: Some(method) }
    }

    fn channel_error(words: &str, method: &AnyMethod) -> Self {
        Self::of(Fault::channel_error(words), method.id())
    }
}

/// What becomes of a channel's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Stays,
    /// The number is free.
    Gone,
}

impl Channel {
    /// A number on which nothing has happened yet.
    pub(super) fn new(key: ChannelKey) -> Self {
        Self {
            key,
            phase: Phase::Unopened,
            assembly: Assembly::default(),
            mode: Mode::Plain,
            consumers: BTreeMap::new(),
            unsettled: Unsettled::default(),
            prefetch: 0,
            last_queue: None,
            reply_consumer: None,
        }
    }

    /// Takes a frame. Errors of the channel are dealt with here; the others are the connection's.
    pub(super) fn receive(&mut self, frame: &Frame, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        match self.assembly.receive(frame)? {
            Some(command) => self.handle(command, context),
            None => Ok(Outcome::Stays),
        }
    }

    /// Reads what the queues had to say.
    pub(super) fn read(&mut self, notices: VecDeque<Notice>, context: &mut Context<'_>) -> Result<(), Failure> {
        for notice in notices {
            if self.phase == Phase::Open {
                self.read_one(notice, context)?;
            }
        }
        if self.phase == Phase::Open {
            self.send_confirms(context);
        }
        Ok(())
    }

    /// The connection ends, or the client does: everything that the channel holds goes back.
    pub(super) fn end(&mut self, vhost: &mut VirtualHost) {
        if self.phase == Phase::Open {
            let consumers = std::mem::take(&mut self.consumers);
            let unacked = self.unsettled.take_all().into_iter().chain(self.mode.take_unacked());
            vhost.close_channel(self.key, &consumers, unacked.map(|(_, unacked)| unacked).collect());
        }
        self.mode = Mode::Plain;
    }

    /// The client has read what there was: it can have more, and knows of a close.
    pub(super) fn output_taken(&mut self, vhost: &mut VirtualHost) -> Outcome {
        match self.phase {
            Phase::Closed => return Outcome::Gone,
            Phase::Open if vhost.clear_backlog(self.key) => vhost.drain_all(&self.consumed()),
            Phase::Unopened | Phase::Open | Phase::Failed => {}
        }
        Outcome::Stays
    }

    /// Whether the number counts as an open channel.
    pub(super) fn is_counted(&self) -> bool {
        self.phase != Phase::Closed
    }

    fn handle(&mut self, command: Command, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let Command { method, content } = command;
        match (self.phase, &method) {
            (Phase::Unopened, AnyMethod::ChannelOpen(_)) => {
                self.phase = Phase::Open;
                context.vhost.open_channel(self.key);
                self.send(context, channel::OpenOk::new());
            }
            (Phase::Unopened, _) => return Err(Failure::channel_error("expected 'channel.open'", &method)),
            (_, AnyMethod::ChannelOpen(_)) => {
                return Err(Failure::channel_error("second 'channel.open' seen", &method));
            }
            (Phase::Failed, AnyMethod::ChannelCloseOk(_)) => return Ok(Outcome::Gone),
            (Phase::Closed, AnyMethod::ChannelCloseOk(_)) => {
                return Err(Failure::channel_error("expected 'channel.open'", &method));
            }
            (_, AnyMethod::ChannelClose(_)) => self.close(context),
            (Phase::Failed | Phase::Closed, _) => {}
            (Phase::Open, _) if self.mode.is_committing() => {
                let words = "unexpected command while processing 'tx.commit'";
                return Err(Failure::channel_error(words, &method));
            }
            (Phase::Open, _) => {
                let id = method.id();
                self.carry_out(method, content, context).or_else(|fault| self.fail(fault, id, context))?;
            }
        }
        Ok(Outcome::Stays)
    }

    fn close(&mut self, context: &mut Context<'_>) {
        self.end(context.vhost);
        self.send(context, channel::CloseOk::new());
        // What the client still owes an answer to, it has to answer first.
        if self.phase == Phase::Open {
            self.phase = Phase::Closed;
        }
    }

    /// Closes the channel for a soft error; passes a hard one on.
    fn fail(&mut self, fault: Fault, blamed: MethodId, context: &mut Context<'_>) -> Result<(), Failure> {
        let Fault::Channel(code, words) = fault else { return Err(Failure::of(fault, blamed)) };
        self.end(context.vhost);
        self.phase = Phase::Failed;
        let text = fault::reply_text(code, &words);
        let mut close = channel::Close::new(code, text);
        (close.class_id, close.method_id) = (blamed.class, blamed.method);
        self.send(context, close);
        Ok(())
    }

    fn carry_out(
        &mut self,
        method: AnyMethod,
        content: Option<assembly::Content>,
        context: &mut Context<'_>,
    ) -> Result<(), Fault> {
        match method {
            AnyMethod::BasicPublish(publish) => {
                let content = content.ok_or_else(Fault::internal)?;
                self.publish(publish, content, context)
            }
            AnyMethod::BasicAck(ack) => self.ack(&ack, context),
            AnyMethod::BasicNack(nack) => self.nack(&nack, context),
            AnyMethod::BasicReject(reject) => self.reject(&reject, context),
            AnyMethod::BasicGet(get) => self.get(&get, context),
            AnyMethod::BasicConsume(consume) => self.consume(&consume, context),
            AnyMethod::BasicCancel(cancel) => self.cancel(&cancel, context),
            AnyMethod::BasicQos(qos) => self.qos(&qos, context),
            AnyMethod::BasicRecover(recover) => self.recover(recover.requeue, true, context),
            AnyMethod::BasicRecoverAsync(recover) => self.recover(recover.requeue, false, context),
            AnyMethod::ConfirmSelect(select) => self.confirm_select(&select, context),
            AnyMethod::TxSelect(_) => self.tx_select(context),
            AnyMethod::TxCommit(_) => self.tx_commit(context),
            AnyMethod::TxRollback(_) => self.tx_rollback(context),
            AnyMethod::ChannelFlow(flow) if flow.active => {
                self.send(context, channel::FlowOk::new(true));
                Ok(())
            }
            AnyMethod::ChannelFlow(_) => Err(Fault::not_implemented("active=false")),
            AnyMethod::AccessRequest(_) => {
                self.send(context, access::RequestOk::new(1));
                Ok(())
            }
            method => self.change_topology(method, context),
        }
    }

    fn read_one(&mut self, notice: Notice, context: &mut Context<'_>) -> Result<(), Failure> {
        match notice {
            Notice::ConsumeOk(tag) => self.consumer_added(tag, context)?,
            Notice::CancelOk(tag) => self.consumer_removed(tag, context),
            Notice::Cancelled(tag) => self.consumer_lost(tag, context),
            Notice::Deliver(delivery) => self.deliver(delivery, context),
            Notice::Stored(number) => self.mode.confirm(|confirms| confirms.stored(number)),
            Notice::Refused(number) => self.mode.confirm(|confirms| confirms.refused(number)),
            Notice::Committed { complete } => {
                let result = self.committed(complete, context);
                result.or_else(|fault| self.fail(fault, tx_commit_id(), context))?;
            }
        }
        Ok(())
    }

    /// The queues that the channel consumes from.
    fn consumed(&self) -> Vec<ShortString> {
        self.consumers.values().map(|queue| queue.name.clone()).collect()
    }

    fn send(&self, context: &mut Context<'_>, method: impl Into<AnyMethod>) {
        context.out.send(self.key.number, method);
    }

    fn answer(&self, nowait: bool, context: &mut Context<'_>, method: impl Into<AnyMethod>) {
        if !nowait {
            self.send(context, method);
        }
    }
}

const fn tx_commit_id() -> MethodId {
    <tx::Commit as amqp_core::method::Method>::ID
}
