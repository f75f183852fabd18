//! The negotiation of `connection.tune`: the broker offers, we answer with what is agreed.
//!
//! The rule of this file: 0 is "no limit" on either side, but never goes out where the broker named a limit. RabbitMQ
//! resets the connection without a word if an answer is 0 or exceeds its offer; only the heartbeat is ours to choose.

use core::num::NonZeroU16;

use thiserror::Error;

use super::{Config, DEFAULT_FRAME_SIZE, MAX_FRAME_SIZE, MIN_FRAME_SIZE};
use crate::{
    error::ConnectionError,
    frame::{FRAME_OVERHEAD, FrameLimits},
    method::connection,
    wire::Misuse,
};

/// The numbers of the broker's `connection.tune`. 0 is "no limit", and for the heartbeat "none".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Offer {
    /// The largest channel number.
    pub channel_max: u16,
    /// The largest frame in octets.
    pub frame_max: u32,
    /// The heartbeat interval in seconds.
    pub heartbeat: u16,
}

impl From<&connection::Tune> for Offer {
    fn from(tune: &connection::Tune) -> Self {
        Self { channel_max: tune.channel_max, frame_max: tune.frame_max, heartbeat: tune.heartbeat }
    }
}

/// What was agreed: the numbers of `connection.tune-ok`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Tuning {
    /// The largest channel number; never 0.
    pub channel_max: u16,
    /// The largest frame in octets, from [`MIN_FRAME_SIZE`] to [`MAX_FRAME_SIZE`].
    pub frame_max: u32,
    /// The heartbeat interval in seconds; 0 is none.
    pub heartbeat: u16,
}

impl Tuning {
    /// Brings the broker's offer and our wishes together.
    ///
    /// # Errors
    ///
    /// [`TuneError`], if one of the two is below what the protocol allows.
    pub fn negotiate(offer: &Offer, config: &Config) -> Result<Self, TuneError> {
        config.check()?;
        // Below the minimum there is no room for a payload: clients have looped for ever on such an offer.
        if (1..MIN_FRAME_SIZE).contains(&offer.frame_max) {
            return Err(TuneError::FrameMaxOffered { offered: offer.frame_max, minimum: MIN_FRAME_SIZE });
        }
        Ok(Self {
            channel_max: match smaller_limit(config.channel_max, offer.channel_max) {
                0 => u16::MAX,
                limit => limit,
            },
            frame_max: match smaller_limit(config.frame_max, offer.frame_max) {
                0 => DEFAULT_FRAME_SIZE,
                limit => limit.min(MAX_FRAME_SIZE),
            },
            heartbeat: config.heartbeat.agreed(offer.heartbeat),
        })
    }

    /// What holds until the broker's offer is known.
    pub(crate) fn initial() -> Self {
        Self { channel_max: 0, frame_max: MIN_FRAME_SIZE, heartbeat: 0 }
    }

    /// The most octets of a body that one frame holds.
    pub fn max_body_payload(&self) -> usize {
        (self.frame_max as usize).saturating_sub(FRAME_OVERHEAD)
    }

    /// What the frame decoder takes from now on.
    ///
    /// Body frames keep to `frame_max`. Method and header frames may be as large as the broker's own limit, however
    /// little was agreed: RabbitMQ (3.10, 4.0) sends the header frame of a message whole, as its publisher sent it.
    pub fn frame_limits(&self, offer: &Offer, config: &Config) -> FrameLimits {
        let offered = match offer.frame_max {
            0 => u32::MAX,
            limit => limit,
        };
        FrameLimits { body: self.frame_max, other: config.capped(self.frame_max.max(offered).max(DEFAULT_FRAME_SIZE)) }
    }
}

/// How often each side shows that it lives, in seconds.
///
/// The broker's offer counts too: of two intervals the shorter one wins, and an offer of 0 leaves the choice to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Heartbeat {
    /// What the broker offers, be it nothing.
    Server,
    /// This interval, or the broker's if that is shorter.
    Every(NonZeroU16),
    /// None, whatever the broker offers. RabbitMQ obeys; a peer that vanishes is then found when something is written.
    Off,
}

impl Heartbeat {
    fn agreed(self, offered: u16) -> u16 {
        match self {
            Self::Server => offered,
            Self::Every(seconds) => smaller_limit(seconds.get(), offered),
            Self::Off => 0,
        }
    }
}

impl From<u16> for Heartbeat {
    /// An interval in seconds; 0 is [`Heartbeat::Off`].
    fn from(seconds: u16) -> Self {
        NonZeroU16::new(seconds).map_or(Self::Off, Self::Every)
    }
}

/// Why there is no agreement.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TuneError {
    /// The broker offers frames that are too small for the protocol.
    #[error("the broker offers a frame_max of {offered}, the protocol's minimum is {minimum}")]
    FrameMaxOffered {
        /// The broker's `frame_max`.
        offered: u32,
        /// The least there may be.
        minimum: u32,
    },
    /// Our own wish cannot be had.
    #[error(transparent)]
    Misuse(#[from] Misuse),
}

impl From<TuneError> for ConnectionError {
    fn from(error: TuneError) -> Self {
        match error {
            TuneError::FrameMaxOffered { offered, minimum } => Self::FrameMaxTooSmall { offered, minimum },
            TuneError::Misuse(misuse) => Self::Misuse(misuse),
        }
    }
}

