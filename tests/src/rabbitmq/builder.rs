//! What a test may decide about its node before it starts.

use super::{RabbitMq, StartError, start};

/// Configuration for a node to come; [`RabbitMq::builder`] makes one.
///
/// ```no_run
/// use amqp_test::rabbitmq::RabbitMq;
///
/// let impatient = RabbitMq::builder()
///     .config("heartbeat = 1")
///     .advanced("[{rabbit, [{consumer_timeout, 5000}, {channel_tick_interval, 2000}]}].")
///     .start()?;
/// # Ok::<(), amqp_test::rabbitmq::StartError>(())
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "nothing runs before `start`"]
pub struct Builder {
    pub(super) port: Option<u16>,
    pub(super) config: String,
    pub(super) advanced: Option<String>,
}

impl Builder {
    /// Lines for `rabbitmq.conf`, after ours and after those of earlier calls.
    ///
    /// `cluster_name` must stay as it is: the start recognises its own node by it.
    pub fn config(mut self, lines: &str) -> Self {
        self.config.push_str(lines);
        self.config.push('\n');
        self
    }

    /// The whole of `advanced.config`: one Erlang list and a full stop.
    pub fn advanced(mut self, terms: &str) -> Self {
        self.advanced = Some(terms.to_owned());
        self
    }

    /// Listens on this port instead of a free one, so that a node can come back where another one was.
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Starts the node and waits until it answers.
    ///
    /// # Errors
    ///
    /// As [`RabbitMq::start`], and [`StartError::PortTaken`] when the port asked for is in use.
    pub fn start(self) -> Result<RabbitMq, StartError> {
        start::start(&self)
    }
}
