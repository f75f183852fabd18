//! Errors: which of them close a channel, which the connection, and the words that RabbitMQ 3.10 has for them.
//!
//! The method that is blamed is not part of a [`Fault`]: whoever carried out the method adds it.

use std::fmt;

use amqp_core::{method::ReplyCode, wire::ShortString};

use super::erlang;

/// Why a method or a frame was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Closes the channel; the connection goes on.
    Channel(ReplyCode, String),
    /// Closes the connection.
    Connection(ReplyCode, String),
    /// Closes the connection and blames no method for it.
    Blameless(ReplyCode, String),
    /// The connection is dropped without a word. RabbitMQ does so when one of its processes crashes.
    Crash,
}

/// The longest reply text in octets: its length travels in one octet.
const MAX_TEXT: usize = 255;

impl Fault {
    fn soft(code: ReplyCode, words: impl fmt::Display) -> Self {
        Self::Channel(code, words.to_string())
    }

    fn hard(code: ReplyCode, words: impl fmt::Display) -> Self {
        Self::Connection(code, words.to_string())
    }

    /// 404 for a queue or an exchange.
    pub(super) fn not_found(entity: Entity<'_>) -> Self {
        Self::soft(ReplyCode::NOT_FOUND, format_args!("no {entity}"))
    }

    /// 404 for an empty queue name where no queue was declared on the channel.
    pub(super) fn no_previous_queue() -> Self {
        Self::soft(ReplyCode::NOT_FOUND, "no previously declared queue")
    }

    /// 403.
    pub(super) fn access_refused(words: impl fmt::Display) -> Self {
        Self::soft(ReplyCode::ACCESS_REFUSED, words)
    }

    /// 403 for anything done to the exchange without a name.
    pub(super) fn default_exchange() -> Self {
        Self::access_refused("operation not permitted on the default exchange")
    }

    /// 405: an exclusive queue of another connection.
    pub(super) fn locked(queue: Entity<'_>) -> Self {
        Self::soft(
            ReplyCode::RESOURCE_LOCKED,
            format_args!(
                "cannot obtain exclusive access to locked {queue}. It could be originally declared on another \
                 connection or the exclusive property value does not match that of the original declaration."
            ),
        )
    }

    /// 406.
    pub(super) fn precondition(words: impl fmt::Display) -> Self {
        Self::soft(ReplyCode::PRECONDITION_FAILED, words)
    }

    /// 406 for a declaration that differs from what exists.
    pub(super) fn inequivalent(
        argument: impl fmt::Display,
        entity: Entity<'_>,
        received: impl fmt::Display,
        current: impl fmt::Display,
    ) -> Self {
        Self::precondition(format_args!(
            "inequivalent arg '{argument}' for {entity}: received {received} but current is {current}"
        ))
    }

    /// 406 for a delivery tag that is not outstanding.
    pub(super) fn unknown_delivery_tag(tag: u64) -> Self {
        Self::precondition(format_args!("unknown delivery tag {tag}"))
    }

    /// 501 with the method that could not be decoded.
    pub(super) fn undecodable(arguments: &[u8]) -> Self {
        Self::hard(ReplyCode::FRAME_ERROR, format_args!("cannot decode {}", erlang::binary(arguments)))
    }

    /// 501 for a frame that is none.
    pub(super) fn bad_frame(kind: u8, payload: &[u8], reason: impl fmt::Display) -> Self {
        Self::Blameless(ReplyCode::FRAME_ERROR, format!("{}: {reason}", octets(kind, payload)))
    }

    /// 501 for a name that is not UTF-8.
    pub(super) fn not_utf8() -> Self {
        Self::Blameless(ReplyCode::FRAME_ERROR, "Malformed UTF-8 in shortstr".to_owned())
    }

    /// 503.
    pub(super) fn command_invalid(words: impl fmt::Display) -> Self {
        Self::hard(ReplyCode::COMMAND_INVALID, words)
    }

    /// 503 for a method that a client has no business to send.
    pub(super) fn unimplemented_method() -> Self {
        Self::command_invalid("unimplemented method")
    }

