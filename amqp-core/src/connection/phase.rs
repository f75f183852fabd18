//! The life of a connection: what channel 0 may say when, and what it means.
//!
//! ```text
//!            start            tune             open-ok          close()            close-ok
//! Greeting ---------> Login ---------> Opening ---------> Open ---------> Closing ----------> Closed
//!                      |  ^
//!                      secure
//! ```
//!
//! The broker's close, a violation, a timeout and the end of the link lead from everywhere to Closed.

use alloc::string::{String, ToString};

use crate::{
    config::{Config, Offer, Tuning},
    error::{Cause, Close, ConnectionError, Greeting, ProtocolVersion, Stage, Violation},
    method::{AnyMethod, ReplyCode, connection},
    sasl::{self, Sasl},
    wire::Table,
};

/// How many rounds of challenge and response a login may take.
const MAX_LOGIN_ROUNDS: u8 = 10;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Phase {
    /// The protocol header was sent.
    Greeting,
    /// `start-ok` was sent.
    Login { mechanism: Sasl, rounds: u8 },
    /// `tune-ok` and `open` were sent.
    Opening,
    /// `open-ok` has come.
    Open,
    /// We sent `close`.
    Closing,
    /// Over.
    Closed,
}

/// What a method on channel 0 leads to.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// The broker has introduced itself: answer with this.
    Introduced { server_properties: Table, answer: connection::StartOk },
    /// Another round of the login.
    Respond(connection::SecureOk),
    /// The limits are settled.
    Tuned { offer: Offer, tuning: Tuning },
    /// The connection can be used.
    Opened,
    /// The broker has closed the connection and wants a close-ok.
    ClosedByPeer(ConnectionError),
    /// The broker has answered our close.
    CloseConfirmed,
    /// The broker has stopped reading.
    Blocked(String),
    /// The broker reads again.
    Unblocked,
    /// Late for a connection that is closing.
    Ignore,
}

impl Phase {
    pub(super) fn stage(&self) -> Stage {
        match self {
            Self::Greeting => Stage::Greeting,
            Self::Login { .. } => Stage::Login,
            Self::Opening => Stage::Opening,
            Self::Open => Stage::Open,
            Self::Closing | Self::Closed => Stage::Closing,
        }
    }

    /// What a method on channel 0 means, and the phase that follows.
    pub(super) fn receive(&mut self, method: AnyMethod, config: &Config) -> Result<Step, ConnectionError> {
        match (&mut *self, method) {
            (_, AnyMethod::ConnectionClose(close)) => Ok(Step::ClosedByPeer(self.closed_by_peer(&close))),
            (Self::Closing, AnyMethod::ConnectionCloseOk(_)) => Ok(Step::CloseConfirmed),
            (Self::Closing, _) => Ok(Step::Ignore),
            (Self::Greeting, AnyMethod::ConnectionStart(start)) => self.introduced(start, config),
            (Self::Login { mechanism, rounds }, AnyMethod::ConnectionSecure(secure)) => {
                *rounds = rounds.saturating_add(1);
                if *rounds > MAX_LOGIN_ROUNDS {
                    return Err(ConnectionError::UnexpectedChallenge);
                }
                let response = mechanism.respond(&secure.challenge).ok_or(ConnectionError::UnexpectedChallenge)?;
                Ok(Step::Respond(connection::SecureOk::new(response)))
            }
            (Self::Login { .. }, AnyMethod::ConnectionTune(tune)) => {
                let offer = Offer::from(&tune);
                let tuning = Tuning::negotiate(&offer, config)?;
                *self = Self::Opening;
                Ok(Step::Tuned { offer, tuning })
            }
            (Self::Opening, AnyMethod::ConnectionOpenOk(_)) => {
                *self = Self::Open;
                Ok(Step::Opened)
            }
            (Self::Open, AnyMethod::ConnectionBlocked(blocked)) => Ok(Step::Blocked(blocked.reason.to_string())),
            (Self::Open, AnyMethod::ConnectionUnblocked(_)) => Ok(Step::Unblocked),
            (_, method) => Err(Violation::UnexpectedMethod { method: method.id(), channel: 0 }.into()),
        }
    }

