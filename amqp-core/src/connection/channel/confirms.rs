//! Publisher confirms: which publishes are unsettled, and what came back of them.
//!
//! Publishes are numbered from 1. The broker settles single numbers in any order, or all up to one, and may repeat
//! itself. A message that reached no queue comes back *before* its publish is settled, and without its number: it
//! belongs to the oldest unsettled mandatory publish that looks like it.

use alloc::collections::{BTreeMap, VecDeque};
use core::ops::RangeInclusive;

use crate::{
    message::{Publish, Returned},
    method::Properties,
    wire::ShortString,
};

/// How much of each end of a body a returned message is recognised by.
const SAMPLE: usize = 256;

/// What an unsettled publish counts beside its body.
const PUBLISH_COST: usize = 64;

/// The publishes of one channel in confirm mode.
#[derive(Debug, Default)]
pub(super) struct Confirms {
    /// The number of the last publish.
    published: u64,
    /// What the latest publishes cost, 0 for those that are settled. The first of them is not.
    costs: VecDeque<usize>,
    unsettled: usize,
    unsettled_octets: usize,
    /// Mandatory publishes that may still come back, oldest first.
    mandatory: VecDeque<Mandatory>,
    /// Messages that came back and whose publish is about to be settled.
    returned: BTreeMap<u64, Returned>,
}

#[derive(Debug)]
struct Mandatory {
    delivery_tag: u64,
    likeness: u64,
}

impl Confirms {
    /// Numbers a publish that has been queued.
    pub(super) fn publish(&mut self, publish: &Publish<'_>) -> u64 {
        let cost = publish.body.len().saturating_add(PUBLISH_COST);
        self.published = self.published.saturating_add(1);
        self.costs.push_back(cost);
        self.unsettled = self.unsettled.saturating_add(1);
        self.unsettled_octets = self.unsettled_octets.saturating_add(cost);
        if publish.mandatory {
            let likeness = likeness(publish.exchange, publish.routing_key, publish.properties, publish.body.as_bytes());
            self.mandatory.push_back(Mandatory { delivery_tag: self.published, likeness });
        }
        self.published
    }

    /// The number of the last publish.
    pub(super) fn published(&self) -> u64 {
        self.published
    }

    /// How many publishes are not settled.
    pub(super) fn unsettled(&self) -> usize {
        self.unsettled
    }

    /// The octets of the publishes that are not settled.
    pub(super) fn unsettled_octets(&self) -> usize {
        self.unsettled_octets
    }

    pub(super) fn is_unsettled(&self, delivery_tag: u64) -> bool {
        self.cost_of(delivery_tag).is_some_and(|cost| *cost > 0)
    }

    /// The number of the oldest publish that is not settled; if there is none, of the next.
    pub(super) fn first(&self) -> u64 {
        self.published.saturating_add(1).saturating_sub(self.costs.len() as u64)
    }

    /// A message came back. It is kept until its publish is settled, or handed back if no publish looks like it.
    pub(super) fn returned(&mut self, returned: Returned) -> Option<Returned> {
        let properties = returned.properties().ok();
        let (exchange, routing_key) = (returned.exchange(), returned.routing_key());
        let likeness = likeness(exchange.as_bytes(), routing_key.as_bytes(), properties.as_ref(), returned.body());
        let at = self.mandatory.iter().position(|publish| publish.likeness == likeness);
        match at.and_then(|at| self.mandatory.remove(at)) {
            Some(publish) => {
                self.returned.insert(publish.delivery_tag, returned);
                None
            }
            None => Some(returned),
        }
    }

    /// The broker settles one publish. What was settled before is passed over.
    pub(super) fn settle_one(
        &mut self,
        delivery_tag: u64,
        mut settled: impl FnMut(RangeInclusive<u64>, Option<Returned>),
    ) {
        let index = delivery_tag.checked_sub(self.first()).and_then(|index| usize::try_from(index).ok());
        let Some(cost) = index.and_then(|index| self.costs.get_mut(index)).filter(|cost| **cost > 0) else { return };
        let cost = core::mem::take(cost);
        self.count_settled(cost);
        let mandatory = self.mandatory.binary_search_by_key(&delivery_tag, |publish| publish.delivery_tag);
        if let Ok(at) = mandatory {
            self.mandatory.remove(at);
        }
        self.trim();
        settled(delivery_tag..=delivery_tag, self.returned.remove(&delivery_tag));
    }

    /// The broker settles all publishes up to this one, in ranges; those that came back one by one.
    pub(super) fn settle_up_to(&mut self, last: u64, mut settled: impl FnMut(RangeInclusive<u64>, Option<Returned>)) {
        let known = self.mandatory.partition_point(|publish| publish.delivery_tag <= last);
        self.mandatory.drain(..known);
        let mut run = None;
        while self.first() <= last {
            let delivery_tag = self.first();
            let Some(cost) = self.costs.pop_front() else { break };
            self.count_settled(cost);
            let returned = if self.returned.is_empty() { None } else { self.returned.remove(&delivery_tag) };
            // A range ends at what was settled before, and at what came back.
            if cost > 0 && returned.is_none() {
                run = Some(run.map_or(delivery_tag, |(first, _)| first)).map(|first| (first, delivery_tag));
                continue;
            }
            if let Some((first, last)) = run.take() {
                settled(first..=last, None);
            }
            if cost > 0 {
                settled(delivery_tag..=delivery_tag, returned);
            }
        }
        self.trim();
        if let Some((first, last)) = run {
            settled(first..=last, None);
        }
    }

    /// Forgets what is settled up to the oldest that is not.
    fn trim(&mut self) {
        while self.costs.front() == Some(&0) {
            self.costs.pop_front();
        }
    }

