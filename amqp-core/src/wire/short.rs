//! Short strings: up to 255 octets, usually UTF-8, which nobody guarantees.
//!
//! RabbitMQ forwards routing keys and properties that are not UTF-8, so a received short string is octets first and
//! text when asked.

use alloc::{
    borrow::Cow,
    string::{String, ToString},
};
use core::{fmt, str};

use bytes::Bytes;

/// The longest short string, in octets: its length travels in one octet.
pub const MAX_SHORT_STRING: usize = 255;

/// An owned short string: a name, a key, a tag.
///
/// Cloning is cheap: the octets are shared. A value built from more than [`MAX_SHORT_STRING`] octets exists until it
/// is used: the command that would send it fails with
/// [`Misuse::ShortStringTooLong`](crate::Misuse::ShortStringTooLong) and sends nothing.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShortString(Bytes);

impl ShortString {
    /// The empty string.
    pub const fn new() -> Self {
        Self(Bytes::new())
    }

    /// A name known at compile time, without copying it.
    pub const fn from_static(text: &'static str) -> Self {
        Self(Bytes::from_static(text.as_bytes()))
    }

    /// The same octets, borrowed.
    pub fn as_short_str(&self) -> ShortStr<'_> {
        ShortStr(&self.0)
    }

    /// The octets.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text, if the octets are UTF-8.
    pub fn as_str(&self) -> Result<&str, str::Utf8Error> {
        str::from_utf8(&self.0)
    }

    /// The length in octets.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True for the empty string.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A copy with memory of its own, which no longer keeps the buffer alive that it was read from.
    #[must_use]
    pub fn detach(&self) -> Self {
        Self(Bytes::copy_from_slice(&self.0))
    }
}

impl From<Bytes> for ShortString {
    fn from(octets: Bytes) -> Self {
        Self(octets)
    }
}

impl From<&str> for ShortString {
    fn from(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<String> for ShortString {
    fn from(text: String) -> Self {
        Self(Bytes::from(text))
    }
}

impl From<&String> for ShortString {
    fn from(text: &String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<&ShortString> for ShortString {
    fn from(text: &ShortString) -> Self {
        text.clone()
    }
}

impl From<ShortStr<'_>> for ShortString {
    fn from(text: ShortStr<'_>) -> Self {
        Self(Bytes::copy_from_slice(text.0))
    }
}

impl AsRef<[u8]> for ShortString {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq<str> for ShortString {
    fn eq(&self, other: &str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl PartialEq<&str> for ShortString {
    fn eq(&self, other: &&str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl fmt::Display for ShortString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_short_str().fmt(f)
    }
}

impl fmt::Debug for ShortString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_short_str().fmt(f)
    }
}

/// A short string borrowed from a message, as [`Message::routing_key`](crate::Message::routing_key) gives it.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShortStr<'a>(&'a [u8]);

impl<'a> ShortStr<'a> {
    /// Borrows octets as a short string.
    pub const fn new(octets: &'a [u8]) -> Self {
        Self(octets)
    }

    /// The octets.
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// The text, if the octets are UTF-8.
    pub fn as_str(self) -> Result<&'a str, str::Utf8Error> {
        str::from_utf8(self.0)
    }

    /// The text, with U+FFFD in the place of what is not UTF-8.
    pub fn to_text(self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.0)
    }

    /// An owned copy.
    pub fn to_short_string(self) -> ShortString {
        self.into()
    }

    /// The length in octets.
    pub fn len(self) -> usize {
        self.0.len()
    }

    /// True for the empty string.
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }
}

impl AsRef<[u8]> for ShortStr<'_> {
    fn as_ref(&self) -> &[u8] {
        self.0
    }
}

impl PartialEq<str> for ShortStr<'_> {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for ShortStr<'_> {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl fmt::Display for ShortStr<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.to_text())
    }
}

impl fmt::Debug for ShortStr<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_str() {
            Ok(text) => fmt::Debug::fmt(text, f),
            Err(_) => fmt::Debug::fmt(&Bytes::copy_from_slice(self.0), f),
        }
    }
}

impl From<ShortStr<'_>> for String {
    fn from(text: ShortStr<'_>) -> Self {
        text.to_string()
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    #[test]
    fn octets_that_are_not_utf8_survive() {
        let key = ShortString::from(Bytes::from_static(b"\xff\xfe\0"));
        assert!(key.as_str().is_err());
        assert_eq!(key.as_bytes(), b"\xff\xfe\0");
        assert_eq!(format!("{key}"), "\u{fffd}\u{fffd}\0");
        assert_eq!(format!("{key:?}"), r#"b"\xff\xfe\0""#);
    }

    #[test]
    fn length_is_counted_in_octets() {
        assert_eq!(ShortString::from("é").len(), 2);
    }
}
