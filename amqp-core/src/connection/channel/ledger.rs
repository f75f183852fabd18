//! What was published on a channel and is not yet proven to have been carried out: who is to blame when the broker
//! rejects a publish.
//!
//! Publishing has no answer. When the broker closes the channel over a publish, its text names the exchange; the
//! culprit is one of the unproven publishes to it, and everything behind the last of them was discarded. An answer to
//! a later call, or a confirm, proves what was published before.
//!
//! Publishes in a row to the same exchange are one entry, so a publisher that stays with one exchange pays a comparison.

use alloc::collections::VecDeque;

use crate::{
    error::{Close, Culprit},
    message::Publish,
    method::{Method, basic},
    wire::ShortString,
};

/// How many changes of the exchange are remembered. Beyond it the oldest are forgotten, and blamed no more.
const MAX_RUNS: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// How many publishes there were.
    published: u64,
    /// How many of them, from the first, are proven.
    proven: u64,
    /// Whether unproven publishes are missing from the runs.
    forgotten: bool,
    runs: VecDeque<Run>,
}

/// Publishes in a row to one exchange.
#[derive(Debug)]
struct Run {
    /// The number of the first.
    first: u64,
    exchange: ShortString,
    /// The routing key of the first; none if the first is proven.
    routing_key: Option<ShortString>,
}

impl Ledger {
    /// Notes a publish that has been queued.
    pub(super) fn publish(&mut self, publish: &Publish<'_>) {
        self.published = self.published.saturating_add(1);
        if self.runs.back().is_some_and(|run| run.exchange.as_bytes() == publish.exchange) {
            return;
        }
        if self.runs.len() == MAX_RUNS {
            self.runs.pop_front();
            self.forgotten = true;
        }
        let name = |octets: &[u8]| ShortString::from(bytes::Bytes::copy_from_slice(octets));
        let (exchange, routing_key) = (name(publish.exchange), Some(name(publish.routing_key)));
        self.runs.push_back(Run { first: self.published, exchange, routing_key });
    }

    /// How many publishes there were so far.
    pub(super) fn published(&self) -> u64 {
        self.published
    }

    /// The first `count` publishes have been carried out.
    pub(super) fn prove(&mut self, count: u64) {
        if count <= self.proven {
            return;
        }
        self.proven = count.min(self.published);
        self.forgotten &= self.runs.front().is_some_and(|run| run.first > self.proven.saturating_add(1));
        let first_unproven = self.proven.saturating_add(1);
        // A run lasts until the next begins. The last one stays, so that publishing on costs only a comparison.
        while self.runs.get(1).is_some_and(|next| next.first <= first_unproven) {
            self.runs.pop_front();
        }
        if let Some(run) = self.runs.front_mut().filter(|run| run.first < first_unproven) {
            run.first = first_unproven;
            run.routing_key = None;
        }
    }

    /// The publish that this close is about, if it is about one and that can be told.
    pub(super) fn culprit(&self, close: &Close) -> Option<Culprit> {
        if close.method != Some(basic::Publish::ID) || self.proven >= self.published {
            return None;
        }
        let unproven = || self.runs.iter().filter(|run| run.first <= self.published);
        let is_named = |run: &&Run| names(&close.text, &run.exchange);
        let single = self.published.saturating_sub(self.proven) == 1;
        let first = unproven().find(is_named).or_else(|| unproven().next().filter(|_| single))?;
        // It is one of the publishes to this exchange. Which one is certain only if there is one.
        let ends = self.runs.iter().skip(1).map(|next| next.first.saturating_sub(1)).chain([self.published]);
        let named = self.runs.iter().zip(ends).filter(|(run, _)| run.exchange == first.exchange);
        let last = named.map(|(_, end)| end).max().unwrap_or(first.first);
        let number = if self.forgotten { self.proven.saturating_add(1).min(first.first) } else { first.first };
        Some(Culprit {
            number,
            last,
            exchange: first.exchange.clone(),
            routing_key: first.routing_key.clone().filter(|_| number == last),
            discarded: self.published.saturating_sub(last),
        })
    }
}

