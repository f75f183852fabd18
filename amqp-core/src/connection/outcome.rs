//! What became of publishes on a channel in confirm mode.
//!
//! Every publish ends in exactly one [`Outcome`]. They come in ranges, because brokers settle thousands at a time;
//! [`Outcomes`] keeps those that are not plain successes until somebody asks for them.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use core::ops::RangeInclusive;

use crate::{channel_id::ChannelId, error::Error, message::Returned};

/// The end of one publish.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[must_use = "a publish may have been refused or returned"]
pub enum Outcome {
    /// The broker has taken it. That says nothing about queues: a message that is not mandatory and reaches none is
    /// taken too.
    Acked,
    /// The broker could not take it, as a queue that is full and rejects, or one that has failed.
    Nacked,
    /// It was mandatory and reached no queue. This is the message.
    Returned(Box<Returned>),
    /// It is the one for which the broker closed the channel.
    Rejected(Error),
    /// It stood behind all that the broker may have closed the channel for, and was not carried out: it can be sent again.
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

/// How many ranges of failures are kept, for a program that does not ask for them.
const MAX_FAILURES: usize = 8192;

/// How many octets of returned messages are kept with them.
const MAX_OCTETS: usize = 64 * 1024 * 1024;

/// Remembers the outcomes of one channel for those who ask later. Successes take no room.
#[derive(Debug, Default)]
pub struct Outcomes {
    /// By the last number of each range.
    failures: BTreeMap<u64, Failed>,
    octets: usize,
    /// Up to here failures had to be forgotten.
    forgotten: u64,
    /// The numbers of ranges that were not listed yet, by their last.
    unlisted: BTreeSet<u64>,
}

#[derive(Debug)]
struct Failed {
    first: u64,
    outcome: Outcome,
}

impl Outcomes {
    /// Takes in what has ended.
    pub fn record(&mut self, settled: &Settled) {
        if settled.outcome.is_acked() {
            return;
        }
        let (first, last) = (*settled.delivery_tags.start(), *settled.delivery_tags.end());
        self.octets = self.octets.saturating_add(octets(&settled.outcome));
        self.failures.insert(last, Failed { first, outcome: settled.outcome.clone() });
        self.unlisted.insert(last);
        while self.failures.len() > MAX_FAILURES || self.octets > MAX_OCTETS {
            let Some((last, failed)) = self.failures.pop_first() else { return };
            self.octets = self.octets.saturating_sub(octets(&failed.outcome));
            self.unlisted.remove(&last);
            self.forgotten = self.forgotten.max(last);
        }
    }

    /// How a settled publish ended; none if that had to be forgotten, because thousands of failures came after it and
    /// nobody asked.
    pub fn of(&self, delivery_tag: u64) -> Option<Outcome> {
        match self.failures.range(delivery_tag..).next() {
            Some((_, failed)) if failed.first <= delivery_tag => Some(failed.outcome.clone()),
            _ if delivery_tag <= self.forgotten => None,
            _ => Some(Outcome::Acked),
        }
    }

    /// Everything that failed and was not listed yet, in the order of the publishes.
    pub fn take_failures(&mut self) -> Vec<(RangeInclusive<u64>, Outcome)> {
        let unlisted = core::mem::take(&mut self.unlisted);
        let listed = unlisted.into_iter().filter_map(|last| Some((last, self.failures.get(&last)?)));
        listed.map(|(last, failed)| (failed.first..=last, failed.outcome.clone())).collect()
    }
}

fn octets(outcome: &Outcome) -> usize {
    match outcome {
        Outcome::Returned(message) => message.body().len(),
        _ => 0,
    }
}
