//! The parser: the URI is cut at its delimiters first and the pieces are decoded afterwards, so that nothing decoded
//! is ever taken for a delimiter.
//!
//! ```text
//! scheme ':' '//' [user [':' password] '@'] [host] [':' port] ['/' vhost] ['?' options] ['#' fragment]
//! ```

use alloc::{borrow::ToOwned, string::String, vec::Vec};
use core::{net::Ipv6Addr, str::FromStr};

use super::{AuthMechanism, Options, PORT, ServerName, TLS_PORT, TlsOptions, Uri, UriError};
use crate::{sasl::Secret, wire::MAX_SHORT_STRING};

/// An option: its name, what it takes, and how it is set from its decoded value; `None` if it cannot have that value.
type Known<T> = (&'static str, &'static str, fn(&mut T, &str) -> Option<()>);

const OPTIONS: [Known<Options>; 6] = [
    ("heartbeat", "seconds, from 0 to 65535", |options, text| keep_first(&mut options.heartbeat, number(text)?)),
    ("connection_timeout", "milliseconds, from 1 to 4294967295", |options, text| {
        keep_first(&mut options.connection_timeout, number(text).filter(|timeout| *timeout != 0)?)
    }),
    ("channel_max", "a number from 0 to 65535", |options, text| keep_first(&mut options.channel_max, number(text)?)),
    ("frame_max", "octets: 0, or from 4096 to 4294967295", |options, text| {
        keep_first(&mut options.frame_max, number(text)?)
    }),
    ("auth_mechanism", "plain, amqplain, external or anonymous", |options, text| {
        let mechanism = AuthMechanism::ALL.into_iter().find(|mechanism| mechanism.name() == text)?;
        if !options.auth_mechanisms.contains(&mechanism) {
            options.auth_mechanisms.push(mechanism);
        }
        Some(())
    }),
    ("connection_name", "a name", |options, text| keep_first(&mut options.connection_name, text.to_owned())),
];

/// The options that need TLS.
const TLS_OPTIONS: [Known<TlsOptions>; 8] = [
    ("cacertfile", "a path", |tls, text| keep_first(&mut tls.cacertfile, path(text)?)),
    ("certfile", "a path", |tls, text| keep_first(&mut tls.certfile, path(text)?)),
    ("keyfile", "a path", |tls, text| keep_first(&mut tls.keyfile, path(text)?)),
    ("password", "text", |tls, text| keep_first(&mut tls.password, text.into())),
    ("verify", "verify_peer or verify_none", |tls, text| {
        keep_first(&mut tls.verify, yes_or_no(text, "verify_peer", "verify_none")?)
    }),
    ("fail_if_no_peer_cert", "true or false", |tls, text| {
        keep_first(&mut tls.fail_if_no_peer_cert, yes_or_no(text, "true", "false")?)
    }),
    ("server_name_indication", "a host name or disable", |tls, text| {
        let name = match text {
            "disable" => ServerName::Disabled,
            name if is_host(name) => ServerName::Name(name.to_owned()),
            _ => return None,
        };
        keep_first(&mut tls.server_name_indication, name)
    }),
    ("depth", "a number from 0 to 255", |tls, text| keep_first(&mut tls.depth, number(text)?)),
];

/// Parses a URI; `vhost_of_slash` is what a path of `/` alone means.
pub(super) fn uri(text: &str, vhost_of_slash: &str) -> Result<Uri, UriError> {
    let whole = Part { text, at: 0 };
    if let Some(position) = whole.find(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(UriError::Whitespace { position });
    }
    let (scheme, rest) = whole.split_once(':').ok_or(UriError::Scheme)?;
    let is_tls = match scheme.text {
        scheme if scheme.eq_ignore_ascii_case("amqp") => false,
        scheme if scheme.eq_ignore_ascii_case("amqps") => true,
        _ => return Err(UriError::Scheme),
    };
    let rest = rest.strip_prefix("//").ok_or(UriError::MissingSlashes)?;
    let (login, rest) = split_login(rest)?;
    let rest = rest.split_once('#').map_or(rest, |(before, _fragment)| before);
    let (rest, query) = rest.split_option('?');
    let (host, path) = rest.split_option('/');

    let (user, password) = user_and_password(login)?;
    let (host, port) = host_and_port(host)?;
    let port = port.unwrap_or(if is_tls { TLS_PORT } else { PORT });
    let vhost = vhost(path, vhost_of_slash)?;
    let mut tls = is_tls.then(TlsOptions::default);
    let options = match query {
        Some(query) => options(query, &mut tls)?,
        None => Options::default(),
    };
    Ok(Uri { user, password, host, port, vhost, options, tls })
}

