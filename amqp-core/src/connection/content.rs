//! Putting messages together: a method that announces content, its header, its body frames.
//!
//! ```text
//!        method            header (size > 0)          body, until all is there
//! Idle ----------> Header ------------------> Body ---------------------------> Idle, one message
//!                     |  size 0
//!                     `--------> Idle, one message
//! ```
//!
//! A body is never allocated by its announced size: what fits one frame stays a slice, what does not grows as it
//! comes. A message over the limit is let pass by without being stored.

use bytes::{Bytes, BytesMut};

use crate::{error::Violation, frame::ContentHeader, message::Envelope};

/// Messages announced with more octets than this are not waited for: RabbitMQ's own limit is 512 MiB, so this much is
/// said only by a peer that will never finish.
const HOPELESS: u64 = 16 * 1024 * 1024 * 1024;

/// Which method announced a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Announced {
    Delivery,
    Returned,
    Got,
}

/// A message that has come in whole.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) announced: Announced,
    pub(super) envelope: Envelope,
    pub(super) properties: Bytes,
    /// The body; none if it was over the limit and not stored.
    pub(super) body: Option<Bytes>,
    /// The size of the body in octets.
    pub(super) size: u64,
}

/// What has come of a message so far.
#[derive(Default)]
pub(super) enum Assembly {
    #[default]
    Idle,
    Header(Announced, Envelope),
    Body {
        message: Content,
        missing: u64,
        received: Received,
    },
}

pub(super) enum Received {
    /// Nothing yet, or nothing is kept.
    Nothing,
    Slice(Bytes),
    Copied(BytesMut),
}

impl Assembly {
    pub(super) fn is_idle(&self) -> bool {
        matches!(self, Self::Idle)
    }

    /// How many octets of a body are kept.
    pub(super) fn kept(&self) -> usize {
        match self {
            Self::Body { received, .. } => received.len(),
            _ => 0,
        }
    }

    /// Whether a message is being let pass by.
    pub(super) fn is_discarding(&self) -> bool {
        matches!(self, Self::Body { message: Content { body: None, .. }, .. })
    }

    /// Lets the rest of the message pass by and forgets what is there; gives its announced size.
    pub(super) fn discard(&mut self) -> u64 {
        let Self::Body { message, received, .. } = self else { return 0 };
        message.body = None;
        *received = Received::Nothing;
        message.size
    }

    /// A method announces a message.
    pub(super) fn announce(&mut self, announced: Announced, envelope: Envelope) {
        *self = Self::Header(announced, envelope);
    }

    /// The header has come; gives the message if it has no body.
    pub(super) fn header(
        &mut self,
        header: ContentHeader,
        channel: u16,
        limit: u64,
    ) -> Result<Option<Content>, Violation> {
        let Self::Header(announced, envelope) = core::mem::take(self) else {
            return Err(Violation::ContentOrder { channel });
        };
        let size = header.body_size;
        if size > HOPELESS {
            return Err(Violation::BodySize { size, channel });
        }
        let body = (size <= limit).then(Bytes::new);
        let message = Content { announced, envelope, properties: header.properties, body, size };
        if size == 0 {
            return Ok(Some(message));
        }
        *self = Self::Body { message, missing: size, received: Received::Nothing };
        Ok(None)
    }

    /// A part of the body has come; gives the message if it was the last.
    pub(super) fn body(&mut self, part: Bytes, channel: u16) -> Result<Option<Content>, Violation> {
        let Self::Body { message, missing, received } = self else {
            return Err(Violation::ContentOrder { channel });
        };
        *missing = missing.checked_sub(part.len() as u64).ok_or(Violation::BodyOverrun { channel })?;
        if message.body.is_some() {
            received.push(part);
        }
        if *missing > 0 {
            return Ok(None);
        }
        let Self::Body { mut message, received, .. } = core::mem::take(self) else { return Ok(None) };
        message.body = message.body.map(|_| received.into_bytes());
        Ok(Some(message))
    }
}

impl Received {
    fn len(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Slice(octets) => octets.len(),
            Self::Copied(octets) => octets.len(),
        }
    }

    fn push(&mut self, part: Bytes) {
        match self {
            Self::Nothing => *self = Self::Slice(part),
            Self::Slice(first) => {
                let mut copied = BytesMut::with_capacity(first.len().saturating_add(part.len()));
                copied.extend_from_slice(first);
                copied.extend_from_slice(&part);
                *self = Self::Copied(copied);
            }
            Self::Copied(copied) => copied.extend_from_slice(&part),
        }
    }

    fn into_bytes(self) -> Bytes {
        match self {
            Self::Nothing => Bytes::new(),
            Self::Slice(octets) => octets,
            Self::Copied(octets) => octets.freeze(),
        }
    }
}

impl core::fmt::Debug for Assembly {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Idle => "Idle",
            Self::Header(..) => "Header",
            Self::Body { .. } => "Body",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announced() -> Assembly {
        let mut assembly = Assembly::default();
        let payload = Bytes::from_static(b"\0\x3c\0\x3c\0\0\0\0\0\0\0\0\0\0\0\0");
        assembly.announce(Announced::Delivery, Envelope::deliver(payload).unwrap());
        assembly
    }

    fn header(size: u64) -> ContentHeader {
        ContentHeader::with_encoded(size, Bytes::from_static(&[0, 0]))
    }

    #[test]
    fn parts_become_one_body() {
        let mut assembly = announced();
        assert!(assembly.header(header(5), 1, 100).unwrap().is_none());
        assert!(assembly.body(Bytes::from_static(b"he"), 1).unwrap().is_none());
        assert!(assembly.body(Bytes::new(), 1).unwrap().is_none());
        let message = assembly.body(Bytes::from_static(b"llo"), 1).unwrap().unwrap();
        assert_eq!(message.body.unwrap(), "hello");
        assert!(assembly.is_idle());
    }

    #[test]
    fn a_body_in_one_frame_is_not_copied() {
        let mut assembly = announced();
        assembly.header(header(5), 1, 100).unwrap();
        let part = Bytes::from_static(b"hello");
        let message = assembly.body(part.clone(), 1).unwrap().unwrap();
        assert_eq!(message.body.unwrap().as_ptr(), part.as_ptr());
    }

    #[test]
    fn no_body_frame_follows_an_empty_body() {
        let mut assembly = announced();
        let message = assembly.header(header(0), 1, 100).unwrap().unwrap();
        assert_eq!(message.body.unwrap(), "");
        assert_eq!(assembly.body(Bytes::new(), 1).err(), Some(Violation::ContentOrder { channel: 1 }));
    }

    #[test]
    fn too_large_a_message_passes_by() {
        let mut assembly = announced();
        assembly.header(header(3), 1, 2).unwrap();
        let message = assembly.body(Bytes::from_static(b"abc"), 1).unwrap().unwrap();
        assert_eq!((message.body, message.size), (None, 3));
    }

    #[test]
    fn lies_about_the_size_are_violations() {
        let mut assembly = announced();
        assembly.header(header(1), 1, 100).unwrap();
        assert_eq!(assembly.body(Bytes::from_static(b"ab"), 1).err(), Some(Violation::BodyOverrun { channel: 1 }));
        let size = u64::MAX;
        assert_eq!(announced().header(header(size), 1, 100).err(), Some(Violation::BodySize { size, channel: 1 }));
    }
}
