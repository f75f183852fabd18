//! URIs of brokers: `amqp[s]://[user[:password]@][host][:port][/vhost][?option=value&..]`.
//!
//! The rule of this module: what is not understood is an error, never ignored, and nothing that it shows, be it by
//! `Display`, `Debug` or an error, holds a password.
//!
//! Whatever may stand in a part is percent-encoded where the grammar needs the character: `:` is `%3A`, `/` is `%2F`,
//! `@` is `%40`. A `+` is a plus. What is left out is `guest`, `guest`, `localhost`, 5672 (5671 for `amqps`) and the
//! virtual host `/`. A fragment (`#..`) is ignored.
//!
//! | option | value | meaning |
//! | --- | --- | --- |
//! | `heartbeat` | seconds, 0 to 65535 | [`Config::heartbeat`](crate::Config::heartbeat); 0 switches it off |
//! | `connection_timeout` | milliseconds, from 1 | [`Config::connect_timeout`](crate::Config::connect_timeout) |
//! | `channel_max` | 0 to 65535 | [`Config::channel_max`](crate::Config::channel_max) |
//! | `frame_max` | octets, 0 is the broker's offer | [`Config::frame_max`](crate::Config::frame_max) |
//! | `auth_mechanism` | `plain`, `amqplain`, `external`, `anonymous` | may be repeated: the first one offered is used |
//! | `connection_name` | text | the name that RabbitMQ shows; our own addition |
//!
//! For `amqps` also `cacertfile`, `certfile`, `keyfile`, `verify`, `fail_if_no_peer_cert`, `server_name_indication`,
//! `depth` and `password` (of the key file): see [`TlsOptions`]. Of an option given twice the first counts.

mod error;
mod parse;

use alloc::{
    borrow::ToOwned,
    string::{String, ToString},
    vec::Vec,
};
use core::{
    fmt::{self, Write},
    str::FromStr,
};

pub use self::error::UriError;
use crate::sasl::{Sasl, Secret};

/// The port of `amqp`.
pub const PORT: u16 = 5672;

/// The port of `amqps`.
pub const TLS_PORT: u16 = 5671;

/// The URI of a broker.
///
/// ```
/// use amqp_core::uri::Uri;
///
/// let uri: Uri = "amqp://me:top%2Fsecret@broker.example/orders?heartbeat=20".parse()?;
/// assert_eq!(uri.address(), ("broker.example", 5672));
/// assert_eq!(uri.vhost(), "orders");
/// assert_eq!(uri.to_string(), "amqp://me:***@broker.example:5672/orders?heartbeat=20");
/// # Ok::<(), amqp_core::uri::UriError>(())
/// ```
///
/// `Display` writes every part, with `***` for passwords, in the reading of [`Uri::parse_strict`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uri {
    user: String,
    password: Secret,
    host: String,
    port: u16,
    vhost: String,
    pub(crate) options: Options,
    tls: Option<TlsOptions>,
}

/// What the query says; `None` is what it leaves open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) heartbeat: Option<u16>,
    /// In milliseconds.
    pub(crate) connection_timeout: Option<u32>,
    pub(crate) channel_max: Option<u16>,
    pub(crate) frame_max: Option<u32>,
    pub(crate) auth_mechanisms: Vec<AuthMechanism>,
    pub(crate) connection_name: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AuthMechanism {
    Plain,
    AmqPlain,
    External,
    Anonymous,
}

/// What an `amqps` URI says about TLS; `None` is what it leaves open. Paths are as written, and not opened here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsOptions {
    /// `cacertfile`: path of the certificates that are trusted.
    pub cacertfile: Option<String>,
    /// `certfile`: path of our own certificate.
    pub certfile: Option<String>,
    /// `keyfile`: path of the key to our certificate.
    pub keyfile: Option<String>,
    /// `password`: opens the key file. Not the password of the user.
    pub password: Option<Secret>,
    /// `verify`: `verify_peer` (true) or `verify_none` (false).
    pub verify: Option<bool>,
    /// `fail_if_no_peer_cert`: `true` or `false`.
    pub fail_if_no_peer_cert: Option<bool>,
    /// `server_name_indication`: a host name, or `disable`.
    pub server_name_indication: Option<ServerName>,
    /// `depth`: how many certificates may stand between the broker's and a trusted one.
    pub depth: Option<u8>,
}

/// The name that a TLS client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerName {
    /// This one, in the place of the host.
    Name(String),
    /// None at all.
    Disabled,
}

impl Uri {
    /// Parses as RabbitMQ's own clients do: a path of `/` alone names the virtual host "", the empty string, which
    /// RabbitMQ never has.
    ///
    /// `parse` reads it as the virtual host `/`, as most clients do and everybody expects; no URI names "" there.
    /// Nothing else differs.
    ///
    /// # Errors
    ///
    /// [`UriError`] says where and why.
    pub fn parse_strict(text: &str) -> Result<Self, UriError> {
        parse::uri(text, "")
    }

