//! Publishing: method, header and body of a message are queued as one unit, or not at all.
//!
//! Small bodies are copied behind their header, in one buffer with everything else; large ones are cut into frames
//! without a copy, as they leave.

use alloc::boxed::Box;

use bytes::BytesMut;

use super::{Channel, Mode, confirms::Confirms};
use crate::{
    connection::{
        event::Event,
        outcome::{Outcome, Settled},
    },
    error::Error,
    frame::{FRAME_END, FRAME_OVERHEAD, FrameKind},
    message::{Payload, Publish},
    method::Properties,
    wire::{MAX_SHORT_STRING, Misuse, Writer},
};

/// Up to here copying a shared body is cheaper than chaining it: a copy of 16 KiB costs about as much as the extra
/// work of a gathered write.
const FLATTENED: usize = 16 * 1024;

/// The octets of a publish that are neither names, properties nor body: three frames with their fixed parts.
const FIXED_SIZE: usize = 64;

/// What became of a publish when it was queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// In confirm mode, the number by which the broker will confirm it; the first is 1.
    pub delivery_tag: Option<u64>,
}

/// How much may be unconfirmed on a channel in confirm mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Window {
    /// How many publishes.
    pub count: usize,
    /// How many octets, counted as the bodies and 64 for each publish.
    pub octets: usize,
}

impl Window {
    /// A window of so many publishes, of any size.
    pub fn count(count: usize) -> Self {
        Self { count, octets: usize::MAX }
    }

    /// As many publishes as have so many octets together; a single larger one is let through.
    pub fn octets(octets: usize) -> Self {
        Self { count: usize::MAX, octets }
    }
}

impl Default for Window {
    /// No limit.
    fn default() -> Self {
        Self { count: usize::MAX, octets: usize::MAX }
    }
}

impl Channel<'_> {
    /// Queues a message.
    ///
    /// # Errors
    ///
    /// The fault of the channel or connection, if there is one; [`Misuse`] for a message that cannot be sent;
    /// [`Error::WouldBlock`] when [`Config::outbox_limit`](crate::Config::outbox_limit) or the [window](Self::set_window)
    /// of unconfirmed publishes is reached, or the broker asked for a pause. Nothing is sent then, and no number is used up.
    pub fn publish(&mut self, publish: Publish<'_>) -> Result<Receipt, Error> {
        self.ready()?;
        let size = publish.body.len();
        if size > self.shared.limits.message_size {
            return Err(Misuse::BodyTooLarge { size, limit: self.shared.limits.message_size }.into());
        }
        if !self.has_room(size) {
            return Err(Error::WouldBlock);
        }
        self.queue_message(&publish)?;
        self.state.ledger.publish(&publish);
        let delivery_tag = match &mut self.state.mode {
            Mode::Confirms { confirms, .. } => Some(confirms.publish(&publish)),
            _ => None,
        };
        Ok(Receipt { delivery_tag })
    }

    /// Limits what may be unconfirmed in confirm mode: publishing fails with [`Error::WouldBlock`] beyond it.
    pub fn set_window(&mut self, window: Window) {
        self.state.window = window;
    }

    /// Whether the channel is in confirm mode.
    pub fn is_confirming(&self) -> bool {
        self.confirms().is_some()
    }

    /// How many publishes are unconfirmed; 0 if the channel is not in confirm mode.
    pub fn unconfirmed(&self) -> usize {
        self.confirms().map_or(0, Confirms::unsettled)
    }

    /// Whether this publish is unconfirmed.
    pub fn is_unconfirmed(&self, delivery_tag: u64) -> bool {
        self.confirms().is_some_and(|confirms| confirms.is_unsettled(delivery_tag))
    }

    fn confirms(&self) -> Option<&Confirms> {
        match &self.state.mode {
            Mode::Confirms { confirms, .. } => Some(confirms),
            _ => None,
        }
    }

    /// Whether a body of this size may be queued now. Into what is empty anything may.
    fn has_room(&self, size: usize) -> bool {
        let queued = self.shared.output.octets();
        let window = self.state.window;
        let fits_window = |confirms: &Confirms| {
            let octets = confirms.unsettled_octets();
            confirms.unsettled() < window.count && (octets == 0 || octets.saturating_add(size) <= window.octets)
        };
        !self.state.paused
            && (queued == 0 || queued.saturating_add(size) <= self.shared.limits.outbox)
            && self.confirms().is_none_or(fits_window)
    }

    /// The channel has ended: every unsettled publish ends in what is known about it.
    pub(super) fn end_publishes(&mut self, fault: &Error) {
        let Mode::Confirms { before, confirms } = &mut self.state.mode else { return };
        // Behind the rejected publish nothing was carried out. In front of it, or if none was rejected, nobody knows.
        let culprit = fault.close().and_then(|close| close.culprit.as_ref());
        let rejected = culprit.map_or(u64::MAX, |culprit| culprit.number.saturating_sub(*before));
        let (channel, events) = (self.state.id, &mut *self.shared.events);
        confirms.settle_up_to(u64::MAX, |range, returned| {
            let (first, last) = range.into_inner();
            let pieces = [
                (first, last.min(rejected.saturating_sub(1)), Outcome::Unknown(fault.clone())),
                (first.max(rejected), last.min(rejected), Outcome::Rejected(fault.clone())),
                (first.max(rejected.saturating_add(1)), last, Outcome::NotExecuted(fault.clone())),
            ];
            match returned {
                Some(returned) => {
                    let outcome = Outcome::Returned(Box::new(returned));
                    events.push(Event::Settled(Settled { channel, delivery_tags: first..=last, outcome }));
                }
                None => events.extend(pieces.into_iter().filter(|(first, last, _)| first <= last).map(
                    |(first, last, outcome)| Event::Settled(Settled { channel, delivery_tags: first..=last, outcome }),
                )),
            }
        });
    }

    fn queue_message(&mut self, publish: &Publish<'_>) -> Result<(), Misuse> {
        let number = self.state.id.number();
        let (limit, body_max) = (self.shared.limits.frame_max, self.shared.output.body_max());
        let inline = publish.body.len()
            <= match publish.body {
                Payload::Borrowed(_) => body_max,
                Payload::Shared(_) => body_max.min(FLATTENED),
            };
        let after = self.state.barrier;
        let output = &mut self.shared.output;
        if !inline {
            let head = |writer: &mut Writer<'_>| write_head(writer, number, publish, limit);
            return output.write_message(number, after.as_slice(), head, publish.body.clone().into_shared());
        }
        match output.direct(number).filter(|_| after.is_none()) {
            Some(out) => append(out, number, publish, limit),
            None => {
                let mut frames = BytesMut::new();
                append(&mut frames, number, publish, limit)?;
                output.write(number, after.as_slice(), |writer| {
                    writer.octets(&frames);
                    Ok(())
                })
            }
        }
    }
}

