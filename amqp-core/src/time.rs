//! Time as the core sees it: microseconds since an origin that the driver picks.
//!
//! The core has no clock. A driver notes one moment when it starts and passes the time since then into every call
//! that depends on it; a simulation passes whatever it likes. Time must not run backwards; if it does, nothing
//! happens until it has caught up.

use core::time::Duration;

/// A moment, counted from the driver's own origin.
///
/// ```
/// use amqp_core::Instant;
///
/// let origin = std::time::Instant::now();
/// let now = Instant::from(origin.elapsed());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The origin itself.
    pub const ORIGIN: Self = Self(0);

    /// The moment `later`; the end of time if that is beyond it.
    #[must_use]
    pub fn saturating_add(self, later: Duration) -> Self {
        Self(self.0.saturating_add(Self::from(later).0))
    }

    /// The time from `earlier` to `self`; zero if `earlier` is later.
    pub fn saturating_duration_since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl From<Duration> for Instant {
    fn from(since_origin: Duration) -> Self {
        Self(u64::try_from(since_origin.as_micros()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates() {
        let start = Instant::from(Duration::from_secs(1));
        assert_eq!(
            start.saturating_add(Duration::from_millis(5)).saturating_duration_since(start),
            Duration::from_millis(5)
        );
        assert_eq!(start.saturating_duration_since(start.saturating_add(Duration::MAX)), Duration::ZERO);
    }
}
