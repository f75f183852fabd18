//! What queues tell a channel, and how much of it the channel takes.
//!
//! In RabbitMQ queues are processes of their own: what they say reaches a channel behind everything the client had
//! sent by then. `consume, qos, declare` sent together is answered by `qos-ok, declare-ok, consume-ok`, and an error
//! of the channel silences all that its queues still had to say. So a queue never writes to a client: it leaves a
//! [`Notice`], and notices are read when all input has been carried out.

use std::{collections::VecDeque, sync::Arc};

use amqp_core::wire::ShortString;

use super::{
    message::Message,
    queue::{Position, QueueRef},
};

/// How much may wait for a client that does not read, in octets, before its consumers get no more. A real broker is
/// slowed down by TCP here; this one must not grow without end.
const MAX_BACKLOG: usize = 4 * 1024 * 1024;
/// What a delivery costs besides its body and properties: frames, names and tags.
const DELIVERY_OVERHEAD: usize = 128;

/// What a queue says.
#[derive(Clone, Debug)]
pub(super) enum Notice {
    /// The consumer is known.
    ConsumeOk(ShortString),
    /// The consumer is gone, as the client asked.
    CancelOk(ShortString),
    /// The consumer is gone with its queue.
    Cancelled(ShortString),
    /// A message.
    Deliver(Delivery),
    /// The publish of this number is in all its queues.
    Stored(u64),
    /// A queue refused the publish of this number.
    Refused(u64),
    /// The publishes of a transaction are in their queues, or one of them refused.
    Committed {
        /// Whether no queue refused.
        complete: bool,
    },
}

/// A message on its way to a consumer.
#[derive(Clone, Debug)]
pub(super) struct Delivery {
    /// The consumer.
    pub(super) consumer_tag: ShortString,
    /// The queue and the place in it, if an acknowledgement is due.
    pub(super) unacked: Option<(QueueRef, Position)>,
    /// The message.
    pub(super) message: Arc<Message>,
    /// Whether it was delivered before.
    pub(super) redelivered: bool,
}

/// What waits for one channel, and the limits on what it gets.
#[derive(Clone, Debug, Default)]
pub(super) struct Mailbox {
    notices: VecDeque<Notice>,
    /// Octets given to the client and not yet taken to it.
    backlog: usize,
    /// `basic.qos` with `global`: how many messages may be unacknowledged on the channel; 0 is no limit.
    prefetch: u16,
    /// How many are.
    unacked: usize,
}

impl Mailbox {
    /// Leaves a notice.
    pub(super) fn push(&mut self, notice: Notice) {
        if let Notice::Deliver(delivery) = &notice {
            let message = &delivery.message;
            self.backlog += DELIVERY_OVERHEAD + message.body.len() + message.properties.len();
            self.unacked += usize::from(delivery.unacked.is_some());
        }
        self.notices.push_back(notice);
    }

    /// Takes all notices.
    pub(super) fn take(&mut self) -> VecDeque<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// Whether one more message may go to the channel.
    pub(super) fn takes_delivery(&self, no_ack: bool) -> bool {
        let within_prefetch = no_ack || self.prefetch == 0 || self.unacked < usize::from(self.prefetch);
        within_prefetch && !self.is_full()
    }

    /// Whether the client has so much to read that it gets no more.
    fn is_full(&self) -> bool {
        self.backlog >= MAX_BACKLOG
    }

    /// The client has taken all there was. True if it was so much that it got no more.
    pub(super) fn clear_backlog(&mut self) -> bool {
        let was_full = self.is_full();
        self.backlog = 0;
        was_full
    }

    /// Sets how many messages may be unacknowledged on the channel.
    pub(super) fn set_prefetch(&mut self, prefetch: u16) {
        self.prefetch = prefetch;
    }

    /// Deliveries were acknowledged or given back. True if the channel may be able to take more because of it.
    pub(super) fn settle(&mut self, deliveries: usize) -> bool {
        self.unacked = self.unacked.saturating_sub(deliveries);
        self.prefetch != 0 && deliveries > 0
    }
}
