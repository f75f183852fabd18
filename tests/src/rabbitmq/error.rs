//! Why a node did not start, and why a `rabbitmqctl` failed. Both are read by a developer, mostly from an `expect`.

use std::fmt;
use std::io;
use std::time::Duration;

use thiserror::Error;

/// Why there is no node.
#[derive(Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StartError {
    /// There is no RabbitMQ on this machine.
    #[error("rabbitmq-server is not installed: apt-get install rabbitmq-server")]
    NotInstalled,
    /// The machine would not let us prepare or run the node.
    #[error("cannot start a RabbitMQ node: {doing}: {reason}")]
    Io {
        /// What we were about to do.
        doing: &'static str,
        /// What the system said.
        reason: String,
    },
    /// The port asked for is in use, or every free port that was picked had been taken before the node could use it.
    #[error("cannot start a RabbitMQ node: port {port} is taken")]
    PortTaken {
        /// The AMQP port of the last attempt.
        port: u16,
    },
    /// The node ended before it answered.
    #[error("the RabbitMQ node ended before it answered; from its log:\n{log}")]
    Ended {
        /// The part of its log that tells why.
        log: String,
    },
    /// The node runs and does not answer.
    #[error("the RabbitMQ node did not answer within {}s; the end of its log:\n{log}", .after.as_secs())]
    Silent {
        /// How long we waited.
        after: Duration,
        /// The end of its log.
        log: String,
    },
}

// `expect` and `unwrap` print this one: what to install, or the log with its lines, must be readable there.
impl fmt::Debug for StartError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl StartError {
    /// For `map_err` behind whatever was being done.
    pub(super) fn io(doing: &'static str) -> impl Fn(io::Error) -> Self {
        move |error| Self::Io { doing, reason: error.to_string() }
    }
}

/// Why a `rabbitmqctl` gave no answer.
#[derive(Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CtlError {
    /// It could not be run at all.
    #[error("rabbitmqctl {arguments}: {reason}")]
    Io {
        /// Its arguments.
        arguments: String,
        /// What the system said.
        reason: String,
    },
    /// It ended with an error.
    #[error("rabbitmqctl {arguments} failed:\n{output}")]
    Failed {
        /// Its arguments.
        arguments: String,
        /// Everything it printed.
        output: String,
    },
    /// It did not end in time and was killed: the node is paused, or far too busy.
    #[error("rabbitmqctl {arguments} did not end within {}s", .after.as_secs())]
    TimedOut {
        /// Its arguments.
        arguments: String,
        /// How long we waited.
        after: Duration,
    },
}

impl fmt::Debug for CtlError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_server_says_what_to_install() {
        let shown_by_expect = format!("{:?}", StartError::NotInstalled);
        assert_eq!(shown_by_expect, "rabbitmq-server is not installed: apt-get install rabbitmq-server");
    }
}
