//! Authentication: SASL mechanisms as values, and the answers that they give.
//!
//! The rule of this module: a password leaves it only in [`Sasl::initial_response`] and [`Sasl::respond`]; no error,
//! no `Debug` and no `Display` shows it.
//!
//! Every mechanism here but RABBIT-CR-DEMO says all it has to say in `connection.start-ok`. A mechanism with more
//! steps of its own becomes another variant: [`Sasl::respond`] is the one place that answers `connection.secure`.

use alloc::{borrow::ToOwned, string::String, vec::Vec};
use core::fmt;

use bytes::{Buf, Bytes, BytesMut};

use crate::wire::{Misuse, Table, Value, Writer};

/// The only challenge of RABBIT-CR-DEMO, and what its answer starts with.
const CR_DEMO_CHALLENGE: &[u8] = b"Please tell me your password";
const CR_DEMO_ANSWER: &[u8] = b"My password is ";

/// A way to log in.
///
/// ```
/// use amqp_core::sasl::{self, Sasl};
///
/// let wanted = [Sasl::External, Sasl::plain("guest", "guest")];
/// let chosen = sasl::select(b"AMQPLAIN PLAIN", &wanted).unwrap();
/// assert_eq!(chosen.name(), "PLAIN");
/// assert_eq!(chosen.initial_response().unwrap(), &b"\0guest\0guest"[..]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sasl {
    /// PLAIN: user name and password in the clear. Every broker offers it.
    Plain {
        /// The user name.
        user: String,
        /// The password.
        password: Secret,
    },
    /// AMQPLAIN: as PLAIN, written as a field table. Takes zero octets, which PLAIN does not.
    AmqPlain {
        /// The user name.
        user: String,
        /// The password.
        password: Secret,
    },
    /// EXTERNAL: the broker knows who we are, usually from a TLS client certificate.
    External,
    /// ANONYMOUS: whatever user the broker has for it. RabbitMQ offers it from 4.0 on.
    Anonymous,
    /// RABBIT-CR-DEMO: RabbitMQ's demonstration of a mechanism with a challenge; no safer than PLAIN.
    CrDemo {
        /// The user name.
        user: String,
        /// The password.
        password: Secret,
    },
}

impl Sasl {
    /// PLAIN with this user name and password.
    pub fn plain(user: impl Into<String>, password: impl Into<Secret>) -> Self {
        Self::Plain { user: user.into(), password: password.into() }
    }

    /// AMQPLAIN with this user name and password.
    pub fn amq_plain(user: impl Into<String>, password: impl Into<Secret>) -> Self {
        Self::AmqPlain { user: user.into(), password: password.into() }
    }

    /// RABBIT-CR-DEMO with this user name and password.
    pub fn cr_demo(user: impl Into<String>, password: impl Into<Secret>) -> Self {
        Self::CrDemo { user: user.into(), password: password.into() }
    }

    /// The name of the mechanism, as brokers write it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Plain { .. } => "PLAIN",
            Self::AmqPlain { .. } => "AMQPLAIN",
            Self::External => "EXTERNAL",
            Self::Anonymous => "ANONYMOUS",
            Self::CrDemo { .. } => "RABBIT-CR-DEMO",
        }
    }

    /// The response that goes into `connection.start-ok`.
    ///
    /// # Errors
    ///
    /// [`Misuse::ZeroInCredentials`] if PLAIN is asked to carry a zero octet: it separates the fields there, so what
    /// follows it would be taken for another field. [`Misuse::TableTooLarge`] if AMQPLAIN cannot hold the password.
    pub fn initial_response(&self) -> Result<Bytes, Misuse> {
        match self {
            Self::Plain { user, password } => plain_response(user, password),
            Self::AmqPlain { user, password } => amq_plain_response(user, password),
            Self::External | Self::Anonymous => Ok(Bytes::new()),
            Self::CrDemo { user, .. } => Ok(Bytes::from(user.clone())),
        }
    }

    /// The answer to a challenge of the broker, for `connection.secure-ok`; `None` if the mechanism has none.
    ///
    /// The credentials are not sent a second time: a broker that asks for more than the mechanism has is not the one
    /// that we believe it to be.
    pub fn respond(&self, challenge: &[u8]) -> Option<Bytes> {
        match self {
            Self::CrDemo { password, .. } if challenge == CR_DEMO_CHALLENGE => {
                Some(Bytes::from([CR_DEMO_ANSWER, password.expose()].concat()))
            }
            _ => None,
        }
    }
}

