//! One channel: its state, and what a program may do on it.
//!
//! ```text
//! Opening --open-ok--> Open --close()--> Closing --close-ok--> Closed
//!    `------------------'--- the broker's close, answered at once -----^
//! ```
//!
//! A fault is kept from the moment it arrives: it answers every call that waits, and then every later operation. A
//! command that fails leaves everything as it was.

mod confirms;
mod inbound;
mod ledger;
mod publish;
mod whole;

use alloc::{boxed::Box, format, vec::Vec};

pub use self::publish::{Receipt, Window};
pub(super) use self::whole::Whole;
use self::{confirms::Confirms, ledger::Ledger};
use super::{
    content::Assembly,
    event::{Event, Events},
    output::{Output, write_frame},
    pending::{Answer, Call, CallId, Calls, MAX_PENDING_CALLS, Pending},
    timers::Timers,
};
use crate::{
    channel_id::ChannelId,
    config::Oversized,
    error::{ChannelError, Error},
    frame::FrameKind,
    message::Got,
    method::{AnyMethod, Method, MethodId, OneWay, ReplyCode, Request, basic, channel},
    wire::{Misuse, ShortString, Writer},
};

/// How many ended consumers are remembered so that deliveries which were on their way can be given back.
const MAX_ORPHANS: usize = 64;

/// What one channel is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// `channel.open` was sent.
    Opening,
    Open,
    /// We sent `channel.close`; whatever else comes is dropped.
    Closing,
    /// Both sides are done with the number.
    Closed,
}

/// Whether publishes are confirmed, transacted, or neither.
#[derive(Debug)]
enum Mode {
    Plain,
    /// Publishes are numbered from 1; that many came before.
    Confirms {
        before: u64,
        confirms: Box<Confirms>,
    },
    Transactions,
}

#[derive(Debug)]
struct Consumer {
    tag: ShortString,
    no_ack: bool,
    /// Nobody takes its deliveries any more: they are given back.
    orphan: bool,
}

/// Everything that is known about one channel.
#[derive(Debug)]
pub(super) struct State {
    id: ChannelId,
    life: Life,
    fault: Option<Error>,
    /// Whether an operation has reported the fault.
    reported: bool,
    /// Whether the owner has let go of the channel.
    released: bool,
    calls: Calls,
    /// An unfinished commit or rollback: RabbitMQ punishes whatever is sent behind it.
    barrier: Option<CallId>,
    assembly: Assembly,
    consumers: Vec<Consumer>,
    consumers_made: u64,
    mode: Mode,
    ledger: Ledger,
    window: Window,
    /// The broker asked for a pause in publishing.
    paused: bool,
}

/// Limits that channels share.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    pub(super) frame_max: usize,
    pub(super) message_size: usize,
    pub(super) assembly: usize,
    pub(super) outbox: usize,
    pub(super) oversized: Oversized,
}

/// What the channels share with the connection.
pub(super) struct Shared<'a> {
    pub(super) output: &'a mut Output,
    pub(super) events: &'a mut Events,
    pub(super) timers: &'a mut Timers,
    pub(super) limits: &'a Limits,
    /// Octets of messages that have come in part, on all channels.
    pub(super) assembling: &'a mut usize,
    pub(super) blocked: bool,
}

/// One channel, borrowed from its connection to do something on it.
///
/// Requests are values: [`call`](Self::call) takes what the broker answers, [`send`](Self::send) what it does not,
/// [`publish`](Self::publish) messages. Nothing waits: the answer to a call comes as an
/// [`Event::Answer`](crate::Event::Answer).
pub struct Channel<'a> {
    pub(super) state: &'a mut State,
    pub(super) shared: Shared<'a>,
}

impl State {
    pub(super) fn new(id: ChannelId) -> Self {
        Self {
            id,
            life: Life::Opening,
            fault: None,
            reported: false,
            released: false,
            calls: Calls::default(),
            barrier: None,
            assembly: Assembly::default(),
            consumers: Vec::new(),
            consumers_made: 0,
            mode: Mode::Plain,
            ledger: Ledger::default(),
            window: Window::default(),
            paused: false,
        }
    }

    pub(super) fn id(&self) -> ChannelId {
        self.id
    }

    /// Whether the number can be given to another channel.
    pub(super) fn is_free(&self) -> bool {
        self.released && self.life == Life::Closed
    }