/// Whether the broker's words name this exchange. RabbitMQ says `exchange 'name' in vhost`.
fn names(text: &str, exchange: &ShortString) -> bool {
    let Ok(exchange) = exchange.as_str() else { return false };
    let named = |start: &str| start.strip_prefix(exchange).is_some_and(|rest| rest.starts_with("' in vhost '"));
    !exchange.is_empty() && text.split("exchange '").skip(1).any(named)
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;
    use crate::method::ReplyCode;

    fn publish(ledger: &mut Ledger, exchange: &str, routing_key: &str) {
        ledger.publish(&Publish::new(exchange, routing_key));
    }

    fn not_found(exchange: &str) -> Close {
        let text = format!("NOT_FOUND - no exchange '{exchange}' in vhost '/'");
        Close::new(ReplyCode::NOT_FOUND, text.as_bytes(), 60, 40)
    }

    #[test]
    fn the_only_publish_to_the_named_exchange_is_blamed() {
        let mut ledger = Ledger::default();
        for (exchange, key) in [("good", "1"), ("good", "2"), ("bad", "3"), ("good", "4"), ("good", "5")] {
            publish(&mut ledger, exchange, key);
        }
        let culprit = ledger.culprit(&not_found("bad")).unwrap();
        assert_eq!((culprit.number, culprit.last, culprit.discarded), (3, 3, 2));
        assert_eq!(culprit.routing_key.unwrap(), "3");
    }

    #[test]
    fn of_several_any_may_be_to_blame() {
        // The exchange may have been deleted between them.
        let mut ledger = Ledger::default();
        for exchange in ["good", "gone", "gone", "good", "gone", "good"] {
            publish(&mut ledger, exchange, "key");
        }
        let culprit = ledger.culprit(&not_found("gone")).unwrap();
        assert_eq!((culprit.number, culprit.last, culprit.discarded), (2, 5, 1));
        assert!(!culprit.is_certain());
    }

    #[test]
    fn what_was_forgotten_may_be_to_blame_too() {
        let mut ledger = Ledger::default();
        for number in 0..2 * MAX_RUNS as u64 {
            publish(&mut ledger, if number % 2 == 0 { "even" } else { "odd" }, "key");
        }
        publish(&mut ledger, "last", "key");
        let culprit = ledger.culprit(&not_found("last")).unwrap();
        assert_eq!((culprit.number, culprit.last), (1, 2 * MAX_RUNS as u64 + 1));
    }

    #[test]
    fn what_is_proven_is_not_blamed() {
        let mut ledger = Ledger::default();
        publish(&mut ledger, "x", "1");
        publish(&mut ledger, "x", "2");
        ledger.prove(1);
        let culprit = ledger.culprit(&not_found("x")).unwrap();
        assert_eq!((culprit.number, culprit.last, culprit.routing_key, culprit.discarded), (2, 2, None, 0));
        ledger.prove(2);
        assert_eq!(ledger.culprit(&not_found("x")), None);
    }

    #[test]
    fn without_a_name_only_a_single_publish_is_blamed() {
        let mut ledger = Ledger::default();
        let close = Close::new(ReplyCode::PRECONDITION_FAILED, b"PRECONDITION_FAILED - invalid expiration", 60, 40);
        publish(&mut ledger, "x", "1");
        assert_eq!(ledger.culprit(&close).unwrap().number, 1);
        publish(&mut ledger, "y", "2");
        assert_eq!(ledger.culprit(&close), None);
    }

    #[test]
    fn another_method_is_not_a_publish() {
        let mut ledger = Ledger::default();
        publish(&mut ledger, "x", "1");
        let close = Close::new(ReplyCode::NOT_FOUND, b"NOT_FOUND - no exchange 'x' in vhost '/'", 50, 20);
        assert_eq!(ledger.culprit(&close), None);
    }

    #[test]
    fn part_of_a_name_is_not_the_name() {
        assert!(names("no exchange 'ab' in vhost '/'", &"ab".into()));
        assert!(!names("no exchange 'ab' in vhost 'v'", &"v".into()));
        assert!(!names("user_id property set to 'joe' but authenticated user was 'guest'", &"guest".into()));
        assert!(!names("no exchange 'xab' in vhost '/'", &"ab".into()));
        assert!(!names("no exchange 'ab' in vhost '/'", &"".into()));
    }
}
