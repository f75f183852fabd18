//! Publishing: method, header and body of a message are queued as one unit, or not at all.
//!
//! Small bodies are copied behind their header, in one buffer with everything else; large ones are cut into frames
//! without a copy, as they leave.

use bytes::BytesMut;

use super::{Channel, Mode, Receipt};
use crate::{
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

impl Channel<'_> {
    /// Queues a message.
    ///
    /// # Errors
    ///
    /// The fault of the channel or connection, if there is one; [`Misuse`] for a message that cannot be sent;
    /// [`Error::WouldBlock`] when [`Config::outbox_limit`](crate::Config::outbox_limit) is reached or the broker asked
    /// for a pause. Nothing is sent then, and no number is used up.
    pub fn publish(&mut self, publish: Publish<'_>) -> Result<Receipt, Error> {
        self.ready()?;
        let size = publish.body.len();
        if size > self.shared.limits.message_size {
            return Err(Misuse::BodyTooLarge { size, limit: self.shared.limits.message_size }.into());
        }
        let queued = self.shared.output.octets();
        if self.state.paused || queued > 0 && queued.saturating_add(size) > self.shared.limits.outbox {
            return Err(Error::WouldBlock);
        }
        self.queue_message(&publish)?;
        let delivery_tag = match &mut self.state.mode {
            Mode::Confirms { published } => {
                *published = published.saturating_add(1);
                Some(*published)
            }
            _ => None,
        };
        Ok(Receipt { delivery_tag })
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