    pub(super) fn call_mut(&mut self, id: CallId) -> Option<&mut Call> {
        self.calls.get_mut(id)
    }
}

impl Channel<'_> {
    /// Sends a request. Calls may be pipelined: each gets its own answer.
    ///
    /// The name of a queue or exchange takes up to 255 octets.
    ///
    /// # Errors
    ///
    /// The fault of the channel or connection, if there is one; [`Misuse`] for a request that cannot be sent.
    pub fn call<R: Request>(&mut self, request: R) -> Result<Pending<R::Reply>, Error> {
        let call = self.start(request.into(), R::Reply::ID)?;
        Ok(Pending::new(call, self.state.id))
    }

    /// Fetches one message from a queue, if there is one (class `basic`, method `get`).
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub fn get(&mut self, request: basic::Get) -> Result<Pending<Option<Got>>, Error> {
        let call = self.start(request.into(), basic::GetOk::ID)?;
        Ok(Pending::new(call, self.state.id))
    }

    /// Starts a consumer. Its tag is known at once: the request's own, or one made here if that is empty.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call); [`Misuse::ConsumerTagInUse`] for a tag that a consumer of this channel has.
    pub fn consume(&mut self, mut request: basic::Consume) -> Result<(ShortString, Pending<basic::ConsumeOk>), Error> {
        self.name_consumer(&mut request);
        let tag = request.consumer_tag.clone();
        self.call(request).map(|pending| (tag, pending))
    }

    /// Sends a method that has no answer: an acknowledgement, or a request made silent by `nowait()`.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call). If the broker refuses the method, it closes the channel later.
    pub fn send<M: OneWay>(&mut self, method: M) -> Result<(), Error> {
        self.ready()?;
        let method = self.checked(method.into())?;
        if let AnyMethod::QueueDeclare(declare) = &method
            && declare.queue.is_empty()
        {
            return Err(Misuse::UnnamedWithoutReply.into());
        }
        let after = self.waits_for(&method);
        self.write(&method, &after)?;
        self.sent(&method);
        Ok(())
    }

    /// Closes the channel, behind everything that was queued on it.
    ///
    /// # Errors
    ///
    /// The fault of the channel or connection, if there is one: then it is closed already.
    /// [`ChannelError::Closed`] if this was done before.
    pub fn close(&mut self) -> Result<Pending<channel::CloseOk>, Error> {
        self.ready()?;
        let call = self.start_close()?;
        Ok(Pending::new(call, self.state.id))
    }

    /// Reports the fault of the channel or its connection, if one has arrived. Sends nothing.
    ///
    /// # Errors
    ///
    /// The fault.
    pub fn check(&mut self) -> Result<(), Error> {
        self.ready()
    }

    /// The channel's name.
    pub fn id(&self) -> ChannelId {
        self.state.id
    }

    /// How many calls wait for their answer, abandoned ones included; none on a channel that has failed.
    pub fn pending_calls(&self) -> usize {
        if self.state.fault.is_some() { 0 } else { self.state.calls.len() }
    }

    /// Lets go of the channel: closes it if it is open, without anyone waiting for that. Gives the fault that no
    /// operation has reported.
    pub(super) fn release(&mut self) -> Option<Error> {
        self.state.released = true;
        if self.ready_state() && self.start_close().is_ok() {
            self.abandon_all();
        }
        let reported = core::mem::replace(&mut self.state.reported, true);
        self.state.fault.clone().filter(|_| !reported)
    }

    /// Marks a call as one that nobody waits for.
    pub(super) fn abandon(&mut self, call: CallId) {
        if let Some(call) = self.state.calls.get_mut(call) {
            call.abandoned = true;
            self.shared.timers.end_call(call.id, self.state.id, call.deadline.take());
        }
    }

    /// Ends a call that was not answered in time.
    pub(super) fn time_out(&mut self, call: CallId) {
        if self.state.life == Life::Closing && self.state.fault.is_some() {
            // Both closes have crossed, and the answer to ours will not come any more.
            self.state.life = Life::Closed;
            return;
        }
        let blocked = self.shared.blocked;
        if let Some(call) = self.state.calls.get_mut(call).filter(|call| !call.abandoned) {
            call.abandoned = true;
            call.deadline = None;
            let error = ChannelError::NoReply { method: call.request, blocked };
            self.shared.events.push(Event::Answer(Answer::new(call.id, Err(error.into()))));
        }
    }

    /// The end of the channel: answers all who wait and keeps the fault for all who come.
    pub(super) fn fail(&mut self, fault: &Error) {
        let fault = self.state.fault.get_or_insert_with(|| fault.clone()).clone();
        self.end_publishes(&fault);
        for call in self.state.calls.drain() {
            self.shared.timers.end_call(call.id, self.state.id, call.deadline);
            if !call.abandoned {
                self.state.reported = true;
                self.shared.events.push(Event::Answer(Answer::new(call.id, Err(fault.clone()))));
            }
        }
        self.state.consumers.clear();
        *self.shared.assembling = self.shared.assembling.saturating_sub(self.state.assembly.kept());
        self.state.assembly = Assembly::default();
    }

    /// As [`fail`](Self::fail), when the connection is gone and both sides are done with the number.
    pub(super) fn fail_with_connection(&mut self, fault: &Error) {
        self.fail(fault);
        self.state.life = Life::Closed;
    }

    /// The fault, if there is one; it counts as reported.
    fn ready(&mut self) -> Result<(), Error> {
        match &self.state.fault {
            Some(fault) => {
                self.state.reported = true;
                Err(fault.clone())
            }
            None if self.ready_state() => Ok(()),
            None => Err(ChannelError::Closed.into()),
        }
    }

    fn ready_state(&self) -> bool {
        self.state.fault.is_none() && matches!(self.state.life, Life::Opening | Life::Open)
    }

    fn start(&mut self, method: AnyMethod, reply: MethodId) -> Result<CallId, Error> {
        self.ready()?;
        if self.state.calls.len() >= MAX_PENDING_CALLS {
            return Err(Misuse::TooManyCalls { limit: MAX_PENDING_CALLS }.into());
        }
        let method = self.checked(method)?;
        let after = self.waits_for(&method);
        self.write(&method, &after)?;
        let call = self.enqueue(&method, reply);
        if matches!(method, AnyMethod::TxCommit(_) | AnyMethod::TxRollback(_)) {
            self.state.barrier = Some(call);
        }
        self.sent(&method);
        Ok(call)
    }

    pub(super) fn start_open(&mut self) -> Result<CallId, Error> {
        let open = channel::Open::new().into();
        self.write(&open, &[])?;
        Ok(self.enqueue(&open, channel::OpenOk::ID))
    }

    fn start_close(&mut self) -> Result<CallId, Error> {
        let close = channel::Close::new(ReplyCode::REPLY_SUCCESS, "").into();
        let after = self.state.barrier;
        self.write(&close, after.as_slice())?;
        self.state.life = Life::Closing;
        Ok(self.enqueue(&close, channel::CloseOk::ID))
    }

    /// The calls that must be answered before this may leave: an unfinished commit or rollback, and for a cancel the
    /// consume that it is about, because RabbitMQ crashes the channel when the cancel is there first.
    fn waits_for(&self, method: &AnyMethod) -> Vec<CallId> {
        let consume = match method {
            AnyMethod::BasicCancel(cancel) => self.state.calls.consume(&cancel.consumer_tag),
            _ => None,
        };
        self.state.barrier.into_iter().chain(consume).collect()
    }

    fn abandon_all(&mut self) {
        for call in self.state.calls.ids() {
            self.abandon(call);
        }
    }

    fn enqueue(&mut self, method: &AnyMethod, reply: MethodId) -> CallId {
        let id = self.shared.timers.start_call(self.state.id);
        let consumer_tag = match method {
            AnyMethod::BasicConsume(consume) => Some(consume.consumer_tag.clone()),
            AnyMethod::BasicCancel(cancel) => Some(cancel.consumer_tag.clone()),
            _ => None,
        };
        let no_ack = matches!(method, AnyMethod::BasicGet(get) if get.no_ack);
        let request = method.id();
        let published = self.state.ledger.published();
        let (deadline, abandoned) = (None, false);
        self.state.calls.push(Call { id, request, reply, consumer_tag, deadline, no_ack, published, abandoned });
        id
    }

    /// Refuses what the broker is known to punish, and names a consumer that has no name.
    fn checked(&self, mut method: AnyMethod) -> Result<AnyMethod, Misuse> {
        match &mut method {
            AnyMethod::BasicConsume(consume) => {
                self.name_consumer(consume);
                let lives = self.consumer(&consume.consumer_tag).is_some_and(|consumer| !consumer.orphan);
                if lives || self.state.calls.cancels(&consume.consumer_tag) {
                    return Err(Misuse::ConsumerTagInUse(consume.consumer_tag.clone()));
                }
            }
            AnyMethod::BasicQos(qos) if qos.prefetch_size != 0 => return Err(Misuse::NotImplemented("prefetch_size")),
            AnyMethod::BasicRecover(recover) if !recover.requeue => {
                return Err(Misuse::NotImplemented("basic.recover without requeue"));
            }
            AnyMethod::ConfirmSelect(_) if matches!(self.state.mode, Mode::Transactions) => {
                return Err(Misuse::ConfirmsAndTransactions);
            }
            AnyMethod::TxSelect(_) if matches!(self.state.mode, Mode::Confirms { .. }) => {
                return Err(Misuse::ConfirmsAndTransactions);
            }
            _ => {}
        }
        Ok(method)
    }

    /// What changes when this has been queued.
    fn sent(&mut self, method: &AnyMethod) {
        match method {
            AnyMethod::BasicConsume(consume) => {
                self.state.consumers.retain(|consumer| consumer.tag != consume.consumer_tag);
                self.state.consumers_made = self.state.consumers_made.saturating_add(1);
                let (tag, no_ack) = (consume.consumer_tag.clone(), consume.no_ack);
                self.state.consumers.push(Consumer { tag, no_ack, orphan: false });
            }
            AnyMethod::BasicCancel(cancel) if cancel.is_nowait() => {
                self.consumer_ended(&cancel.consumer_tag);
                self.orphan(&cancel.consumer_tag);
            }
            AnyMethod::ConfirmSelect(_) if matches!(self.state.mode, Mode::Plain) => {
                let before = self.state.ledger.published();
                self.state.mode = Mode::Confirms { before, confirms: Box::default() };
            }
            AnyMethod::TxSelect(_) => self.state.mode = Mode::Transactions,
            _ => {}
        }
    }

    fn name_consumer(&self, consume: &mut basic::Consume) {
        if consume.consumer_tag.is_empty() {
            let (number, made) = (self.state.id, self.state.consumers_made.saturating_add(1));
            consume.consumer_tag = format!("ctag-{number}.{made}").into();
        }
    }

    fn consumer(&self, tag: &ShortString) -> Option<&Consumer> {
        self.state.consumers.iter().find(|consumer| consumer.tag == *tag)
    }

    /// Tells that this program has ended a consumer, if that is not known.
    fn consumer_ended(&mut self, tag: &ShortString) {
        if self.consumer(tag).is_some_and(|consumer| !consumer.orphan) {
            let (channel, consumer_tag) = (self.state.id, tag.clone());
            self.shared.events.push(Event::ConsumerCancelled { channel, consumer_tag, by_broker: false });
        }
    }

    /// Nobody takes the deliveries of this consumer any more.
    fn orphan(&mut self, tag: &ShortString) {
        if let Some(consumer) = self.state.consumers.iter_mut().find(|consumer| consumer.tag == *tag) {
            consumer.orphan = true;
        }
        if self.state.consumers.iter().filter(|consumer| consumer.orphan).count() > MAX_ORPHANS
            && let Some(oldest) = self.state.consumers.iter().position(|consumer| consumer.orphan)
        {
            self.state.consumers.remove(oldest);
        }
    }

    fn write(&mut self, method: &AnyMethod, after: &[CallId]) -> Result<(), Misuse> {
        let (number, limit) = (self.state.id.number(), self.shared.limits.frame_max);
        self.shared.output.write(number, after, |writer| write_method(writer, number, method, limit))
    }
}

/// Writes a method frame; `limit` is the agreed `frame_max`.
pub(super) fn write_method(
    writer: &mut Writer<'_>,
    number: u16,
    method: &AnyMethod,
    limit: usize,
) -> Result<(), Misuse> {
    write_frame(writer, FrameKind::Method, number, limit, |writer| {
        let id = method.id();
        writer.short(id.class);
        writer.short(id.method);
        method.encode(writer)
    })
}

impl core::fmt::Debug for Channel<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.state.fmt(f)
    }
}