/// Cuts user name and password off. Exactly one `@` may stand in a URI: with a second one, or behind the host, it is
/// a matter of luck which part of an unescaped password is taken for the host and shown to the world.
fn split_login(rest: Part<'_>) -> Result<(Option<Part<'_>>, Part<'_>), UriError> {
    let Some((login, after)) = rest.split_once('@') else {
        return Ok((None, rest));
    };
    if login.find(|c| matches!(c, '/' | '?' | '#')).is_some() {
        return Err(UriError::UnescapedAt { position: login.end() });
    }
    match after.find(|c| c == '@') {
        Some(position) => Err(UriError::UnescapedAt { position }),
        None => Ok((Some(login), after)),
    }
}

fn user_and_password(login: Option<Part<'_>>) -> Result<(String, Secret), UriError> {
    let Some((user, password)) = login.filter(|login| !login.text.is_empty()).map(|login| login.split_option(':'))
    else {
        return Ok(("guest".to_owned(), Secret::from("guest")));
    };
    let password = match password {
        Some(password) => {
            if let Some(position) = password.find(|c| c == ':') {
                return Err(UriError::UnescapedColon { position });
            }
            Secret::from(password.decode()?)
        }
        None => Secret::from("guest"),
    };
    Ok((user.decode_text()?, password))
}

fn host_and_port(part: Part<'_>) -> Result<(String, Option<u16>), UriError> {
    if part.text.is_empty() {
        return Ok(("localhost".to_owned(), None));
    }
    if let Some(position) = part.find(|c| c == ',') {
        return Err(UriError::SeveralHosts { position });
    }
    if let Some(address) = part.strip_prefix("[") {
        let (address, after) = address.split_once(']').ok_or(UriError::InvalidHost { position: part.at })?;
        let port = match after.strip_prefix(":") {
            Some(port) => Some(port.port()?),
            None if after.text.is_empty() => None,
            None => return Err(UriError::InvalidPort { position: after.at }),
        };
        return Ok((address.ipv6()?, port));
    }
    let (host, port) = part.split_option(':');
    if let Some(position) = port.and_then(|port| port.find(|c| c == ':')) {
        return Err(UriError::UnbracketedColon { position });
    }
    if host.text.is_empty() {
        return Err(UriError::EmptyHost);
    }
    Ok((host.host()?, port.map(Part::port).transpose()?))
}

fn vhost(path: Option<Part<'_>>, vhost_of_slash: &str) -> Result<String, UriError> {
    let Some(path) = path else {
        return Ok("/".to_owned());
    };
    if let Some(position) = path.find(|c| c == '/') {
        return Err(UriError::SecondPathSegment { position });
    }
    let vhost = if path.text.is_empty() { vhost_of_slash.to_owned() } else { path.decode_text()? };
    match vhost.len() {
        length if length > MAX_SHORT_STRING => Err(UriError::VhostTooLong { length, limit: MAX_SHORT_STRING }),
        _ => Ok(vhost),
    }
}

fn options(query: Part<'_>, tls: &mut Option<TlsOptions>) -> Result<Options, UriError> {
    let mut options = Options::default();
    let mut rest = Some(query);
    while let Some(part) = rest {
        let (option, next) = part.split_option('&');
        rest = next;
        if option.text.is_empty() {
            continue;
        }
        let (name, value) = option.split_option('=');
        if let Some(known) = OPTIONS.iter().find(|known| known.0 == name.text) {
            set(known, &mut options, value)?;
        } else if let Some(known) = TLS_OPTIONS.iter().find(|known| known.0 == name.text) {
            set(known, tls.as_mut().ok_or(UriError::TlsOption { option: known.0 })?, value)?;
        } else {
            // Behind a password this may be the rest of it, cut off by an '&' that is not escaped.
            let is_safe = tls.as_ref().is_none_or(|tls| tls.password.is_none());
            return Err(UriError::UnknownOption { name: is_safe.then(|| name.text.to_owned()), position: name.at });
        }
    }
    Ok(options)
}