/// The smaller of two limits, of which 0 is none.
fn smaller_limit<T: Ord + Default>(one: T, other: T) -> T {
    let none = T::default();
    if one == none {
        other
    } else if other == none {
        one
    } else {
        one.min(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn negotiated(offer: Offer, config: &Config) -> Tuning {
        Tuning::negotiate(&offer, config).unwrap()
    }

    #[test]
    fn channel_max_is_the_smaller_limit() {
        // offered, wanted, agreed
        let cases = [
            (0, 0, 65535),
            (0, 1, 1),
            (1, 0, 1),
            (2047, 0, 2047),
            (2047, 65535, 2047),
            (2047, 10, 10),
            (65535, 0, 65535),
            (65535, 65535, 65535),
        ];
        for (offered, wanted, agreed) in cases {
            let offer = Offer { channel_max: offered, ..Offer::default() };
            let tuning = negotiated(offer, &Config::default().channel_max(wanted));
            assert_eq!(tuning.channel_max, agreed, "offered {offered}, wanted {wanted}");
        }
    }

    #[test]
    fn frame_max_is_the_smaller_limit_below_our_ceiling() {
        // offered, wanted, agreed
        let cases = [
            (0, 0, 131_072),
            (0, 4096, 4096),
            (0, u32::MAX, MAX_FRAME_SIZE),
            (4096, 0, 4096),
            (4096, u32::MAX, 4096),
            (65535, 0, 65535),
            (131_072, 0, 131_072),
            (131_072, 8192, 8192),
            (131_072, 1_000_000, 131_072),
            (u32::MAX, 0, MAX_FRAME_SIZE),
            (u32::MAX, 65535, 65535),
            (u32::MAX, u32::MAX, MAX_FRAME_SIZE),
        ];
        for (offered, wanted, agreed) in cases {
            let offer = Offer { frame_max: offered, ..Offer::default() };
            let tuning = negotiated(offer, &Config::default().frame_max(wanted));
            assert_eq!(tuning.frame_max, agreed, "offered {offered}, wanted {wanted}");
            assert_eq!(tuning.max_body_payload(), agreed as usize - 8);
        }
    }

    #[test]
    fn frames_below_the_minimum_are_refused_on_either_side() {
        for offered in [1, 8, 4095] {
            let offer = Offer { frame_max: offered, ..Offer::default() };
            let refused = TuneError::FrameMaxOffered { offered, minimum: 4096 };
            assert_eq!(Tuning::negotiate(&offer, &Config::default()), Err(refused));
        }
        for wanted in [1, 4095] {
            let refused = Misuse::FrameMaxTooSmall { wanted, minimum: 4096 };
            let config = Config::default().frame_max(wanted);
            assert_eq!(Tuning::negotiate(&Offer::default(), &config), Err(TuneError::Misuse(refused)));
        }
    }

    #[test]
    fn heartbeat_is_the_shorter_interval() {
        let every = Heartbeat::from;
        // offered, wanted, agreed
        let cases = [
            (0, every(60), 60),
            (1, every(60), 1),
            (60, every(60), 60),
            (300, every(60), 60),
            (65535, every(65535), 65535),
            (60, every(0), 0),
            (60, Heartbeat::Off, 0),
            (0, Heartbeat::Off, 0),
            (0, Heartbeat::Server, 0),
            (60, Heartbeat::Server, 60),
            (65535, Heartbeat::Server, 65535),
        ];
        for (offered, wanted, agreed) in cases {
            let offer = Offer { heartbeat: offered, ..Offer::default() };
            let tuning = negotiated(offer, &Config::default().heartbeat(wanted));
            assert_eq!(tuning.heartbeat, agreed, "offered {offered}, wanted {wanted:?}");
        }
        assert_eq!(negotiated(Offer { heartbeat: 300, ..Offer::default() }, &Config::default()).heartbeat, 60);
    }

    #[test]
    fn header_frames_may_exceed_what_was_agreed() {
        // offered, wanted, header_limit, limit for bodies, limit for others
        let cases = [
            (131_072, 0, MAX_FRAME_SIZE, 131_072, 131_072),
            (131_072, 8192, MAX_FRAME_SIZE, 8192, 131_072),
            (8192, 0, MAX_FRAME_SIZE, 8192, 131_072),
            (1_000_000, 8192, MAX_FRAME_SIZE, 8192, 1_000_000),
            (1_000_000, 8192, 200_000, 8192, 200_000),
            (0, 8192, MAX_FRAME_SIZE, 8192, MAX_FRAME_SIZE),
            (u32::MAX, 0, MAX_FRAME_SIZE, MAX_FRAME_SIZE, MAX_FRAME_SIZE),
            (131_072, 0, 0, 131_072, 4096),
            (u32::MAX, 0, u32::MAX, MAX_FRAME_SIZE, u32::MAX),
        ];
        for (offered, wanted, header_limit, body, other) in cases {
            let offer = Offer { frame_max: offered, ..Offer::default() };
            let config = Config::default().frame_max(wanted).header_limit(header_limit);
            let limits = negotiated(offer, &config).frame_limits(&offer, &config);
            assert_eq!((limits.body, limits.other), (body, other), "offered {offered}, wanted {wanted}");
        }
    }
}
