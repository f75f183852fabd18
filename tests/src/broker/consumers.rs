//! The consumers of one queue, and whose turn it is.
//!
//! Higher priorities first; among equals whoever has waited longest. Exclusive means that there is no other; in a
//! queue with a single active consumer the others wait until that one is gone.

use amqp_core::wire::ShortString;

use super::ChannelKey;

/// One consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Consumer {
    pub(super) channel: ChannelKey,
    pub(super) tag: ShortString,
    pub(super) no_ack: bool,
    pub(super) exclusive: bool,
    /// How many messages it may hold unacknowledged; 0 is no limit.
    pub(super) prefetch: u16,
    pub(super) priority: i64,
}

#[derive(Clone, Debug)]
struct Member {
    consumer: Consumer,
    unacked: usize,
    /// When it had its last turn, counted in turns.
    last_turn: u64,
}

/// All consumers of a queue.
#[derive(Clone, Debug)]
pub(super) struct Consumers {
    members: Vec<Member>,
    single_active: bool,
    turns: u64,
}

impl Consumers {
    /// Nobody yet.
    pub(super) fn new(single_active: bool) -> Self {
        Self { members: Vec::new(), single_active, turns: 0 }
    }

    /// Whether a consumer may join: an exclusive one must be alone, and is no match for a single active one.
    pub(super) fn admits(&self, exclusive: bool) -> bool {
        if exclusive {
            self.members.is_empty() && !self.single_active
        } else {
            !self.members.iter().any(|member| member.consumer.exclusive)
        }
    }

    /// Adds a consumer at the end of the line.
    pub(super) fn join(&mut self, consumer: Consumer) {
        self.turns += 1;
        self.members.push(Member { consumer, unacked: 0, last_turn: self.turns });
    }

    /// Takes a consumer out. False if it is not there.
    pub(super) fn leave(&mut self, channel: ChannelKey, tag: &ShortString) -> bool {
        let before = self.members.len();
        self.members.retain(|member| !member.is(channel, tag));
        self.members.len() < before
    }

    /// Picks the consumer of the next message, of those that `may_take` it, and counts it as theirs.
    pub(super) fn pick(&mut self, may_take: impl Fn(&Consumer) -> bool) -> Option<Consumer> {
        let candidates = if self.single_active { self.members.get_mut(..1) } else { Some(&mut self.members[..]) };
        let member = candidates?
            .iter_mut()
            .filter(|member| member.has_room() && may_take(&member.consumer))
            .min_by_key(|member| (std::cmp::Reverse(member.consumer.priority), member.last_turn))?;
        self.turns += 1;
        member.last_turn = self.turns;
        member.unacked += usize::from(!member.consumer.no_ack);
        Some(member.consumer.clone())
    }

    /// A delivery to the consumer was acknowledged or given back.
    pub(super) fn settle(&mut self, channel: ChannelKey, tag: &ShortString) {
        if let Some(member) = self.members.iter_mut().find(|member| member.is(channel, tag)) {
            member.unacked = member.unacked.saturating_sub(1);
        }
    }

    /// Everybody, in the order of joining.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Consumer> {
        self.members.iter().map(|member| &member.consumer)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
}

impl Member {
    fn is(&self, channel: ChannelKey, tag: &ShortString) -> bool {
        self.consumer.channel == channel && self.consumer.tag == *tag
    }

    fn has_room(&self) -> bool {
        let Consumer { prefetch, no_ack, .. } = self.consumer;
        no_ack || prefetch == 0 || self.unacked < usize::from(prefetch)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::ConnectionId, *};

    const CHANNEL: ChannelKey = ChannelKey { connection: ConnectionId(1), number: 1 };

    fn consumer(tag: &str, prefetch: u16, priority: i64) -> Consumer {
        Consumer { channel: CHANNEL, tag: tag.into(), no_ack: false, exclusive: false, prefetch, priority }
    }

    fn joined(single_active: bool, members: impl IntoIterator<Item = Consumer>) -> Consumers {
        let mut consumers = Consumers::new(single_active);
        members.into_iter().for_each(|member| consumers.join(member));
        consumers
    }

    fn picks(consumers: &mut Consumers, count: usize) -> Vec<String> {
        (0..count).filter_map(|_| consumers.pick(|_| true)).map(|picked| picked.tag.to_string()).collect()
    }

    #[test]
    fn consumers_take_turns_within_their_prefetch() {
        let mut consumers = joined(false, [consumer("a", 2, 0), consumer("b", 1, 0)]);
        assert_eq!(picks(&mut consumers, 5), ["a", "b", "a"]);
        consumers.settle(CHANNEL, &"b".into());
        assert_eq!(picks(&mut consumers, 5), ["b"]);
    }

    #[test]
    fn higher_priorities_are_served_first() {
        let members = [consumer("lo", 2, -1), consumer("hi", 2, 5), consumer("mid", 2, 0)];
        assert_eq!(picks(&mut joined(false, members), 9), ["hi", "hi", "mid", "mid", "lo", "lo"]);
    }

    #[test]
    fn a_single_active_consumer_is_succeeded_by_the_next() {
        let mut consumers = joined(true, [consumer("a", 0, 0), consumer("b", 0, 0)]);
        assert_eq!(picks(&mut consumers, 2), ["a", "a"]);
        assert!(consumers.leave(CHANNEL, &"a".into()));
        assert_eq!(picks(&mut consumers, 1), ["b"]);
    }

    #[test]
    fn exclusive_means_alone() {
        let exclusive = Consumer { exclusive: true, ..consumer("a", 0, 0) };
        assert!(!joined(false, [exclusive]).admits(false));
        assert!(!joined(false, [consumer("a", 0, 0)]).admits(true));
        assert!(!joined(true, []).admits(true));
    }
}
