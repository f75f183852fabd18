//! What we want of a connection ([`Config`]), and what is agreed with the broker ([`Tuning`]).
//!
//! The rule of this module: every limit has a name and a reason, and the defaults are legal on RabbitMQ 3.10 to 4.3.

mod from_uri;
mod tuning;

use alloc::{string::String, vec, vec::Vec};
use core::time::Duration;

pub use self::tuning::{Heartbeat, Offer, TuneError, Tuning};
use crate::{
    frame::FrameLimits,
    sasl::{Sasl, Secret},
    wire::{Misuse, ShortString, Table, Value},
};

/// The smallest `frame_max` of the protocol (4.2.3), and the limit for every frame before `tune-ok`.
pub const MIN_FRAME_SIZE: u32 = 4096;

/// The largest frame that we agree to: more gains nothing, and lets the broker make us buffer more for one frame.
pub const MAX_FRAME_SIZE: u32 = 16 * 1024 * 1024;

/// RabbitMQ's own `frame_max`. We answer with it where the broker offers "no limit", and method and header frames up
/// to this size are taken whatever was agreed, because RabbitMQ never splits a header frame.
pub const DEFAULT_FRAME_SIZE: u32 = 128 * 1024;

/// What RabbitMQ proposes, in seconds: a dead peer is found after two intervals.
pub const DEFAULT_HEARTBEAT: u16 = 60;

/// RabbitMQ's own limit for a message in 3.10 (16 MiB in 4.0), so that nothing is refused that it lets pass.
pub const DEFAULT_MESSAGE_SIZE_LIMIT: usize = 128 * 1024 * 1024;

/// Two of the largest messages at once: channels may interleave their bodies.
pub const DEFAULT_ASSEMBLY_LIMIT: usize = 256 * 1024 * 1024;

/// Enough to keep a consumer busy between two reads, small enough to hold for hundreds of connections.
pub const DEFAULT_EVENT_LIMIT: usize = 16 * 1024 * 1024;

/// Several round trips of a fast link; what is queued beyond it only waits longer.
pub const DEFAULT_OUTBOX_LIMIT: usize = 16 * 1024 * 1024;

/// Longer than the 10 s after which RabbitMQ gives up a handshake: its own verdict says more than our timer.
pub const DEFAULT_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);

/// Long enough for a quorum queue to be declared on a busy cluster.
pub const DEFAULT_CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// A broker with an alarm does not read, so it does not answer our close either: then we leave without its word.
pub const DEFAULT_CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// The operating system's own patience is two minutes and more.
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Brokers stop reading for a while when they fall behind; a minute of it is a broken link.
pub const DEFAULT_WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// What RabbitMQ asks a client to say in `capabilities`. The first three change what it does: a refused login gets an
/// answer, a consumer that the broker cancels is told, and so is a publisher that is blocked by an alarm.
const CAPABILITIES: [&str; 9] = [
    "authentication_failure_close",
    "consumer_cancel_notify",
    "connection.blocked",
    "publisher_confirms",
    "basic.nack",
    "exchange_exchange_bindings",
    "per_consumer_qos",
    "direct_reply_to",
    "consumer_priorities",
];

