//! Frames that are none, and methods of channel 0 that cannot be decoded: what RabbitMQ says about them.

use amqp_core::{
    Violation,
    frame::{FRAME_END, FRAME_HEADER_SIZE, Frame, FrameKind},
    method::AnyMethod,
    wire::Malformed,
};
use bytes::{Buf, Bytes};

use super::super::{
    channel::Failure,
    fault::{self, Fault},
};

/// What is known of a frame before it is decoded, for the text of the error if that fails.
pub(super) struct Suspect {
    kind: u8,
    channel: u16,
    /// The payload, as much of it as there is and as the text can show, if the frame looks bad.
    payload: Bytes,
}

impl Suspect {
    pub(super) fn of(input: &[u8]) -> Self {
        const SHOWN: usize = 256;
        let mut header = input.get(..FRAME_HEADER_SIZE).unwrap_or(&[0; FRAME_HEADER_SIZE]);
        let kind = header.get_u8();
        let channel = header.get_u16();
        let size = header.get_u32() as usize;
        let end = FRAME_HEADER_SIZE.saturating_add(size);
        let looks_good = matches!(kind, 1..=3) && input.get(end).is_none_or(|octet| *octet == FRAME_END);
        let shown = input.get(FRAME_HEADER_SIZE..end.min(FRAME_HEADER_SIZE + SHOWN)).filter(|_| !looks_good);
        Self { kind, channel, payload: shown.map(Bytes::copy_from_slice).unwrap_or_default() }
    }

    pub(super) fn fault(&self, violation: &Violation, frame_max: u32) -> Fault {
        match violation {
            Violation::FrameEnd(octet) => {
                Fault::bad_frame(self.kind, &self.payload, format_args!("{{invalid_frame_end_marker,{octet}}}"))
            }
            Violation::FrameTooLarge { size, .. } => {
                let (payload, limit) = (size.saturating_sub(8), frame_max.saturating_sub(8));
                Fault::bad_frame(self.kind, &[], format_args!("{{frame_too_large,{payload},{limit}}}"))
            }
            Violation::Heartbeat if self.channel != 0 && self.payload.is_empty() => {
                Fault::stray_frame(fault::octets(self.kind, &[]))
            }
            _ => Fault::bad_frame(self.kind, &self.payload, "unknown_frame"),
        }
    }
}

/// Decodes a method of the connection itself.
pub(super) fn decode_on_channel_0(frame: &Frame) -> Result<AnyMethod, Failure> {
    const METHOD_ID_SIZE: usize = 4;
    frame.decode_method().map_err(|violation| {
        let fault = match violation {
            _ if frame.payload.len() < METHOD_ID_SIZE => {
                Fault::bad_frame(FrameKind::Method as u8, &frame.payload, "unknown_frame")
            }
            Violation::Malformed { error: Malformed::Truncated | Malformed::TrailingOctets, .. } => Fault::internal(),
            _ => Fault::Crash,
        };
        Failure { fault, blamed: None }
    })
}
