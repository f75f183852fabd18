//! What the core tells its driver, and the queue that keeps it until it is asked.
//!
//! Data travels in events. The queue knows how many octets its events keep, so that a driver stops reading
//! ([`Connection::wants_read`](crate::Connection::wants_read)) before memory grows without bound.

use alloc::{collections::VecDeque, string::String};

use super::{
    outcome::{Outcome, Settled},
    pending::Answer,
};
use crate::{
    channel_id::ChannelId,
    error::{ChannelError, ConnectionError},
    message::{Delivery, Message, Returned},
    wire::ShortString,
};

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The handshake is done: channels can be opened.
    Opened,
    /// A call has ended; [`Pending::claim`](crate::Pending::claim) gives the reply or the error.
    Answer(Answer),
    /// A message for a consumer.
    Delivery(Delivery),
    /// A mandatory message reached no queue.
    Returned(Returned),
    /// Publishes on a channel in confirm mode have ended.
    Settled(Settled),
    /// A consumer has ended: the broker cancelled it, mostly because its queue was deleted, or this program did.
    ConsumerCancelled {
        /// The channel of the consumer.
        channel: ChannelId,
        /// The consumer's tag.
        consumer_tag: ShortString,
        /// Whether the broker cancelled it.
        by_broker: bool,
    },
    /// The broker asked for a pause in publishing on a channel, or ended it.
    Flow {
        /// The channel.
        channel: ChannelId,
        /// False while messages must not be published.
        active: bool,
    },
    /// The broker has run out of memory or disk space and reads nothing from this connection any more.
    Blocked {
        /// The broker's reason.
        reason: String,
    },
    /// The broker reads from this connection again.
    Unblocked,
    /// A message beyond [`Config::message_size_limit`](crate::Config::message_size_limit) was dropped while it came in,
    /// and settled as [`Config::oversized`](crate::Config::oversized) says.
    Oversized {
        /// The channel that it came on.
        channel: ChannelId,
        /// The size of its body in octets.
        size: u64,
    },
    /// The broker closed a channel. Its pending calls have been answered; whatever is done on it now fails with this.
    ChannelClosed {
        /// The channel.
        channel: ChannelId,
        /// Why.
        error: ChannelError,
    },
    /// The connection has ended: the last event there is. [`ConnectionError::Closed`] if this program closed it.
    Closed(ConnectionError),
}

/// What an event costs beside the octets of its message: about its own size in memory.
const EVENT_COST: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Events {
    queue: VecDeque<Event>,
    octets: usize,
}

impl Events {
    #[inline]
    pub(super) fn push(&mut self, event: Event) {
        self.octets = self.octets.saturating_add(cost(&event));
        self.queue.push_back(event);
    }

    pub(super) fn extend(&mut self, events: impl IntoIterator<Item = Event>) {
        events.into_iter().for_each(|event| self.push(event));
    }

    #[inline]
    pub(super) fn pop(&mut self) -> Option<Event> {
        let event = self.queue.pop_front()?;
        self.octets = self.octets.saturating_sub(cost(&event));
        Some(event)
    }

    /// How many octets the waiting events keep.
    pub(super) fn octets(&self) -> usize {
        self.octets
    }
}

fn cost(event: &Event) -> usize {
    let message = |message: &Message| message.body().len().saturating_add(message.encoded_properties().len());
    let octets = match event {
        Event::Delivery(delivery) => message(delivery),
        Event::Returned(returned) => message(returned),
        Event::Settled(Settled { outcome: Outcome::Returned(returned), .. }) => message(returned),
        Event::Answer(answer) => answer.message().map_or(0, message),
        _ => 0,
    };
    octets.saturating_add(EVENT_COST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_moved_without_a_call() {
        assert!(size_of::<Event>() <= 128, "{}", size_of::<Event>());
    }
}
