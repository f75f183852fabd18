//! What became of publishes on a channel in confirm mode.
//!
//! Every publish ends in exactly one [`Outcome`]. They come in ranges, because brokers settle thousands at a time;
//! [`Outcomes`] keeps those that are not plain successes until somebody asks for them.

use alloc::{boxed::Box, collections::BTreeMap, vec::Vec};
use core::ops::RangeInclusive;

use crate::{channel_id::ChannelId, error::Error, message::Returned};

/// The end of one publish.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Outcome {
    /// The broker has taken it. That says nothing about queues: a message that is not mandatory and reaches none is
    /// taken too.
    Acked,
    /// The broker could not take it, as a queue that is full and rejects, or one that has failed.
    Nacked,
    /// It was mandatory and reached no queue. The message is here again.
    Returned(Box<Returned>),
    /// It is the one for which the broker closed the channel.
    Rejected(Error),
    /// It stood behind the one for which the broker closed the channel and was not carried out: it can be sent again.
    NotExecuted(Error),
    /// The channel or the connection ended before the broker settled it: it may have been carried out or not.
    Unknown(Error),
}

impl Outcome {
    /// True if the broker has taken it.
    pub fn is_acked(&self) -> bool {
        matches!(self, Self::Acked)
    }
}

/// Publishes that ended together.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Settled {
    /// The channel that was published on.
    pub channel: ChannelId,
    /// The numbers of the publishes, as their [`Receipt`](crate::Receipt)s have them.
    pub delivery_tags: RangeInclusive<u64>,
    /// How each of them ended.
    pub outcome: Outcome,
}

/// How many ranges of failures are kept for a program that does not ask; the oldest go first.
const MAX_FAILURES: usize = 65_536;

/// Remembers the outcomes of one channel for those who ask later. Successes take no room.
#[derive(Debug, Default)]
pub struct Outcomes {
    /// By the last number of each range, its first number and outcome.
    failures: BTreeMap<u64, (u64, Outcome)>,
}

impl Outcomes {
    /// Takes in what has ended.
    pub fn record(&mut self, settled: &Settled) {
        if settled.outcome.is_acked() {
            return;
        }
        if self.failures.len() >= MAX_FAILURES {
            self.failures.pop_first();
        }
        let (first, last) = (*settled.delivery_tags.start(), *settled.delivery_tags.end());
        self.failures.insert(last, (first, settled.outcome.clone()));
    }

    /// How a settled publish ended; it is not told a second time if it failed.
    pub fn take(&mut self, delivery_tag: u64) -> Outcome {
        let Some((&last, &(first, _))) = self.failures.range(delivery_tag..).next() else { return Outcome::Acked };
        if delivery_tag < first {
            return Outcome::Acked;
        }
        let Some((_, outcome)) = self.failures.remove(&last) else { return Outcome::Acked };
        // What is left of the range on both sides is still to be told.
        if delivery_tag < last {
            self.failures.insert(last, (delivery_tag.saturating_add(1), outcome.clone()));
        }
        if first < delivery_tag {
            self.failures.insert(delivery_tag.saturating_sub(1), (first, outcome.clone()));
        }
        outcome
    }

    /// Everything that failed and was not told yet, in the order of the publishes.
    pub fn take_failures(&mut self) -> Vec<(RangeInclusive<u64>, Outcome)> {
        let failures = core::mem::take(&mut self.failures);
        failures.into_iter().map(|(last, (first, outcome))| (first..=last, outcome)).collect()
    }
}
