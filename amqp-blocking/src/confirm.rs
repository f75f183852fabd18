//! Publisher confirms: waiting for what becomes of a publish.

use std::{fmt, ops::RangeInclusive, time::Duration};

use amqp_core::{
    ChannelError, Error, Misuse, Outcome, Publish,
    connection::{Outcomes, Window},
};

use crate::{Channel, link::later};

/// The broker's word on one publish, which comes later. Dropping it cancels nothing, and a failure is still listed by
/// [`Channel::wait_for_confirms`].
#[derive(Clone)]
pub struct Confirm {
    channel: Channel,
    delivery_tag: Option<u64>,
}

/// Publishes that were not simply taken: their numbers, and what became of each of them.
pub type Failure = (RangeInclusive<u64>, Outcome);

impl Confirm {
    pub(crate) fn new(channel: Channel, delivery_tag: Option<u64>) -> Self {
        Self { channel, delivery_tag }
    }

    /// The number of the publish in confirm mode; the first is 1.
    pub fn delivery_tag(&self) -> Option<u64> {
        self.delivery_tag
    }

    /// Waits until the broker has settled the publish, at most
    /// [`Config::call_timeout`](amqp_core::Config::call_timeout). `Ok` only means that the outcome is known: look at it,
    /// or use [`Channel::publish_confirmed`], which makes an error of everything but a success.
    ///
    /// # Errors
    ///
    /// As [`wait_timeout`](Self::wait_timeout).
    pub fn wait(&self) -> Result<Outcome, Error> {
        self.wait_timeout(self.channel.call_timeout())
    }

    /// Waits until the broker has settled the publish, at most that long. Every publish has one outcome, which is told
    /// as often as it is asked for.
    ///
    /// # Errors
    ///
    /// [`ChannelError::Unconfirmed`] if the time is up: one may go on waiting. [`Misuse::NotConfirming`] if the channel
    /// is not in confirm mode. [`Misuse::OutcomeForgotten`] if thousands of later publishes have failed since.
    pub fn wait_timeout(&self, timeout: Duration) -> Result<Outcome, Error> {
        let delivery_tag = self.delivery_tag.ok_or(Misuse::NotConfirming)?;
        self.channel.wait_until_settled(timeout, |channel| !channel.is_unconfirmed(delivery_tag))?;
        let outcome =
            self.channel.link().lock().outcomes(self.channel.id()).and_then(|outcomes| outcomes.of(delivery_tag));
        Ok(outcome.ok_or(Misuse::OutcomeForgotten)?)
    }
}

impl fmt::Debug for Confirm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Confirm").field("channel", &self.channel).field("delivery_tag", &self.delivery_tag).finish()
    }
}

/// Publisher confirms; the channel has to be in confirm mode: `channel.call(confirm::Select::new())?`.
impl Channel {
    /// Publishes a message and waits for the broker to take it: publishing as a synchronous operation.
    ///
    /// # Errors
    ///
    /// Whatever keeps the broker from taking it: [`ChannelError::Nacked`], [`ChannelError::Returned`] for a mandatory
    /// message that reached no queue, the fault of the channel or connection. [`ChannelError::Unconfirmed`] if the
    /// broker says nothing in time. [`Misuse::NotConfirming`], before anything is sent.
    pub fn publish_confirmed(&self, publish: Publish<'_>) -> Result<(), Error> {
        if !self.is_confirming()? {
            return Err(Misuse::NotConfirming.into());
        }
        match self.publish(publish)?.wait()? {
            Outcome::Nacked => Err(ChannelError::Nacked.into()),
            Outcome::Returned(message) => Err(ChannelError::Returned(message).into()),
            Outcome::Rejected(fault) | Outcome::NotExecuted(fault) | Outcome::Unknown(fault) => Err(fault),
            _ => Ok(()),
        }
    }

    /// Waits until nothing is unconfirmed, at most [`Config::call_timeout`](amqp_core::Config::call_timeout), and gives
    /// what failed since it was asked for last. All is well if that is nothing.
    ///
    /// # Errors
    ///
    /// [`ChannelError::Unconfirmed`] if the time is up. The fault of the channel, if it has one and no publish was
    /// among its victims. [`Misuse::NotConfirming`] if the channel is not in confirm mode.
    pub fn wait_for_confirms(&self) -> Result<Vec<Failure>, Error> {
        if !self.is_confirming()? {
            return Err(Misuse::NotConfirming.into());
        }
        self.wait_until_settled(self.call_timeout(), |channel| channel.unconfirmed() == 0)?;
        let failures = self.take_failures();
        if failures.is_empty() {
            self.check()?;
        }
        Ok(failures)
    }

    /// Limits what may be unconfirmed: [`publish`](Self::publish) waits, [`try_publish`](Self::try_publish) fails
    /// beyond it.
    ///
    /// # Errors
    ///
    /// The fault of the connection, if there is one.
    pub fn set_window(&self, window: Window) -> Result<(), Error> {
        self.core(|channel| channel.set_window(window))
    }

    fn is_confirming(&self) -> Result<bool, Error> {
        self.core(|channel| channel.is_confirming())
    }

    fn wait_until_settled(
        &self,
        timeout: Duration,
        mut settled: impl FnMut(&amqp_core::Channel<'_>) -> bool,
    ) -> Result<(), Error> {
        let done = self.link().wait_for(later(timeout), |state| match state.core.channel(self.id()) {
            Ok(channel) => settled(&channel).then_some(()),
            Err(_) => Some(()),
        });
        done.ok_or(Error::Channel(ChannelError::Unconfirmed))
    }

    fn take_failures(&self) -> Vec<Failure> {
        self.link().lock().outcomes(self.id()).map(Outcomes::take_failures).unwrap_or_default()
    }
}
