//! A delivery that knows its channel, and so can settle itself.

use std::ops::Deref;

use amqp_core::{Error, Misuse};

use crate::Channel;

/// A message for a consumer, or one that was fetched.
///
/// Settling it takes it away, so it cannot be settled twice. Any thread may do that. A delivery that is dropped stays
/// unsettled: the broker hands it out again when the channel is closed.
#[derive(Debug)]
pub struct Delivery {
    channel: Channel,
    delivery: amqp_core::Delivery,
    message_count: Option<u32>,
}

impl Delivery {
    pub(crate) fn new(channel: Channel, delivery: amqp_core::Delivery, message_count: Option<u32>) -> Self {
        Self { channel, delivery, message_count }
    }

    /// Acknowledges it. Waits for nothing; [`Channel::check`] or the next operation tells if the broker objects.
    ///
    /// # Errors
    ///
    /// The fault of the channel or connection, if there is one: nothing is sent then, and the broker has taken the
    /// message back. [`Misuse::SettledAlready`] for a consumer without acknowledgements.
    pub fn ack(self) -> Result<(), Error> {
        self.unsettled()?;
        self.channel.send(self.delivery.ack())
    }

    /// Acknowledges it and everything unsettled that was delivered before it on this channel.
    ///
    /// # Errors
    ///
    /// As [`ack`](Self::ack).
    pub fn ack_multiple(self) -> Result<(), Error> {
        self.unsettled()?;
        self.channel.send(self.delivery.ack().multiple())
    }

    /// Gives it back to its queue, to be delivered again.
    ///
    /// # Errors
    ///
    /// As [`ack`](Self::ack).
    pub fn nack(self) -> Result<(), Error> {
        self.unsettled()?;
        self.channel.send(self.delivery.nack())
    }

    /// Has it dropped, or dead-lettered if its queue says so.
    ///
    /// # Errors
    ///
    /// As [`ack`](Self::ack).
    pub fn reject(self) -> Result<(), Error> {
        self.unsettled()?;
        self.channel.send(self.delivery.reject())
    }

    /// How many messages are left in the queue, if this one was fetched.
    pub fn message_count(&self) -> Option<u32> {
        self.message_count
    }

    /// The message alone, for whoever settles it by other means.
    pub fn into_inner(self) -> amqp_core::Delivery {
        self.delivery
    }

    fn unsettled(&self) -> Result<(), Misuse> {
        if self.no_ack() { Err(Misuse::SettledAlready) } else { Ok(()) }
    }
}

impl Deref for Delivery {
    type Target = amqp_core::Delivery;

    fn deref(&self) -> &amqp_core::Delivery {
        &self.delivery
    }
}
