//! Channels: where everything but connecting happens.

use std::{collections::VecDeque, fmt, sync::Arc, time::Duration};

use amqp_core::{
    ChannelError, ChannelId, Error, Misuse, Publish, Returned,
    method::{Method, OneWay, Request, basic, channel},
    wire::ShortString,
};

use crate::{
    Confirm, Consumer, Delivery,
    connection::Owner,
    consumer::Mailbox,
    link::{Link, later},
    state::cost,
};

/// One channel of a connection.
///
/// A channel fails alone: an error on it touches no other. It may be cloned and used by many threads at once; each call
/// gets its own answer. Once it has failed, every operation on it reports why.
///
/// When its last handle is dropped the channel is closed, without waiting. An error that no operation has reported
/// then becomes a [`Notice`](crate::Notice) of the connection; [`close`](Self::close) reports it here.
#[derive(Clone)]
pub struct Channel(Arc<Handle>);

struct Handle {
    owner: Arc<Owner>,
    id: ChannelId,
}

impl Channel {
    pub(crate) fn new(owner: Arc<Owner>, id: ChannelId) -> Self {
        Self(Arc::new(Handle { owner, id }))
    }

    /// Sends a request and waits for its answer, at most
    /// [`Config::call_timeout`](amqp_core::Config::call_timeout).
    ///
    /// ```no_run
    /// # fn main() -> Result<(), amqp_blocking::Error> {
    /// use amqp_blocking::method::queue;
    ///
    /// let connection = amqp_blocking::connect("amqp://localhost/")?;
    /// let channel = connection.open_channel()?;
    /// let queue = channel.call(queue::Declare::server_named())?.queue;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// What the broker answers instead of a reply; an error of an earlier operation that had no answer of its own;
    /// [`ChannelError::NoReply`] if the time is up; [`Misuse`] for a request that cannot be sent, and for a consumer, which
    /// [`consume`](Self::consume) starts.
    pub fn call<R: Request>(&self, request: R) -> Result<R::Reply, Error> {
        if R::ID == basic::Consume::ID {
            return Err(Misuse::NobodyConsumes.into());
        }
        self.link().call(|state| state.core.channel(self.id())?.call(request))
    }

    /// Sends a method that has no answer: an acknowledgement, or a request made silent by `nowait()`.
    ///
    /// # Errors
    ///
    /// The fault of the channel or connection, if there is one already. If the broker refuses the method, a later
    /// operation reports that.
    pub fn send<M: OneWay>(&self, method: M) -> Result<(), Error> {
        self.link().with(|state| state.core.channel(self.id())?.send(method))
    }

    /// Publishes a message and returns when it is queued, or waits while too much is queued or unconfirmed, at most
    /// [`Config::call_timeout`](amqp_core::Config::call_timeout). In confirm mode the result can be waited for.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send); [`Error::WouldBlock`] if there was no room in time.
    pub fn publish(&self, publish: Publish<'_>) -> Result<Confirm, Error> {
        let attempt = self.try_publish(publish.clone());
        if !matches!(attempt, Err(Error::WouldBlock)) {
            return attempt;
        }
        let link = self.link();
        let queued = link.wait_for(later(self.call_timeout()), |state| {
            let attempt = state.core.channel(self.id()).and_then(|mut channel| channel.publish(publish.clone()));
            (attempt != Err(Error::WouldBlock)).then_some(attempt)
        });
        // What was queued while waiting still has to leave.
        link.with(|_| ());
        let receipt = queued.unwrap_or(Err(Error::WouldBlock))?;
        Ok(Confirm::new(self.clone(), receipt.delivery_tag))
    }

    /// As [`publish`](Self::publish), without ever waiting.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send); [`Error::WouldBlock`] if there is no room.
    pub fn try_publish(&self, publish: Publish<'_>) -> Result<Confirm, Error> {
        let receipt = self.link().with(|state| state.core.channel(self.id())?.publish(publish))?;
        Ok(Confirm::new(self.clone(), receipt.delivery_tag))
    }

    /// A round trip without side effects. When it succeeds, everything sent before has been carried out: "no error" is a
    /// fact.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call), the fault of an earlier operation above all.
    pub fn sync(&self) -> Result<(), Error> {
        self.call(channel::Flow::new(true)).map(drop)
    }