/// What we want of a connection. The default logs in as `guest` and is legal on RabbitMQ 3.10 to 4.3.
///
/// ```
/// use amqp_core::config::Config;
///
/// let config = Config::default().login("me", "secret").vhost("orders").heartbeat(20);
/// assert_eq!(config.vhost, "orders");
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// Ways to log in, the preferred one first. Default: PLAIN as `guest` with the password `guest`.
    pub mechanisms: Vec<Sasl>,
    /// The virtual host. Default: `/`.
    pub vhost: ShortString,
    /// How often each side shows that it lives. Default: every [`DEFAULT_HEARTBEAT`] seconds, or more often if the
    /// broker wishes so.
    pub heartbeat: Heartbeat,
    /// The largest channel number. Default: 0, what the broker offers.
    pub channel_max: u16,
    /// The largest frame in octets, header and end octet included. Default: 0, what the broker offers. Not below
    /// [`MIN_FRAME_SIZE`], and RabbitMQ from 4.1 on resets the connection below 8192; above [`MAX_FRAME_SIZE`] it
    /// counts as that.
    pub frame_max: u32,
    /// The name that RabbitMQ shows in its management interface and its log. Default: none.
    pub connection_name: Option<String>,
    /// Entries for [`Config::client_properties`], which replace those of the same name.
    pub extra_properties: Table,
    /// The language of the broker's error texts, of which RabbitMQ knows one. Default: `en_US`.
    pub locale: ShortString,
    /// From the first octet to an open connection. Default: [`DEFAULT_HANDSHAKE_TIMEOUT`].
    pub handshake_timeout: Duration,
    /// From a call to its reply. Default: [`DEFAULT_CALL_TIMEOUT`].
    pub call_timeout: Duration,
    /// From our close of the connection to the broker's answer. Default: [`DEFAULT_CLOSE_TIMEOUT`].
    pub close_timeout: Duration,
    /// Until the broker's host accepts the connection; used by the adapters. Default: [`DEFAULT_CONNECT_TIMEOUT`].
    pub connect_timeout: Duration,
    /// How long the transport may take no octet while some are waiting. Not counted while the broker has declared the
    /// connection blocked. Default: [`DEFAULT_WRITE_TIMEOUT`].
    pub write_timeout: Duration,
    /// The largest body of a received message in octets; [`Config::oversized`] says what happens to a larger one.
    /// Default: [`DEFAULT_MESSAGE_SIZE_LIMIT`].
    pub message_size_limit: usize,
    /// The octets of half-received messages, over all channels. Default: [`DEFAULT_ASSEMBLY_LIMIT`].
    pub assembly_limit: usize,
    /// The largest method or header frame that is taken, in octets. Default: [`MAX_FRAME_SIZE`]; the broker's offer
    /// and [`DEFAULT_FRAME_SIZE`] usually bound them lower, see [`Tuning::frame_limits`].
    pub header_limit: u32,
    /// The octets of events that nobody has fetched yet, after which reading stops. Default: [`DEFAULT_EVENT_LIMIT`].
    pub event_limit: usize,
    /// The octets that wait to be written, after which publishing blocks. Default: [`DEFAULT_OUTBOX_LIMIT`].
    pub outbox_limit: usize,
    /// What happens to a delivery whose body is too large. Default: [`Oversized::Reject`].
    pub oversized: Oversized,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mechanisms: vec![Sasl::plain("guest", "guest")],
            vhost: ShortString::from_static("/"),
            heartbeat: DEFAULT_HEARTBEAT.into(),
            channel_max: 0,
            frame_max: 0,
            connection_name: None,
            extra_properties: Table::new(),
            locale: ShortString::from_static("en_US"),
            handshake_timeout: DEFAULT_HANDSHAKE_TIMEOUT,
            call_timeout: DEFAULT_CALL_TIMEOUT,
            close_timeout: DEFAULT_CLOSE_TIMEOUT,
            connect_timeout: DEFAULT_CONNECT_TIMEOUT,
            write_timeout: DEFAULT_WRITE_TIMEOUT,
            message_size_limit: DEFAULT_MESSAGE_SIZE_LIMIT,
            assembly_limit: DEFAULT_ASSEMBLY_LIMIT,
            header_limit: MAX_FRAME_SIZE,
            event_limit: DEFAULT_EVENT_LIMIT,
            outbox_limit: DEFAULT_OUTBOX_LIMIT,
            oversized: Oversized::default(),
        }
    }
}

macro_rules! setters {
    ($($field:ident: $type:ty),* $(,)?) => {$(
        #[doc = concat!("Sets [`", stringify!($field), "`](Self#structfield.", stringify!($field), ").")]
        #[must_use]
        pub fn $field(mut self, $field: $type) -> Self {
            self.$field = $field.into();
            self
        }
    )*};
}

impl Config {
    /// Logs in with PLAIN and nothing else.
    #[must_use]
    pub fn login(self, user: impl Into<String>, password: impl Into<Secret>) -> Self {
        self.mechanisms([Sasl::plain(user, password)])
    }

    /// Adds an entry to what the broker is told about this client.
    #[must_use]
    pub fn client_property(mut self, name: impl Into<ShortString>, value: impl Into<Value>) -> Self {
        self.extra_properties.insert(name, value);
        self
    }

    /// Sets [`connection_name`](Self#structfield.connection_name).
    #[must_use]
    pub fn connection_name(mut self, connection_name: impl Into<String>) -> Self {
        self.connection_name = Some(connection_name.into());
        self
    }

    setters! {
        mechanisms: impl Into<Vec<Sasl>>,
        vhost: impl Into<ShortString>,
        heartbeat: impl Into<Heartbeat>,
        channel_max: u16,
        frame_max: u32,
        locale: impl Into<ShortString>,
        handshake_timeout: Duration,
        call_timeout: Duration,
        close_timeout: Duration,
        connect_timeout: Duration,
        write_timeout: Duration,
        message_size_limit: usize,
        assembly_limit: usize,
        header_limit: u32,
        event_limit: usize,
        outbox_limit: usize,
        oversized: Oversized,
    }

    /// Finds what no broker would take, before anybody dials.
    ///
    /// # Errors
    ///
    /// [`Misuse::FrameMaxTooSmall`].
    pub fn check(&self) -> Result<(), Misuse> {
        match self.frame_max {
            1..MIN_FRAME_SIZE => Err(Misuse::FrameMaxTooSmall { wanted: self.frame_max, minimum: MIN_FRAME_SIZE }),
            _ => Ok(()),
        }
    }

