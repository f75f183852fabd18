//! Channels: where everything but connecting happens.

use std::{collections::VecDeque, fmt, sync::Arc, time::Instant};

use amqp_core::{
    ChannelError, ChannelId, Error, Publish, Receipt, Returned,
    method::{OneWay, Request, basic},
    wire::ShortString,
};

use crate::{Consumer, Delivery, connection::Owner, consumer::Mailbox, link::cost};

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
    /// [`ChannelError::NoReply`] if the time is up; [`Misuse`](amqp_core::Misuse) for a request that cannot be sent.
    pub fn call<R: Request>(&self, request: R) -> Result<R::Reply, Error> {
        self.0.owner.link.call(|state| state.core.channel(self.0.id)?.call(request))
    }

    /// Sends a method that has no answer: an acknowledgement, or a request made silent by `nowait()`.
    ///
    /// # Errors
    ///
    /// The fault of the channel or connection, if there is one already. If the broker refuses the method, a later
    /// operation reports that.
    pub fn send<M: OneWay>(&self, method: M) -> Result<(), Error> {
        self.0.owner.link.with(|state| state.core.channel(self.0.id)?.send(method))
    }

    /// Publishes a message and returns when it is queued, or waits while too much is queued, at most
    /// [`Config::call_timeout`](amqp_core::Config::call_timeout).
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send); [`Error::WouldBlock`] if there was no room in time.
    pub fn publish(&self, publish: Publish<'_>) -> Result<Receipt, Error> {
        let link = &self.0.owner.link;
        let attempt = link.with(|state| state.core.channel(self.0.id)?.publish(publish.clone()));
        if attempt != Err(Error::WouldBlock) {
            return attempt;
        }
        let deadline = Instant::now() + link.lock().core.config().call_timeout;
        let queued = link.wait_for(deadline, |state| {
            let attempt = state.core.channel(self.0.id).and_then(|mut channel| channel.publish(publish.clone()));
            (attempt != Err(Error::WouldBlock)).then_some(attempt)
        });
        // What was queued while waiting still has to leave.
        link.with(|_| ());
        queued.unwrap_or(Err(Error::WouldBlock))
    }

    /// Fetches one message from a queue, if there is one.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub fn get(&self, request: basic::Get) -> Result<Option<Delivery>, Error> {
        let got = self.0.owner.link.call(|state| state.core.channel(self.0.id)?.get(request))?;
        Ok(got.map(|got| Delivery::new(self.clone(), got.delivery, Some(got.message_count))))
    }

    /// Starts a consumer.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub fn consume(&self, request: basic::Consume) -> Result<Consumer, Error> {
        let no_ack = request.no_ack;
        let mailbox = Arc::new(Mailbox::default());
        let mut tag = ShortString::new();
        let started = self.0.owner.link.call(|state| {
            let (made, pending) = state.core.channel(self.0.id)?.consume(request)?;
            tag = made;
            // Deliveries may come in the same read as the answer.
            state.add_consumer(self.0.id, tag.clone(), Arc::clone(&mailbox));
            Ok(pending)
        });
        if let Err(error) = started {
            self.forget_consumer(&tag);
            return Err(error);
        }
        Ok(Consumer::new(self.clone(), tag, no_ack, mailbox))
    }

    /// Reports an error that has arrived, without waiting for one.
    ///
    /// # Errors
    ///
    /// The fault of the channel or connection.
    pub fn check(&self) -> Result<(), Error> {
        self.0.owner.link.with(|state| state.core.channel(self.0.id)?.check())
    }

    /// Closes the channel and waits until the broker agrees: whatever was sent on it has then been carried out, or has
    /// failed. Closing it twice is harmless.
    ///
    /// # Errors
    ///
    /// The fault of the channel or connection, also if it was there before.
    pub fn close(&self) -> Result<(), Error> {
        let link = &self.0.owner.link;
        let closed = link.call(|state| state.core.channel(self.0.id)?.close());
        let wakeups = link.lock().end_consumers(self.0.id, &ChannelError::Closed.into());
        link.wake(wakeups);
        match closed {
            Ok(_) | Err(Error::Channel(ChannelError::Closed)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Takes the mandatory messages that came back and that nobody has taken yet.
    pub fn take_returned(&self) -> VecDeque<Returned> {
        self.0.owner.link.lock().take_returned(self.0.id)
    }

    /// The number that the channel has on the wire, as the broker shows it.
    pub fn number(&self) -> u16 {
        self.0.id.number()
    }

    pub(crate) fn forget_consumer(&self, tag: &ShortString) {
        self.0.owner.link.lock().remove_consumer(self.0.id, tag);
    }

    /// Deliveries have left their mailbox.
    pub(crate) fn taken(&self, deliveries: &VecDeque<amqp_core::Delivery>) {
        if !deliveries.is_empty() {
            self.0.owner.link.taken(deliveries.iter().map(cost).sum());
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