    fn introduced(&mut self, start: connection::Start, config: &Config) -> Result<Step, ConnectionError> {
        if (start.version_major, start.version_minor) != (0, 9) {
            let (major, minor) = (start.version_major, start.version_minor);
            return Err(Violation::Version { major, minor }.into());
        }
        let Some(mechanism) = sasl::select(&start.mechanisms, &config.mechanisms) else {
            let wanted = config.mechanisms.iter().map(Sasl::name).collect::<alloc::vec::Vec<_>>().join(" ");
            let offered = String::from_utf8_lossy(&start.mechanisms).into_owned();
            return Err(ConnectionError::NoCommonMechanism { offered, wanted });
        };
        let response = mechanism.initial_response().map_err(ConnectionError::Misuse)?;
        let properties = config.client_properties();
        let answer = connection::StartOk::new(properties, mechanism.name(), response, config.locale.clone());
        *self = Self::Login { mechanism: mechanism.clone(), rounds: 0 };
        Ok(Step::Introduced { server_properties: start.server_properties, answer })
    }

    /// What the broker's close says about the stage it came in.
    fn closed_by_peer(&self, close: &connection::Close) -> ConnectionError {
        let code = close.reply_code;
        let close = Close::new(code, close.reply_text.as_bytes(), close.class_id, close.method_id);
        match self {
            Self::Login { .. } if code == ReplyCode::ACCESS_REFUSED => ConnectionError::AuthenticationRefused(close),
            Self::Opening
                if [
                    ReplyCode::NOT_ALLOWED,
                    ReplyCode::ACCESS_REFUSED,
                    ReplyCode::INVALID_PATH,
                    ReplyCode::NOT_FOUND,
                ]
                .contains(&code) =>
            {
                ConnectionError::VirtualHostRefused(close)
            }
            _ => ConnectionError::ClosedByBroker(close),
        }
    }

    /// What the end of the link says about the stage it came in.
    pub(super) fn disconnected(&self, cause: Cause) -> ConnectionError {
        match self {
            Self::Login { .. } => ConnectionError::AuthenticationProbablyRefused(cause),
            Self::Opening => ConnectionError::TuningProbablyRefused(cause),
            _ => ConnectionError::Disconnected { stage: self.stage(), cause },
        }
    }
}

/// What the first octets from the peer are, if they are not a frame; none while that cannot be told.
pub(super) fn not_a_frame(input: &[u8]) -> Option<ConnectionError> {
    let first = *input.first()?;
    if first == 1 {
        return None;
    }
    if first == b'A' {
        let version = *input.get(4..)?.first_chunk::<4>()?;
        return Some(match input.starts_with(b"AMQP") {
            true => ConnectionError::OtherProtocol(ProtocolVersion(version)),
            false => ConnectionError::NotAmqp(Greeting::Other(*input.first_chunk()?)),
        });
    }
    let octets = *input.first_chunk::<4>()?;
    Some(ConnectionError::NotAmqp(match octets {
        // TLS records: an alert or a handshake of version 3.x.
        [0x15 | 0x16, 3, ..] => Greeting::Tls,
        [b'H', b'T', b'T', b'P'] => Greeting::Http,
        [b'S', b'S', b'H', b'-'] => Greeting::Ssh,
        other => Greeting::Other(other),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greetings_are_told_apart() {
        let table: [(&[u8], Option<ConnectionError>); 8] = [
            (b"", None),
            (b"\x01\0\0", None),
            (b"AMQP\0\0\x09", None),
            (b"AMQP\x03\x01\0\0", Some(ConnectionError::OtherProtocol(ProtocolVersion([3, 1, 0, 0])))),
            (b"HTT", None),
            (b"HTTP/1.1 400", Some(ConnectionError::NotAmqp(Greeting::Http))),
            (b"\x15\x03\x03\0\x02\x02\x0a", Some(ConnectionError::NotAmqp(Greeting::Tls))),
            (b"SSH-2.0", Some(ConnectionError::NotAmqp(Greeting::Ssh))),
        ];
        for (octets, expected) in table {
            assert_eq!(not_a_frame(octets), expected, "{octets:?}");
        }
    }
}