/// The first of `wanted` that is in `offered`, the broker's list of names with spaces between them.
///
/// The order of preference is ours: the broker's list has none. Names are compared whole and exactly, so `PLAINX` is
/// not PLAIN.
pub fn select<'a>(offered: &[u8], wanted: &'a [Sasl]) -> Option<&'a Sasl> {
    wanted.iter().find(|sasl| offered.split(|octet| *octet == b' ').any(|name| name == sasl.name().as_bytes()))
}

/// A password: `Debug` shows `***`, and there is no `Display`.
///
/// Its memory is overwritten when it is dropped. That is a courtesy, not a promise: the compiler may have moved it
/// before, and the octets that went to the broker live in buffers of their own.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// The octets. Take care where they go.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_owned())
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text.into_bytes())
    }
}

impl From<Vec<u8>> for Secret {
    fn from(octets: Vec<u8>) -> Self {
        Self(octets)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.fill(0);
        // Makes the write look used, or the optimizer would drop it.
        core::hint::black_box(&self.0);
    }
}

fn plain_response(user: &str, password: &Secret) -> Result<Bytes, Misuse> {
    if user.as_bytes().contains(&0) || password.expose().contains(&0) {
        return Err(Misuse::ZeroInCredentials);
    }
    Ok(Bytes::from([b"\0", user.as_bytes(), b"\0", password.expose()].concat()))
}

fn amq_plain_response(user: &str, password: &Secret) -> Result<Bytes, Misuse> {
    let password = Value::LongString(Bytes::copy_from_slice(password.expose()));
    let mut response = BytesMut::new();
    let mut writer = Writer::new(&mut response);
    writer.table("response", &Table::new().with("LOGIN", user).with("PASSWORD", password))?;
    writer.commit();
    // RabbitMQ takes the table without the length in front of it.
    response.advance(size_of::<u32>());
    Ok(response.freeze())
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    #[test]
    fn the_order_of_preference_is_ours_and_names_match_whole() {
        let wanted = [Sasl::External, Sasl::amq_plain("u", "p"), Sasl::plain("u", "p")];
        let cases: [(&[u8], Option<&str>); 8] = [
            (b"PLAIN AMQPLAIN", Some("AMQPLAIN")),
            (b"AMQPLAIN PLAIN EXTERNAL", Some("EXTERNAL")),
            (b"PLAIN", Some("PLAIN")),
            (b"  PLAIN  ", Some("PLAIN")),
            (b"PLAINX XPLAIN plain", None),
            (b"PLAIN,EXTERNAL", None),
            (b"ANONYMOUS", None),
            (b"", None),
        ];
        for (offered, expected) in cases {
            assert_eq!(select(offered, &wanted).map(Sasl::name), expected, "{offered:?}");
        }
        assert_eq!(select(b"PLAIN", &[]), None);
    }

    #[test]
    fn initial_responses() {
        let cases: [(Sasl, &[u8]); 5] = [
            (Sasl::plain("user", "pa ss"), b"\0user\0pa ss"),
            (Sasl::amq_plain("user", "p"), b"\x05LOGINS\0\0\0\x04user\x08PASSWORDS\0\0\0\x01p"),
            (Sasl::External, b""),
            (Sasl::Anonymous, b""),
            (Sasl::cr_demo("user", "p"), b"user"),
        ];
        for (sasl, expected) in cases {
            assert_eq!(sasl.initial_response().unwrap(), expected, "{sasl:?}");
        }
    }

    #[test]
    fn plain_refuses_a_zero_octet_that_amqplain_takes() {
        for (user, password) in [("us\0er", "p"), ("user", "\0"), ("\0", "")] {
            assert_eq!(Sasl::plain(user, password).initial_response(), Err(Misuse::ZeroInCredentials));
            assert!(Sasl::amq_plain(user, password).initial_response().is_ok());
        }
    }

    #[test]
    fn only_a_known_challenge_is_answered() {
        let demo = Sasl::cr_demo("u", "secret");
        assert_eq!(demo.respond(CR_DEMO_CHALLENGE).unwrap(), &b"My password is secret"[..]);
        assert_eq!(demo.respond(b"Please tell me your password again"), None);
        for sasl in [Sasl::plain("u", "p"), Sasl::amq_plain("u", "p"), Sasl::External, Sasl::Anonymous] {
            assert_eq!(sasl.respond(CR_DEMO_CHALLENGE), None, "{sasl:?}");
            assert_eq!(sasl.respond(b""), None, "{sasl:?}");
        }
    }

    #[test]
    fn debug_shows_no_password() {
        let shown = format!("{:?}", Sasl::plain("me", "hunter2"));
        assert_eq!(shown, r#"Plain { user: "me", password: *** }"#);
    }
}
