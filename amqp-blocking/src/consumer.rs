//! Consumers: deliveries in a mailbox, and why there are no more.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use amqp_core::{
    ChannelError, Error,
    method::basic,
    wire::{ShortStr, ShortString},
};

use crate::{Channel, Delivery};

/// A consumer of one queue: an iterator over its deliveries.
///
/// It ends with a reason: after the last delivery comes one error that says why there will be no more (the channel or
/// connection failed or was closed, the broker cancelled the consumer), and then nothing. After
/// [`cancel`](Self::cancel) the deliveries that were on their way come, and then nothing.
///
/// Dropping a consumer cancels it without waiting; deliveries that it still holds go back to the queue.
pub struct Consumer {
    channel: Channel,
    tag: ShortString,
    no_ack: bool,
    mailbox: Arc<Mailbox>,
    /// Deliveries that were taken out of the mailbox together.
    batch: VecDeque<amqp_core::Delivery>,
    /// The reason has been told.
    ended: bool,
}

impl Consumer {
    pub(crate) fn new(channel: Channel, tag: ShortString, no_ack: bool, mailbox: Arc<Mailbox>) -> Self {
        Self { channel, tag, no_ack, mailbox, batch: VecDeque::new(), ended: false }
    }

    /// The consumer's tag.
    pub fn tag(&self) -> ShortStr<'_> {
        self.tag.as_short_str()
    }

    /// Waits for the next delivery, but not longer than `timeout`; `Ok(None)` if none came.
    ///
    /// # Errors
    ///
    /// Why the consumer has ended; [`ChannelError::ConsumerCancelled`] also after [`cancel`](Self::cancel).
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<Option<Delivery>, Error> {
        self.receive(Instant::now().checked_add(timeout))
    }

    /// The next delivery, if there is one already.
    ///
    /// # Errors
    ///
    /// As [`next_timeout`](Self::next_timeout).
    pub fn try_next(&mut self) -> Result<Option<Delivery>, Error> {
        self.receive(Some(Instant::now()))
    }

    /// Asks the broker for no more deliveries and waits until it agrees. What was on its way can still be taken.
    ///
    /// # Errors
    ///
    /// The fault of the channel or connection, if there is one.
    pub fn cancel(&mut self) -> Result<(), Error> {
        if self.mailbox.has_ended() {
            return self.channel.check();
        }
        self.channel.cancel_consumer(&self.tag)
    }

    /// Waits until `deadline`, or for ever.
    fn receive(&mut self, deadline: Option<Instant>) -> Result<Option<Delivery>, Error> {
        if self.batch.is_empty() {
            self.batch = self.mailbox.take(deadline);
            self.channel.taken(&self.batch);
        }
        match self.batch.pop_front() {
            Some(delivery) => Ok(Some(Delivery::new(self.channel.clone(), delivery, None))),
            None => match self.mailbox.ending() {
                None => Ok(None),
                Some(End::Failed(error)) => Err(error),
                Some(End::Cancelled) => {
                    let consumer_tag = self.tag.clone();
                    Err(ChannelError::ConsumerCancelled { consumer_tag, by_broker: false }.into())
                }
            },
        }
    }
}

impl Iterator for Consumer {
    type Item = Result<Delivery, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.receive(None).transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next.filter(|_| !(self.ended && self.mailbox.was_cancelled()))
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        // A channel that has failed has nothing to cancel, and its broker has taken the messages back.
        if !self.mailbox.has_ended() {
            let _ = self.channel.send(basic::Cancel::new(self.tag.clone()).nowait());
        }
        let left = self.mailbox.take(Some(Instant::now()));
        self.channel.taken(&left);
        if !self.no_ack {
            for delivery in self.batch.drain(..).chain(left) {
                let _ = self.channel.send(delivery.nack());
            }
        }
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("tag", &self.tag).field("channel", &self.channel.number()).finish()
    }
}

/// Why a mailbox gets no more deliveries.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// The consumer was cancelled by this program.
    Cancelled,
    Failed(Error),
}

impl End {
    pub(crate) fn failed(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Where deliveries wait for their consumer.
#[derive(Default)]
pub(crate) struct Mailbox {
    contents: Mutex<Contents>,
    arrived: Condvar,
}

#[derive(Default)]
struct Contents {
    deliveries: VecDeque<amqp_core::Delivery>,
    end: Option<End>,
    waiting: bool,
}

impl Mailbox {
    pub(crate) fn push(&self, delivery: amqp_core::Delivery) {
        self.lock().deliveries.push_back(delivery);
    }

    /// The first end counts.
    pub(crate) fn end(&self, end: End) {
        self.lock().end.get_or_insert(end);
    }

    pub(crate) fn wake(&self) {
        let waiting = self.lock().waiting;
        if waiting {
            self.arrived.notify_all();
        }
    }

    /// Waits for deliveries and takes all of them; none at the end, or when the deadline has passed.
    fn take(&self, deadline: Option<Instant>) -> VecDeque<amqp_core::Delivery> {
        let mut contents = self.lock();
        while contents.deliveries.is_empty() && contents.end.is_none() {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            contents.waiting = true;
            contents = match left {
                Some(Duration::ZERO) => {
                    contents.waiting = false;
                    break;
                }
                Some(left) => self.arrived.wait_timeout(contents, left).unwrap_or_else(PoisonError::into_inner).0,
                None => self.arrived.wait(contents).unwrap_or_else(PoisonError::into_inner),
            };
            contents.waiting = false;
        }
        std::mem::take(&mut contents.deliveries)
    }

    fn ending(&self) -> Option<End> {
        self.lock().end.clone()
    }

    fn has_ended(&self) -> bool {
        self.lock().end.is_some()
    }

    fn was_cancelled(&self) -> bool {
        matches!(self.lock().end, Some(End::Cancelled))
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