    /// What `connection.start-ok` tells the broker about us. Entries of `extra_properties` replace ours, except that a
    /// `capabilities` table is merged into ours.
    pub fn client_properties(&self) -> Table {
        let mut ours = Table::new()
            .with("product", "amqp-core")
            .with("version", env!("CARGO_PKG_VERSION"))
            .with("platform", "Rust");
        if let Some(name) = &self.connection_name {
            ours.insert("connection_name", name.as_str());
        }
        let mut capabilities: Table = CAPABILITIES.iter().map(|name| (*name, true)).collect();
        if let Some(Value::Table(extra)) = self.extra_properties.get("capabilities") {
            capabilities = merged(capabilities, extra);
        }
        merged(ours, &self.extra_properties).with("capabilities", capabilities)
    }

    /// What the frame decoder takes before anything was agreed: no content at all, and a `connection.start` of any
    /// size that a broker might be configured to send.
    pub fn initial_frame_limits(&self) -> FrameLimits {
        FrameLimits { body: MIN_FRAME_SIZE, other: self.capped(DEFAULT_FRAME_SIZE) }
    }

    /// As much as `header_limit` allows of `size`; a handshake always fits.
    fn capped(&self, size: u32) -> u32 {
        size.min(self.header_limit).max(MIN_FRAME_SIZE)
    }
}

/// What happens to a delivery whose body exceeds [`Config::message_size_limit`]. In every case its body is read and
/// thrown away, an event tells of it, and the connection lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Oversized {
    /// Reject it without requeueing: the broker drops it, or dead-letters it where the queue says so.
    #[default]
    Reject,
    /// Put it back into the queue, for a consumer with another limit. It comes back at once if there is none.
    Requeue,
    /// Leave it unacknowledged: the program settles it by its delivery tag, or the broker requeues it in the end.
    Leave,
}

/// `base` with the entries of `extra` in the place of its own.
fn merged(base: Table, extra: &Table) -> Table {
    extra.iter().fold(base, |table, (name, value)| table.with(name, value.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_capabilities_are_announced_as_true() {
        let properties = Config::default().connection_name("billing").client_properties();
        let text = |name| properties.get(name).and_then(Value::as_str);
        assert_eq!((text("product"), text("platform")), (Some("amqp-core"), Some("Rust")));
        assert_eq!((text("version"), text("connection_name")), (Some(env!("CARGO_PKG_VERSION")), Some("billing")));
        let capabilities = properties.get("capabilities").and_then(Value::as_table).unwrap();
        assert_eq!(capabilities.len(), 9);
        assert!(capabilities.iter().all(|(_, value)| *value == Value::Bool(true)));
    }

    #[test]
    fn properties_of_the_user_replace_ours_and_capabilities_are_merged() {
        let properties = Config::default()
            .connection_name("ours")
            .client_property("product", "shop")
            .client_property("connection_name", "theirs")
            .client_property("shelf", 7)
            .client_property("capabilities", Table::new().with("connection.blocked", false).with("flying", true))
            .client_properties();
        assert_eq!(properties.get("product"), Some(&Value::from("shop")));
        assert_eq!(properties.get("connection_name"), Some(&Value::from("theirs")));
        assert_eq!(properties.get("shelf"), Some(&Value::I32(7)));
        assert_eq!(properties.len(), 6);
        let capabilities = properties.get("capabilities").and_then(Value::as_table).unwrap();
        assert_eq!(capabilities.len(), 10);
        assert_eq!(capabilities.get("connection.blocked"), Some(&Value::Bool(false)));
        assert_eq!(capabilities.get("flying"), Some(&Value::Bool(true)));
        assert_eq!(capabilities.get("basic.nack"), Some(&Value::Bool(true)));
    }

    #[test]
    fn capabilities_that_are_no_table_change_nothing() {
        let properties = Config::default().client_property("capabilities", "all").client_properties();
        assert_eq!(properties, Config::default().client_properties());
    }

    #[test]
    fn a_frame_max_below_the_minimum_is_found_before_dialling() {
        for wanted in [1, 4095] {
            let refused = Misuse::FrameMaxTooSmall { wanted, minimum: 4096 };
            assert_eq!(Config::default().frame_max(wanted).check(), Err(refused));
        }
        for wanted in [0, 4096, u32::MAX] {
            assert_eq!(Config::default().frame_max(wanted).check(), Ok(()));
        }
    }

    #[test]
    fn before_the_agreement_a_start_fits_and_no_content() {
        let limits = Config::default().initial_frame_limits();
        assert_eq!((limits.body, limits.other), (4096, 131_072));
        assert_eq!(Config::default().header_limit(0).initial_frame_limits().other, 4096);
    }
}
