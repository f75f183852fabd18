//! Logging in: the mechanisms that RabbitMQ 3.10 offers by default, PLAIN and AMQPLAIN.

use std::collections::BTreeMap;

use amqp_core::{
    method::connection,
    wire::{Reader, ShortString, Table, Value},
};
use bytes::{BufMut, Bytes, BytesMut};

/// What the broker offers, separated by spaces.
pub(super) const MECHANISMS: &str = "PLAIN AMQPLAIN";

/// The users of a broker, with their passwords.
pub(in crate::broker) type Users = BTreeMap<ShortString, Bytes>;

/// How an attempt to log in ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Login {
    /// This user is in.
    Accepted(ShortString),
    /// No such user, or another password.
    Refused,
    /// Not a login at all: an unknown mechanism, or a response that is none.
    Garbage,
}

/// Looks at what a client says about itself.
pub(super) fn attempt(start: &connection::StartOk, users: &Users) -> Login {
    let credentials = match start.mechanism.as_bytes() {
        b"PLAIN" => plain(&start.response),
        b"AMQPLAIN" => amqplain(&start.response),
        _ => None,
    };
    match credentials {
        None => Login::Garbage,
        Some((user, password)) if users.get(&user) == Some(&password) => Login::Accepted(user.detach()),
        Some(_) => Login::Refused,
    }
}

/// User and password, each behind a zero octet. RabbitMQ takes no authorization identity in front of them.
fn plain(response: &Bytes) -> Option<(ShortString, Bytes)> {
    let mut parts = response.split(|&octet| octet == 0);
    let (identity, user, password) = (parts.next()?, parts.next()?, parts.next()?);
    if !identity.is_empty() || parts.next().is_some() {
        return None;
    }
    Some((response.slice_ref(user).into(), response.slice_ref(password)))
}

/// The inside of a table, without the length in front.
fn amqplain(response: &Bytes) -> Option<(ShortString, Bytes)> {
    let mut table = BytesMut::with_capacity(4 + response.len());
    table.put_u32(u32::try_from(response.len()).ok()?);
    table.extend_from_slice(response);
    let table: Table = Reader::new(&table.freeze()).table().ok()?;
    let field = |name| match table.get(name) {
        Some(Value::LongString(octets)) => Some(octets.clone()),
        _ => None,
    };
    Some((field("LOGIN")?.into(), field("PASSWORD")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log_in(mechanism: &str, response: &'static [u8]) -> Login {
        let users = Users::from([("guest".into(), Bytes::from_static(b"secret"))]);
        attempt(&connection::StartOk::new(Table::new(), mechanism, response, "en_US"), &users)
    }

    #[test]
    fn plain_and_amqplain_carry_user_and_password() {
        assert_eq!(log_in("PLAIN", b"\0guest\0secret"), Login::Accepted("guest".into()));
        assert_eq!(log_in("PLAIN", b"\0guest\0wrong"), Login::Refused);
        assert_eq!(log_in("PLAIN", b"guest"), Login::Garbage);
        let response = b"\x05LOGINS\0\0\0\x05guest\x08PASSWORDS\0\0\0\x06secret";
        assert_eq!(log_in("AMQPLAIN", response), Login::Accepted("guest".into()));
        assert_eq!(log_in("AMQPLAIN", b"zz"), Login::Garbage);
        assert_eq!(log_in("EXTERNAL", b""), Login::Garbage);
    }
}
