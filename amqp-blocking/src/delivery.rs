//! A delivery that knows its channel, and so can settle itself.

use std::{
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use amqp_core::{
    Error, Misuse,
    method::{OneWay, basic},
};

use crate::{Channel, OnFailure};

/// A message for a consumer, or one that was fetched.
///
/// Settling it takes it away, so it cannot be settled twice. Any thread may do that. A delivery that is dropped stays
/// unsettled: the broker hands it out again when the channel is closed.
#[derive(Debug)]
pub struct Delivery {
    channel: Channel,
    delivery: amqp_core::Delivery,
    message_count: Option<u32>,
    /// Set when it is settled, for whoever has to settle it if nobody else does.
    settled: Option<Arc<AtomicBool>>,
}

/// A delivery that was handed on, to be settled if nobody else does.
pub(crate) struct Custody {
    channel: Channel,
    delivery_tag: u64,
    settled: Arc<AtomicBool>,
}

impl Custody {
    /// Settles the delivery, if that was not done.
    pub(crate) fn settle(self, on_failure: OnFailure) {
        if self.settled.load(Ordering::Relaxed) {
            return;
        }
        // A channel that has failed has given all its messages back.
        let _ = match on_failure {
            OnFailure::Reject => self.channel.send(basic::Reject::new(self.delivery_tag)),
            OnFailure::Requeue => self.channel.send(basic::Nack::new(self.delivery_tag)),
            OnFailure::Leave => Ok(()),
        };
    }
}

impl Delivery {
    pub(crate) fn new(channel: Channel, delivery: amqp_core::Delivery, message_count: Option<u32>) -> Self {
        Self { channel, delivery, message_count, settled: None }
    }

    /// Acknowledges it. Waits for nothing; [`Channel::check`] or the next operation tells if the broker objects.
    ///
    /// # Errors
    ///
    /// The fault of the channel or connection, if there is one: nothing is sent then, and the broker has taken the
    /// message back. [`Misuse::SettledAlready`] for a consumer without acknowledgements.
    pub fn ack(self) -> Result<(), Error> {
        self.settle(self.delivery.ack())
    }

    /// Acknowledges it and everything unsettled that was delivered before it on this channel.
    ///
    /// # Errors
    ///
    /// As [`ack`](Self::ack).
    pub fn ack_multiple(self) -> Result<(), Error> {
        self.settle(self.delivery.ack().multiple())
    }

    /// Gives it back to its queue, to be delivered again.
    ///
    /// # Errors
    ///
    /// As [`ack`](Self::ack).
    pub fn nack(self) -> Result<(), Error> {
        self.settle(self.delivery.nack())
    }

    /// Has it dropped, or dead-lettered if its queue says so.
    ///
    /// # Errors
    ///
    /// As [`ack`](Self::ack).
    pub fn reject(self) -> Result<(), Error> {
        self.settle(self.delivery.reject())
    }

    /// Ends the consumer that it is for, as [`Channel::cancel_consumer`].
    ///
    /// # Errors
    ///
    /// As [`Channel::call`].
    pub fn cancel_consumer(&self) -> Result<(), Error> {
        self.channel.cancel_consumer(&self.consumer_tag().to_short_string())
    }

    /// The channel that it came on.
    pub fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Lets it be settled by somebody else, if whoever has it does not.
    pub(crate) fn custody(&mut self) -> Custody {
        let settled = Arc::clone(self.settled.get_or_insert_with(|| Arc::new(AtomicBool::new(self.delivery.no_ack()))));
        Custody { channel: self.channel.clone(), delivery_tag: self.delivery.delivery_tag(), settled }
    }

    /// How many messages are left in the queue, if this one was fetched.
    pub fn message_count(&self) -> Option<u32> {
        self.message_count
    }

    /// The message alone, for whoever settles it by other means.
    pub fn into_inner(self) -> amqp_core::Delivery {
        self.delivery
    }

    fn settle<M: OneWay>(&self, settlement: M) -> Result<(), Error> {
        if self.no_ack() {
            return Err(Misuse::SettledAlready.into());
        }
        if let Some(settled) = &self.settled {
            settled.store(true, Ordering::Relaxed);
        }
        self.channel.send(settlement)
    }
}

impl Deref for Delivery {
    type Target = amqp_core::Delivery;

    fn deref(&self) -> &amqp_core::Delivery {
        &self.delivery
    }
}