    /// 504.
    pub(super) fn channel_error(words: impl fmt::Display) -> Self {
        Self::hard(ReplyCode::CHANNEL_ERROR, words)
    }

    /// 505, blaming the method whose content was interrupted.
    pub(super) fn unexpected_frame(words: impl fmt::Display) -> Self {
        Self::hard(ReplyCode::UNEXPECTED_FRAME, words)
    }

    /// 505 where no method can be blamed.
    pub(super) fn stray_frame(words: impl fmt::Display) -> Self {
        Self::Blameless(ReplyCode::UNEXPECTED_FRAME, words.to_string())
    }

    /// 530.
    pub(super) fn not_allowed(words: impl fmt::Display) -> Self {
        Self::hard(ReplyCode::NOT_ALLOWED, words)
    }

    /// 530 for a channel more than agreed.
    pub(super) fn too_many_channels(open: usize, agreed: u16) -> Self {
        let words = format!("number of channels opened ({open}) has reached the negotiated channel_max ({agreed})");
        Self::Blameless(ReplyCode::NOT_ALLOWED, words)
    }

    /// 540.
    pub(super) fn not_implemented(words: impl fmt::Display) -> Self {
        Self::hard(ReplyCode::NOT_IMPLEMENTED, words)
    }

    /// 541: RabbitMQ says nothing more.
    pub(super) fn internal() -> Self {
        Self::Blameless(ReplyCode::INTERNAL_ERROR, String::new())
    }
}

/// A frame, as texts show it.
pub(super) fn octets(kind: u8, payload: &[u8]) -> String {
    format!("type {kind}, all octets = {}", erlang::binary(payload))
}

/// The reply text: the name of the code, then the words, cut the way RabbitMQ cuts it.
pub(super) fn reply_text(code: ReplyCode, words: &str) -> ShortString {
    let name = code.name().unwrap_or("UNKNOWN");
    let text = if words.is_empty() { name.to_owned() } else { format!("{name} - {words}") };
    let mut octets = text.into_bytes();
    if octets.len() > MAX_TEXT {
        // The cut may split a character; RabbitMQ 3.10 does not care.
        octets.truncate(MAX_TEXT - 3);
        octets.extend_from_slice(b"...");
    }
    bytes::Bytes::from(octets).into()
}

/// A queue or an exchange, as the texts name it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entity<'a> {
    kind: &'static str,
    name: &'a ShortString,
    vhost: &'a ShortString,
}

impl<'a> Entity<'a> {
    /// Names a queue.
    pub(super) fn queue(name: &'a ShortString, vhost: &'a ShortString) -> Self {
        Self { kind: "queue", name, vhost }
    }

    /// Names an exchange.
    pub(super) fn exchange(name: &'a ShortString, vhost: &'a ShortString) -> Self {
        Self { kind: "exchange", name, vhost }
    }

    /// `queue` or `exchange`.
    pub(super) fn kind(self) -> &'static str {
        self.kind
    }
}

impl fmt::Display for Entity<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} '{}' in vhost '{}'", self.kind, self.name, self.vhost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_as_rabbitmq_cuts_them() {
        let text = reply_text(ReplyCode::NOT_FOUND, &"q".repeat(300));
        assert_eq!(text.len(), 255);
        assert!(text.as_bytes().starts_with(b"NOT_FOUND - qqq") && text.as_bytes().ends_with(b"q..."));
    }

    #[test]
    fn an_internal_error_has_no_words() {
        assert_eq!(reply_text(ReplyCode::INTERNAL_ERROR, ""), "INTERNAL_ERROR");
    }

    #[test]
    fn a_missing_queue_is_named_with_its_virtual_host() {
        let (name, vhost) = (ShortString::from("q"), ShortString::from("/"));
        let words = "no queue 'q' in vhost '/'".to_owned();
        assert_eq!(Fault::not_found(Entity::queue(&name, &vhost)), Fault::Channel(ReplyCode::NOT_FOUND, words));
    }
}
