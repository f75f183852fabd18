//! Publishing: method, header and body of a message are queued as one unit, or not at all.
//!
//! Small bodies are copied behind their header, in one buffer with everything else; large ones are cut into frames
//! without a copy, as they leave.

use alloc::boxed::Box;

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

/// Enough for the octets of method and header frame, and the start of a body frame, that are neither names nor
/// properties.
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
        // Behind the rejected publish nothing was carried out. In front of it, or if none was rejected, nobody knows;
        // nor if it may be any of several.
        let culprit = fault.close().and_then(|close| close.culprit.as_ref());
        let rejected = culprit.map_or(u64::MAX, |culprit| culprit.last.saturating_sub(*before));
        let certain = culprit.is_some_and(|culprit| culprit.is_certain());
        let (channel, events) = (self.state.id, &mut *self.shared.events);
        confirms.settle_up_to(u64::MAX, |range, returned| {
            let (first, last) = range.into_inner();
            let pieces = [
                (first, last.min(rejected.saturating_sub(1)), Outcome::Unknown(fault.clone())),
                (first.max(rejected), last.min(rejected), rejected_outcome(certain, fault)),
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
        let (output, after) = (&mut self.shared.output, self.state.barrier);
        let copied = match publish.body {
            Payload::Borrowed(_) => output.body_max(),
            Payload::Shared(_) => output.body_max().min(FLATTENED),
        };
        let number = self.state.id.number();
        let frames = Frames { publish, number, limit: self.shared.limits.frame_max };
        if publish.body.len() <= copied {
            output.write(number, after.as_slice(), |writer| frames.write_all(writer))
        } else {
            let body = publish.body.clone().into_shared();
            output.write_message(number, after.as_slice(), |writer| frames.write_head(writer, false), body)
        }
    }
}

/// The frames of one message.
struct Frames<'a> {
    publish: &'a Publish<'a>,
    /// The number of the channel.
    number: u16,
    /// The agreed `frame_max`.
    limit: usize,
}

impl Frames<'_> {
    /// Writes all frames of a message whose body fits one.
    #[inline]
    fn write_all(&self, writer: &mut Writer<'_>) -> Result<(), Misuse> {
        let body = self.publish.body.as_bytes();
        self.write_head(writer, !body.is_empty())?;
        if !body.is_empty() {
            writer.octets(body);
            writer.octet(FRAME_END);
        }
        Ok(())
    }

    /// Writes method and header, and the start of a body frame if that comes next. This is the hot path: what is fixed
    /// is put together on the spot, in as few pieces as the names between allow.
    #[inline]
    fn write_head(&self, writer: &mut Writer<'_>, body_next: bool) -> Result<(), Misuse> {
        let Publish { exchange, routing_key, mandatory, persistent, properties, ref body } = *self.publish;
        let exchange_length = short_length("exchange", exchange)?;
        let key_length = short_length("routing_key", routing_key)?;
        let names = exchange.len().saturating_add(routing_key.len());
        // Class and method, the reserved ticket, the names with their lengths, the flags.
        let [a, b, c, d] = size_octets(names.saturating_add(9));
        let [e, f, g, h, i, j, k, l] = (body.len() as u64).to_be_bytes();
        let [high, low] = self.number.to_be_bytes();
        let body_start = [FrameKind::Body as u8, high, low, i, j, k, l];
        writer.fill(names.saturating_add(FIXED_SIZE), |filler| {
            filler.put(&[FrameKind::Method as u8, high, low, a, b, c, d, 0, 60, 0, 40, 0, 0, exchange_length]);
            filler.put(exchange);
            filler.put(&[key_length]);
            filler.put(routing_key);
            filler.put(&[u8::from(mandatory), FRAME_END, FrameKind::Header as u8, high, low]);
            match (properties, persistent) {
                (Some(_), _) => return,
                (None, false) => filler.put(&[0, 0, 0, 14, 0, 60, 0, 0, e, f, g, h, i, j, k, l, 0, 0, FRAME_END]),
                // Delivery mode 2 is property flag 12.
                (None, true) => filler.put(&[0, 0, 0, 15, 0, 60, 0, 0, e, f, g, h, i, j, k, l, 0x10, 0, 2, FRAME_END]),
            }
            if body_next {
                filler.put(&body_start);
            }
        });
        if let Some(properties) = properties {
            self.write_header(writer, properties)?;
            if body_next {
                writer.octets(&body_start);
            }
        }
        Ok(())
    }

    /// Writes the size and the payload of the header frame, and its end.
    fn write_header(&self, writer: &mut Writer<'_>, properties: &Properties) -> Result<(), Misuse> {
        let Self { publish, limit, .. } = *self;
        let size = writer.counted(|writer| {
            writer.long(60 << 16);
            writer.long_long(publish.body.len() as u64);
            if publish.persistent && properties.delivery_mode != Some(2) {
                return Properties { delivery_mode: Some(2), ..properties.clone() }.encode(writer);
            }
            properties.encode(writer)
        })?;
        writer.octet(FRAME_END);
        let size = size.saturating_add(FRAME_OVERHEAD);
        if size > limit { Err(Misuse::FrameTooLarge { size, limit }) } else { Ok(()) }
    }
}

fn rejected_outcome(certain: bool, fault: &Error) -> Outcome {
    if certain { Outcome::Rejected(fault.clone()) } else { Outcome::Unknown(fault.clone()) }
}

fn short_length(field: &'static str, name: &[u8]) -> Result<u8, Misuse> {
    let length = name.len();
    u8::try_from(length).map_err(|_| Misuse::ShortStringTooLong { field, length, limit: MAX_SHORT_STRING })
}

/// The size of a payload, which fits a frame and so 32 bits.
fn size_octets(size: usize) -> [u8; 4] {
    u32::try_from(size).unwrap_or(u32::MAX).to_be_bytes()
}
