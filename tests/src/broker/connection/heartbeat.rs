//! Heartbeats, as RabbitMQ keeps time: it looks at counters every so often instead of timing each octet.
//!
//! With an interval of N seconds it looks every N/2 whether it has sent anything, and sends a heartbeat if not; and
//! every N whether anything has come, and gives up the second time that nothing has.

use std::time::Duration;

use amqp_core::Instant;

/// Both watches of a connection.
#[derive(Clone, Debug)]
pub(super) struct Heartbeat {
    sending: Watch,
    receiving: Watch,
}

/// What a look at the counters says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Findings {
    /// Nothing was sent: a heartbeat is due.
    pub(super) is_due: bool,
    /// Nothing has come for too long.
    pub(super) is_alone: bool,
}

/// A counter that is looked at every so often.
#[derive(Clone, Debug)]
struct Watch {
    period: Duration,
    next: Instant,
    seen: u64,
    unchanged: u32,
    /// How many looks without a change are fine.
    patience: u32,
}

impl Heartbeat {
    /// Watches with an interval in seconds; none if it is zero.
    pub(super) fn start(seconds: u16, now: Instant) -> Option<Self> {
        let interval = Duration::from_secs(seconds.into());
        (seconds != 0)
            .then(|| Self { sending: Watch::new(interval / 2, 0, now), receiving: Watch::new(interval, 1, now) })
    }

    /// When to look next.
    pub(super) fn next(&self) -> Instant {
        self.sending.next.min(self.receiving.next)
    }

    /// Looks at what is due: the octets sent and received so far. Nothing is expected of a client that is not read.
    pub(super) fn look(&mut self, sent: u64, received: u64, is_read: bool, now: Instant) -> Findings {
        let is_due = self.sending.is_stuck(sent, now);
        let is_alone = self.receiving.is_stuck(received, now) && is_read;
        Findings { is_due, is_alone }
    }

    /// A heartbeat was sent.
    pub(super) fn sent(&mut self, sent: u64) {
        self.sending.seen = sent;
    }
}

impl Watch {
    fn new(period: Duration, patience: u32, now: Instant) -> Self {
        Self { period, next: now.saturating_add(period), seen: 0, unchanged: 0, patience }
    }

    fn is_stuck(&mut self, counter: u64, now: Instant) -> bool {
        if now < self.next {
            return false;
        }
        self.next = now.saturating_add(self.period);
        if counter != self.seen {
            (self.seen, self.unchanged) = (counter, 0);
            return false;
        }
        self.unchanged += 1;
        self.unchanged > self.patience
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Instant {
        Instant::from(Duration::from_secs(seconds))
    }

    #[test]
    fn a_heartbeat_follows_half_an_interval_of_silence() {
        let mut heartbeat = Heartbeat::start(4, Instant::ORIGIN).expect("not zero");
        assert_eq!(heartbeat.next(), seconds(2));
        assert!(!heartbeat.look(10, 0, true, seconds(2)).is_due, "something was sent since the start");
        assert!(heartbeat.look(10, 0, true, seconds(4)).is_due);
    }

    #[test]
    fn a_silent_client_is_given_up_after_three_intervals() {
        let mut heartbeat = Heartbeat::start(2, Instant::ORIGIN).expect("not zero");
        let alone: Vec<u64> =
            (1..=8).filter(|&second| heartbeat.look(0, 100, true, seconds(second)).is_alone).collect();
        assert_eq!(alone, [6, 8], "its last octet came before the first look, which saw it");
    }

    #[test]
    fn nothing_is_expected_of_a_client_that_is_not_read() {
        let mut heartbeat = Heartbeat::start(2, Instant::ORIGIN).expect("not zero");
        assert!((1..=20).all(|second| !heartbeat.look(0, 100, false, seconds(second)).is_alone));
    }

    #[test]
    fn zero_means_none() {
        assert!(Heartbeat::start(0, Instant::ORIGIN).is_none());
    }
}
