//! Publisher confirms: numbers of publishes, and how acknowledgements of many become few.

use std::collections::BTreeSet;

/// The publishes of a channel in confirm mode.
#[derive(Debug, Default)]
pub(super) struct Confirms {
    published: u64,
    /// Published, and their fate is not known yet.
    unconfirmed: BTreeSet<u64>,
    /// In all their queues, and the client does not know yet.
    stored: BTreeSet<u64>,
    /// Refused by a queue, and the client does not know yet.
    refused: BTreeSet<u64>,
}

/// What a client is told about its publishes: a number, and whether it stands for all before it too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Confirm {
    Ack { number: u64, multiple: bool },
    Nack { number: u64, multiple: bool },
}

impl Confirms {
    /// Counts a publish, whose fate is open.
    pub(super) fn published(&mut self) -> u64 {
        self.published += 1;
        self.unconfirmed.insert(self.published);
        self.published
    }

    /// All queues have it.
    pub(super) fn stored(&mut self, number: u64) {
        if self.unconfirmed.remove(&number) {
            self.stored.insert(number);
        }
    }

    /// A queue refused it.
    pub(super) fn refused(&mut self, number: u64) {
        if self.unconfirmed.remove(&number) {
            self.refused.insert(number);
        }
    }

    /// What to tell the client now: acknowledgements first, each kind with as few numbers as it takes.
    pub(super) fn take(&mut self) -> Vec<Confirm> {
        let (stored, refused) = (std::mem::take(&mut self.stored), std::mem::take(&mut self.refused));
        let mut confirms = match stored.iter().next() {
            // RabbitMQ does not say "multiple" of a single acknowledgement, but does so of a refusal.
            Some(&number) if stored.len() == 1 => vec![Confirm::Ack { number, multiple: false }],
            _ => self.coalesce(&stored, &refused, |number, multiple| Confirm::Ack { number, multiple }),
        };
        confirms.extend(self.coalesce(&refused, &stored, |number, multiple| Confirm::Nack { number, multiple }));
        confirms
    }

    /// Everything in front of the first number that is open or of the other kind goes in one piece.
    fn coalesce(
        &self,
        numbers: &BTreeSet<u64>,
        others: &BTreeSet<u64>,
        tell: impl Fn(u64, bool) -> Confirm,
    ) -> Vec<Confirm> {
        let first = |set: &BTreeSet<u64>| set.first().copied().unwrap_or(u64::MAX);
        let cut_off = first(&self.unconfirmed).min(first(others));
        let together = numbers.range(..cut_off).next_back().map(|&number| tell(number, true));
        together.into_iter().chain(numbers.range(cut_off..).map(|&number| tell(number, false))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Confirm::{Ack, Nack},
        *,
    };

    fn confirms(published: u64, stored: &[u64], refused: &[u64]) -> Vec<Confirm> {
        let mut confirms = Confirms::default();
        (0..published).for_each(|_| {
            confirms.published();
        });
        stored.iter().for_each(|&number| confirms.stored(number));
        refused.iter().for_each(|&number| confirms.refused(number));
        confirms.take()
    }

    #[test]
    fn a_run_from_the_start_is_one_acknowledgement() {
        assert_eq!(confirms(1, &[1], &[]), [Ack { number: 1, multiple: false }]);
        assert_eq!(confirms(20, &(1..=20).collect::<Vec<_>>(), &[]), [Ack { number: 20, multiple: true }]);
    }

    #[test]
    fn nothing_is_acknowledged_together_with_what_is_open() {
        let expected = [Ack { number: 2, multiple: true }, Ack { number: 4, multiple: false }];
        assert_eq!(confirms(4, &[1, 2, 4], &[]), expected);
    }

    #[test]
    fn refusals_follow_as_measured() {
        let single = |number| Nack { number, multiple: false };
        let expected = [Ack { number: 2, multiple: true }, single(3), single(4), single(5)];
        assert_eq!(confirms(5, &[1, 2], &[3, 4, 5]), expected);
        assert_eq!(confirms(1, &[], &[1]), [Nack { number: 1, multiple: true }]);
    }

    #[test]
    fn a_settled_number_is_not_settled_again() {
        assert_eq!(confirms(1, &[1, 1], &[1]), [Ack { number: 1, multiple: false }]);
    }
}