/// Appends all frames of a message whose body fits one.
fn append(out: &mut BytesMut, number: u16, publish: &Publish<'_>, limit: usize) -> Result<(), Misuse> {
    let body = publish.body.as_bytes();
    let names = publish.exchange.len().saturating_add(publish.routing_key.len());
    out.reserve(body.len().saturating_add(names).saturating_add(FIXED_SIZE));
    let mut writer = Writer::new(out);
    write_head(&mut writer, number, publish, limit)?;
    if !body.is_empty() {
        let [high, low] = number.to_be_bytes();
        let [a, b, c, d] = size_octets(body.len());
        writer.octets(&[FrameKind::Body as u8, high, low, a, b, c, d]);
        writer.octets(body);
        writer.octet(FRAME_END);
    }
    writer.commit();
    Ok(())
}

/// Writes the method and header frames, in as few pieces as the names between them allow: this is the hot path.
fn write_head(writer: &mut Writer<'_>, number: u16, publish: &Publish<'_>, limit: usize) -> Result<(), Misuse> {
    let exchange_length = short_length("exchange", publish.exchange)?;
    let key_length = short_length("routing_key", publish.routing_key)?;
    let [high, low] = number.to_be_bytes();
    let names = publish.exchange.len().saturating_add(publish.routing_key.len());
    // Class and method, the reserved ticket, the names with their lengths, the flags.
    let [a, b, c, d] = size_octets(names.saturating_add(9));
    writer.octets(&[FrameKind::Method as u8, high, low, a, b, c, d, 0, 60, 0, 40, 0, 0, exchange_length]);
    writer.octets(publish.exchange);
    writer.octet(key_length);
    writer.octets(publish.routing_key);
    writer.octets(&[u8::from(publish.mandatory), FRAME_END, FrameKind::Header as u8, high, low]);
    write_header(writer, publish, limit)?;
    writer.octet(FRAME_END);
    Ok(())
}

/// Writes the content header: its size, class, weight, body size and properties.
fn write_header(writer: &mut Writer<'_>, publish: &Publish<'_>, limit: usize) -> Result<(), Misuse> {
    let body = publish.body.len() as u64;
    let Some(properties) = publish.properties else {
        let [a, b, c, d, e, f, g, h] = body.to_be_bytes();
        match publish.persistent {
            // Delivery mode 2 is property flag 12.
            true => writer.octets(&[0, 0, 0, 15, 0, 60, 0, 0, a, b, c, d, e, f, g, h, 0x10, 0, 2]),
            false => writer.octets(&[0, 0, 0, 14, 0, 60, 0, 0, a, b, c, d, e, f, g, h, 0, 0]),
        }
        return Ok(());
    };
    let size = writer.counted(|writer| {
        writer.long(60 << 16);
        writer.long_long(body);
        if publish.persistent && properties.delivery_mode != Some(2) {
            return Properties { delivery_mode: Some(2), ..properties.clone() }.encode(writer);
        }
        properties.encode(writer)
    })?;
    let size = size.saturating_add(FRAME_OVERHEAD);
    if size > limit { Err(Misuse::FrameTooLarge { size, limit }) } else { Ok(()) }
}

fn short_length(field: &'static str, name: &[u8]) -> Result<u8, Misuse> {
    let length = name.len();
    u8::try_from(length).map_err(|_| Misuse::ShortStringTooLong { field, length, limit: MAX_SHORT_STRING })
}

/// The size of a payload, which fits a frame and so 32 bits.
fn size_octets(size: usize) -> [u8; 4] {
    u32::try_from(size).unwrap_or(u32::MAX).to_be_bytes()
}