    /// The host name or address; an IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, given or [`PORT`] or [`TLS_PORT`].
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Host and port, as `std::net::ToSocketAddrs` takes them.
    pub fn address(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    /// The user name.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The password.
    pub fn password(&self) -> &Secret {
        &self.password
    }

    /// The virtual host.
    pub fn vhost(&self) -> &str {
        &self.vhost
    }

    /// True for `amqps`.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// What it says about TLS, if it is an `amqps` URI.
    pub fn tls(&self) -> Option<&TlsOptions> {
        self.tls.as_ref()
    }

    pub(crate) fn mechanisms(&self) -> Vec<Sasl> {
        let login = || (self.user.clone(), self.password.clone());
        let sasl = |mechanism: &AuthMechanism| match mechanism {
            AuthMechanism::Plain => {
                let (user, password) = login();
                Sasl::Plain { user, password }
            }
            AuthMechanism::AmqPlain => {
                let (user, password) = login();
                Sasl::AmqPlain { user, password }
            }
            AuthMechanism::External => Sasl::External,
            AuthMechanism::Anonymous => Sasl::Anonymous,
        };
        match self.options.auth_mechanisms.as_slice() {
            [] => [sasl(&AuthMechanism::Plain)].into(),
            mechanisms => mechanisms.iter().map(sasl).collect(),
        }
    }

    /// The query as names and values, in a fixed order.
    fn query(&self) -> Vec<(&'static str, String)> {
        let mut query = Vec::new();
        self.options.write(&mut |name, value| query.push((name, value)));
        if let Some(tls) = &self.tls {
            tls.write(&mut |name, value| query.push((name, value)));
        }
        query
    }
}

impl FromStr for Uri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        parse::uri(text, "/")
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls() { "amqps" } else { "amqp" };
        write!(f, "{scheme}://{}:***@", Escaped(&self.user))?;
        match self.host.split_once('%') {
            // The zone of an IPv6 address; the address itself needs no escapes.
            Some((address, zone)) => write!(f, "[{address}%25{}]", Escaped(zone))?,
            None if self.host.contains(':') => write!(f, "[{}]", self.host)?,
            None => Escaped(&self.host).fmt(f)?,
        }
        write!(f, ":{}/{}", self.port, Escaped(&self.vhost))?;
        for (index, (name, value)) in self.query().iter().enumerate() {
            let separator = if index == 0 { '?' } else { '&' };
            write!(f, "{separator}{name}={value}")?;
        }
        Ok(())
    }
}

impl Options {
    /// Gives what is set, escaped, to `option`.
    fn write(&self, option: &mut dyn FnMut(&'static str, String)) {
        let mut number = |name, value: Option<u32>| {
            if let Some(value) = value {
                option(name, value.to_string());
            }
        };
        number("heartbeat", self.heartbeat.map(u32::from));
        number("connection_timeout", self.connection_timeout);
        number("channel_max", self.channel_max.map(u32::from));
        number("frame_max", self.frame_max);
        for mechanism in &self.auth_mechanisms {
            option("auth_mechanism", mechanism.name().to_owned());
        }
        if let Some(name) = &self.connection_name {
            option("connection_name", Escaped(name).to_string());
        }
    }
}

impl TlsOptions {
    /// Gives what is set, escaped, to `option`.
    fn write(&self, option: &mut dyn FnMut(&'static str, String)) {
        let server_name = self.server_name_indication.as_ref().map(|name| match name {
            ServerName::Name(name) => name.clone(),
            ServerName::Disabled => "disable".to_owned(),
        });
        let texts = [
            ("cacertfile", self.cacertfile.clone()),
            ("certfile", self.certfile.clone()),
            ("keyfile", self.keyfile.clone()),
            ("verify", self.verify.map(|verify| if verify { "verify_peer" } else { "verify_none" }.to_owned())),
            ("fail_if_no_peer_cert", self.fail_if_no_peer_cert.map(|fail| fail.to_string())),
            ("server_name_indication", server_name),
            ("depth", self.depth.map(|depth| depth.to_string())),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                option(name, Escaped(&text).to_string());
            }
        }
        if self.password.is_some() {
            option("password", "***".to_owned());
        }
    }
}

impl AuthMechanism {
    const ALL: [Self; 4] = [Self::Plain, Self::AmqPlain, Self::External, Self::Anonymous];

    fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::AmqPlain => "amqplain",
            Self::External => "external",
            Self::Anonymous => "anonymous",
        }
    }
}

/// Text with everything percent-encoded that is not plainly text, so that it can never end the part it stands in.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for octet in self.0.bytes() {
            match octet {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => f.write_char(octet.into())?,
                _ => write!(f, "%{octet:02X}")?,
            }
        }
        Ok(())
    }
}