    fn count_settled(&mut self, cost: usize) {
        self.unsettled = self.unsettled.saturating_sub(usize::from(cost > 0));
        self.unsettled_octets = self.unsettled_octets.saturating_sub(cost);
    }

    fn cost_of(&self, delivery_tag: u64) -> Option<&usize> {
        let index = delivery_tag.checked_sub(self.first())?;
        self.costs.get(usize::try_from(index).ok()?)
    }
}

/// What a returned message is recognised by: a hash (FNV-1a) of its names, of what tells messages apart among its
/// properties, and of the ends of its body. Headers are left out, because brokers remove some and reorder the rest.
fn likeness(exchange: &[u8], routing_key: &[u8], properties: Option<&Properties>, body: &[u8]) -> u64 {
    let property = |of: fn(&Properties) -> &Option<ShortString>| {
        properties.and_then(|properties| of(properties).as_ref()).map_or(&[][..], ShortString::as_bytes)
    };
    let timestamp = properties.and_then(|properties| properties.timestamp).unwrap_or_default().to_be_bytes();
    let length = (body.len() as u64).to_be_bytes();
    let parts = [
        exchange,
        routing_key,
        property(|properties| &properties.message_id),
        property(|properties| &properties.correlation_id),
        property(|properties| &properties.kind),
        property(|properties| &properties.reply_to),
        &timestamp,
        &length,
        body.get(..SAMPLE).unwrap_or(body),
        body.get(body.len().saturating_sub(SAMPLE)..).unwrap_or_default(),
    ];
    // A zero octet between the parts keeps their limits apart.
    let octets = parts.into_iter().flat_map(|part| part.iter().chain(&[0]));
    octets.fold(0xcbf2_9ce4_8422_2325, |hash, octet| (hash ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use alloc::{collections::BTreeSet, vec, vec::Vec};

    use bytes::Bytes;

    use super::*;
    use crate::{
        channel_id::ChannelId,
        message::{Envelope, Message},
    };

    fn with_published(count: u64) -> Confirms {
        let mut confirms = Confirms::default();
        for number in 1..=count {
            assert_eq!(confirms.publish(&Publish::new("", "q")), number);
        }
        confirms
    }

    fn settled(
        confirms: &mut Confirms,
        act: impl FnOnce(&mut Confirms, &mut dyn FnMut(RangeInclusive<u64>, Option<Returned>)),
    ) -> Vec<(u64, u64, bool)> {
        let mut ranges = vec![];
        act(confirms, &mut |range, returned| ranges.push((*range.start(), *range.end(), returned.is_some())));
        ranges
    }

    fn returned(routing_key: &str, body: &'static [u8]) -> Returned {
        let mut payload = vec![0, 60, 0, 50, 1, 56, 0, 0, routing_key.len() as u8];
        payload.extend_from_slice(routing_key.as_bytes());
        let envelope = Envelope::returned(payload.into()).unwrap();
        Returned::new(Message::new(ChannelId::new(1, 0), envelope, &[], Bytes::from_static(body)))
    }

    #[test]
    fn multiple_settles_what_single_ones_have_left() {
        let mut confirms = with_published(5);
        assert_eq!(settled(&mut confirms, |c, s| c.settle_one(3, s)), [(3, 3, false)]);
        assert_eq!(settled(&mut confirms, |c, s| c.settle_one(3, s)), []);
        assert_eq!(settled(&mut confirms, |c, s| c.settle_up_to(4, s)), [(1, 2, false), (4, 4, false)]);
        assert_eq!((confirms.first(), confirms.unsettled()), (5, 1));
        assert_eq!(settled(&mut confirms, |c, s| c.settle_up_to(4, s)), []);
        assert_eq!(settled(&mut confirms, |c, s| c.settle_one(5, s)), [(5, 5, false)]);
        assert_eq!((confirms.first(), confirms.unsettled_octets()), (6, 0));
    }

    #[test]
    fn a_returned_message_finds_its_publish() {
        let mut confirms = Confirms::default();
        for (key, body) in [("here", "1"), ("nowhere", "2"), ("nowhere", "3"), ("nowhere", "3")] {
            confirms.publish(&Publish::new("", key).body(body).mandatory());
        }
        assert_eq!(confirms.returned(returned("nowhere", b"3")), None);
        assert_eq!(confirms.returned(returned("nowhere", b"2")), None);
        assert!(confirms.returned(returned("nowhere", b"4")).is_some());
        let ranges = settled(&mut confirms, |c, s| c.settle_up_to(4, s));
        assert_eq!(ranges, [(1, 1, false), (2, 2, true), (3, 3, true), (4, 4, false)]);
    }

    #[test]
    fn random_confirms_agree_with_a_set() {
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let mut below = |bound: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % bound
        };
        let (mut confirms, mut model) = (Confirms::default(), BTreeSet::new());
        for _ in 0..20_000 {
            match below(4) {
                0 | 1 => {
                    model.insert(confirms.publish(&Publish::new("", "q")));
                }
                kind => {
                    let tag = below(confirms.published() + 1) + 1;
                    let is_meant = |other: &u64| if kind == 2 { *other == tag } else { *other <= tag };
                    let expected: Vec<u64> = model.iter().copied().filter(is_meant).collect();
                    model.retain(|other| !is_meant(other));
                    let ranges = settled(&mut confirms, |confirms, settled| match kind {
                        2 => confirms.settle_one(tag, settled),
                        _ => confirms.settle_up_to(tag, settled),
                    });
                    let numbers: Vec<u64> = ranges.into_iter().flat_map(|(first, last, _)| first..=last).collect();
                    assert_eq!(numbers, expected);
                }
            }
            assert_eq!(confirms.unsettled(), model.len());
            assert_eq!(model.first().copied().unwrap_or(confirms.published() + 1), confirms.first());
        }
    }
}