fn set<T>(&(option, expected, set): &Known<T>, target: &mut T, value: Option<Part<'_>>) -> Result<(), UriError> {
    let refused = UriError::OptionValue { option, expected };
    match value {
        Some(value) => set(target, &value.decode_text()?).ok_or(refused),
        None => Err(refused),
    }
}

/// Of an option given twice the first one counts.
fn keep_first<T>(slot: &mut Option<T>, value: T) -> Option<()> {
    slot.get_or_insert(value);
    Some(())
}

/// A number of digits only: `FromStr` would take a plus sign too.
fn number<T: FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|octet| octet.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn path(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn yes_or_no(text: &str, yes: &str, no: &str) -> Option<bool> {
    (text == yes || text == no).then_some(text == yes)
}

/// True for what can be a host name, an IPv4 address, or the zone of an IPv6 address. Beyond ASCII everything passes
/// that can be seen: it is up to the resolver.
fn is_host(text: &str) -> bool {
    let is_legal = |c: char| match c {
        'A'..='Z' | 'a'..='z' | '0'..='9' | '-' | '.' | '_' | '~' => true,
        _ => !c.is_ascii() && !c.is_whitespace() && !c.is_control(),
    };
    !text.is_empty() && text.chars().all(is_legal)
}

/// A piece of the URI that knows where it stands.
#[derive(Clone, Copy)]
struct Part<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Part<'a> {
    /// What is before the first `delimiter`, and what is behind it.
    fn split_once(self, delimiter: char) -> Option<(Self, Self)> {
        let (before, after) = self.text.split_once(delimiter)?;
        let before = Self { text: before, at: self.at };
        Some((before, Self { text: after, at: before.end().saturating_add(delimiter.len_utf8()) }))
    }

    /// As `split_once`; without a delimiter everything is before it.
    fn split_option(self, delimiter: char) -> (Self, Option<Self>) {
        self.split_once(delimiter).map_or((self, None), |(before, after)| (before, Some(after)))
    }

    fn strip_prefix(self, prefix: &str) -> Option<Self> {
        let text = self.text.strip_prefix(prefix)?;
        Some(Self { text, at: self.at.saturating_add(prefix.len()) })
    }

    /// Where the first such character stands in the URI.
    fn find(self, wanted: impl Fn(char) -> bool) -> Option<usize> {
        self.text.find(wanted).map(|offset| self.at.saturating_add(offset))
    }

    fn end(self) -> usize {
        self.at.saturating_add(self.text.len())
    }

    fn decode(self) -> Result<Vec<u8>, UriError> {
        let mut octets = Vec::with_capacity(self.text.len());
        let mut rest = self.text.bytes().enumerate();
        while let Some((offset, octet)) = rest.next() {
            let octet = match octet {
                b'%' => match (hex_digit(rest.next()), hex_digit(rest.next())) {
                    (Some(high), Some(low)) => high << 4 | low,
                    _ => return Err(UriError::PercentSequence { position: self.at.saturating_add(offset) }),
                },
                plain => plain,
            };
            octets.push(octet);
        }
        Ok(octets)
    }

    fn decode_text(self) -> Result<String, UriError> {
        String::from_utf8(self.decode()?).map_err(|_| UriError::NotUtf8 { position: self.at })
    }

    fn host(self) -> Result<String, UriError> {
        Some(self.decode_text()?).filter(|host| is_host(host)).ok_or(UriError::InvalidHost { position: self.at })
    }

    /// An IPv6 address, with a zone behind a percent sign (RFC 6874) if it has one.
    fn ipv6(self) -> Result<String, UriError> {
        let host = self.decode_text()?;
        let (address, zone) =
            host.split_once('%').map_or((host.as_str(), None), |(address, zone)| (address, Some(zone)));
        if Ipv6Addr::from_str(address).is_ok() && zone.is_none_or(is_host) {
            Ok(host)
        } else {
            Err(UriError::InvalidHost { position: self.at })
        }
    }

    fn port(self) -> Result<u16, UriError> {
        if self.text.is_empty() || !self.text.bytes().all(|octet| octet.is_ascii_digit()) {
            return Err(UriError::InvalidPort { position: self.at });
        }
        number(self.text).filter(|port| *port != 0).ok_or(UriError::PortOutOfRange { position: self.at })
    }
}

fn hex_digit(octet: Option<(usize, u8)>) -> Option<u8> {
    let (_, octet) = octet?;
    char::from(octet).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}
