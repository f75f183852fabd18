//! Every way in which a text is not the URI of a broker.
//!
//! The rule of this file: no error holds text in which a password could stand. A password that is not escaped can end
//! up in any part of a URI, so the errors say *where* (the octet, counted from 0), not *what*.

use alloc::string::String;

use thiserror::Error;

/// Why a text is not the URI of a broker.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum UriError {
    /// It begins with neither `amqp:` nor `amqps:`.
    #[error("a broker's URI begins with amqp:// or amqps://")]
    Scheme,
    /// The scheme is not followed by two slashes.
    #[error("the scheme is not followed by //")]
    MissingSlashes,
    /// A space, a line feed or another control character, which nothing in a URI can be.
    #[error("white space or a control character at octet {position}")]
    Whitespace {
        /// Where it stands.
        position: usize,
    },
    /// `%` without two hexadecimal digits.
    #[error("'%' at octet {position} is not followed by two hexadecimal digits; a percent sign itself is %25")]
    PercentSequence {
        /// Where the `%` stands.
        position: usize,
    },
    /// Percent sequences that are not UTF-8 when decoded. Only a password may be any octets.
    #[error("the part that begins at octet {position} is not UTF-8 when decoded")]
    NotUtf8 {
        /// Where the part begins.
        position: usize,
    },
    /// An `@` that does not end user name and password. Often a password that holds `@`, `/`, `?` or `#`.
    #[error(
        "'@' at octet {position} is not the one that ends user name and password; \
         percent-encode it (%40), and in a password also / (%2F), ? (%3F) and # (%23)"
    )]
    UnescapedAt {
        /// Where it stands.
        position: usize,
    },
    /// A second `:` in user name and password.
    #[error("second ':' before the '@', at octet {position}; in a user name or password percent-encode it (%3A)")]
    UnescapedColon {
        /// Where it stands.
        position: usize,
    },
    /// A port without a host.
    #[error("a port without a host")]
    EmptyHost,
    /// What stands in the place of the host cannot be one.
    #[error("not a host name or address at octet {position}")]
    InvalidHost {
        /// Where the host begins.
        position: usize,
    },
    /// Several hosts with commas between them.
    #[error("',' at octet {position}: a URI names one host; give several hosts as several URIs")]
    SeveralHosts {
        /// Where the first comma stands.
        position: usize,
    },
    /// A second `:` in host and port.
    #[error("second ':' in host and port, at octet {position}; an IPv6 address stands in brackets")]
    UnbracketedColon {
        /// Where it stands.
        position: usize,
    },
    /// What follows the host is not a number.
    #[error("not a port at octet {position}")]
    InvalidPort {
        /// Where it begins.
        position: usize,
    },
    /// A port of 0 or above 65535.
    #[error("the port at octet {position} is not in the range from 1 to 65535")]
    PortOutOfRange {
        /// Where it begins.
        position: usize,
    },
    /// A second `/` in the path, which names one virtual host.
    #[error("second '/' in the path, at octet {position}; in the name of a virtual host percent-encode it (%2F)")]
    SecondPathSegment {
        /// Where it stands.
        position: usize,
    },
    /// The name of the virtual host does not fit a short string.
    #[error("the name of the virtual host has {length} octets, there may be {limit}")]
    VhostTooLong {
        /// Its length in octets.
        length: usize,
        /// The most there may be.
        limit: usize,
    },
    /// An option that nobody knows. Its name is left out behind a `password` option, of which it may be the rest.
    #[error("unknown option at octet {position}{}", quoted(.name.as_deref()))]
    UnknownOption {
        /// The name of the option.
        name: Option<String>,
        /// Where it begins.
        position: usize,
    },
    /// A known option with a value that it cannot have, or without one.
    #[error("option {option} takes {expected}")]
    OptionValue {
        /// The name of the option.
        option: &'static str,
        /// What it takes.
        expected: &'static str,
    },
    /// An option for TLS on an `amqp` URI, where it would have no effect.
    #[error("option {option} needs an amqps URI")]
    TlsOption {
        /// The name of the option.
        option: &'static str,
    },
}

fn quoted(name: Option<&str>) -> String {
    name.map(|name| alloc::format!(": {name:?}")).unwrap_or_default()
}