    /// Fetches one message from a queue, if there is one.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub fn get(&self, request: basic::Get) -> Result<Option<Delivery>, Error> {
        let got = self.link().call(|state| state.core.channel(self.id())?.get(request))?;
        Ok(got.map(|got| Delivery::new(self.clone(), got.delivery, Some(got.message_count))))
    }

    /// Starts a consumer. Iterating over it waits for the next delivery, for ever;
    /// [`next_timeout`](Consumer::next_timeout) and [`try_next`](Consumer::try_next) do not.
    ///
    /// Without a limit, `channel.call(basic::Qos::new(20))?` *before* this, the broker sends all that is in the queue. What
    /// a program does not take fast enough is kept up to
    /// [`Config::event_limit`](amqp_core::Config::event_limit); then nothing more is read from the connection, and a
    /// broker that sees no reading for about three heartbeat intervals ends it. So set a limit, and acknowledge each
    /// delivery, or ask for `.no_ack()`.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub fn consume(&self, request: basic::Consume) -> Result<Consumer, Error> {
        let no_ack = request.no_ack;
        let mailbox = Arc::new(Mailbox::default());
        let mut tag = ShortString::new();
        let started = self.link().call(|state| {
            let (made, pending) = state.core.channel(self.id())?.consume(request)?;
            tag = made;
            // Deliveries may come in the same read as the answer.
            state.add_consumer(self.id(), tag.clone(), Arc::clone(&mailbox));
            Ok(pending)
        });
        if let Err(error) = started {
            self.forget_consumer(&tag);
            return Err(error);
        }
        Ok(Consumer::new(self.clone(), tag, no_ack, mailbox))
    }

    /// Ends a consumer of this channel: asks the broker for no more deliveries and waits until it agrees. What was on its
    /// way still comes. A tag that no consumer has is fine.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub fn cancel_consumer(&self, tag: &ShortString) -> Result<(), Error> {
        self.call(basic::Cancel::new(tag.clone())).map(drop)
    }

    /// Reports an error that has arrived, without waiting for one.
    ///
    /// # Errors
    ///
    /// The fault of the channel or connection.
    pub fn check(&self) -> Result<(), Error> {
        self.link().with(|state| state.core.channel(self.id())?.check())
    }

    /// Closes the channel and waits until the broker agrees: whatever was sent on it has then been carried out, or has
    /// failed. Closing it twice is harmless.
    ///
    /// # Errors
    ///
    /// The fault of the channel or connection, also if it was there before.
    pub fn close(&self) -> Result<(), Error> {
        let link = self.link();
        let closed = link.call(|state| state.core.channel(self.id())?.close());
        let wakeups = link.lock().end_consumers(self.id(), &ChannelError::Closed.into());
        link.wake(wakeups);
        match closed {
            Ok(_) | Err(Error::Channel(ChannelError::Closed)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Takes the mandatory messages that came back and that nobody has taken yet.
    pub fn take_returned(&self) -> VecDeque<Returned> {
        self.link().lock().take_returned(self.id())
    }

    /// The number that the channel has on the wire, as the broker shows it.
    pub fn number(&self) -> u16 {
        self.0.id.number()
    }

    /// Does something to the channel in the core that follows from nothing and leads to nothing.
    pub(crate) fn core<T>(&self, action: impl FnOnce(&mut amqp_core::Channel<'_>) -> T) -> Result<T, Error> {
        self.link().lock().core.channel(self.id()).map(|mut channel| action(&mut channel))
    }

    pub(crate) fn link(&self) -> &Link {
        &self.0.owner.link
    }

    pub(crate) fn id(&self) -> ChannelId {
        self.0.id
    }

    pub(crate) fn call_timeout(&self) -> Duration {
        self.link().lock().core.config().call_timeout
    }

    pub(crate) fn forget_consumer(&self, tag: &ShortString) {
        self.link().lock().remove_consumer(self.id(), tag);
    }

    /// Sends a request for which nobody waits, without waiting for anything.
    pub(crate) fn call_and_forget<R: Request>(&self, request: R) {
        self.link().with(|state| {
            let pending = state.core.channel(self.id()).and_then(|mut channel| channel.call(request));
            // A channel that has failed has reported that, or will.
            if let Ok(pending) = pending {
                state.core.abandon(pending);
            }
        });
    }

    /// Deliveries have left their mailbox.
    pub(crate) fn taken(&self, deliveries: &VecDeque<amqp_core::Delivery>) {
        if !deliveries.is_empty() {
            self.link().taken(deliveries.iter().map(cost).sum());
        }
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Channel").field(&self.number()).finish()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.owner.link.with(|state| state.remove_channel(self.id));
    }
}
