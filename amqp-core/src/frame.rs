//! Frames: what travels between the protocol header and the end of a connection.
//!
//! ```text
//! octet type | short channel | long size | size octets of payload | octet 0xCE
//! ```
//!
//! The [`Decoder`] works alone: a proxy, a capture tool or a fuzzer wants nothing else. It checks the announced size
//! against its limits as soon as the seven octets of the header are there, so nothing is ever buffered or allocated
//! by an announcement.

use bytes::{BufMut, Bytes, BytesMut};

use crate::{
    error::Violation,
    method::{AnyMethod, MethodId, Properties},
    wire::{Malformed, Misuse, Reader, Writer},
};

/// The octet at the end of each frame.
pub const FRAME_END: u8 = 0xCE;
/// The octets of a frame in front of its payload.
pub const FRAME_HEADER_SIZE: usize = 7;
/// The octets of a frame that are not payload.
pub const FRAME_OVERHEAD: usize = FRAME_HEADER_SIZE + 1;
/// What a client sends first: the protocol header of AMQP 0-9-1.
pub const PROTOCOL_HEADER: &[u8; 8] = b"AMQP\0\0\x09\x01";
/// The class that all content belongs to.
const BASIC: u16 = 60;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameKind {
    /// A method with its arguments.
    Method = 1,
    /// The header of a message: its size and properties.
    Header = 2,
    /// A part of a message's body.
    Body = 3,
    /// A sign of life.
    Heartbeat = 8,
}

impl FrameKind {
    fn new(octet: u8) -> Result<Self, Violation> {
        match octet {
            1 => Ok(Self::Method),
            2 => Ok(Self::Header),
            3 => Ok(Self::Body),
            8 => Ok(Self::Heartbeat),
            other => Err(Violation::FrameType(other)),
        }
    }
}

/// One frame, its payload a slice of what was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it carries.
    pub kind: FrameKind,
    /// The channel; 0 is the connection itself.
    pub channel: u16,
    /// What stands between header and end octet.
    pub payload: Bytes,
}

impl Frame {
    /// A method.
    pub fn method(channel: u16, method: &AnyMethod) -> Result<Self, Misuse> {
        let mut out = BytesMut::new();
        let mut writer = Writer::new(&mut out);
        writer.short(method.id().class);
        writer.short(method.id().method);
        method.encode(&mut writer)?;
        writer.commit();
        Ok(Self { kind: FrameKind::Method, channel, payload: out.freeze() })
    }

    /// A content header.
    pub fn header(channel: u16, header: &ContentHeader) -> Self {
        let mut out = BytesMut::with_capacity(header.properties.len().saturating_add(12));
        out.put_u16(header.class_id);
        out.put_u16(0);
        out.put_u64(header.body_size);
        out.extend_from_slice(&header.properties);
        Self { kind: FrameKind::Header, channel, payload: out.freeze() }
    }

    /// A part of a body.
    pub fn body(channel: u16, part: Bytes) -> Self {
        Self { kind: FrameKind::Body, channel, payload: part }
    }

    /// A heartbeat.
    pub fn heartbeat() -> Self {
        Self { kind: FrameKind::Heartbeat, channel: 0, payload: Bytes::new() }
    }

    /// The method that this frame carries; anything left over behind its arguments is a violation.
    pub fn decode_method(&self) -> Result<AnyMethod, Violation> {
        let mut reader = Reader::new(&self.payload);
        let id = read_method_id(&mut reader)?;
        let malformed = |error| Violation::Malformed { what: id.name().unwrap_or("method"), error };
        let method = AnyMethod::decode(id, &mut reader).ok_or(Violation::UnknownMethod(id))?.map_err(malformed)?;
        reader.finish().map_err(malformed)?;
        Ok(method)
    }

    /// The content header that this frame carries. Its properties are not looked into.
    pub fn decode_header(&self) -> Result<ContentHeader, Violation> {
        let malformed = |error| Violation::Malformed { what: "content header", error };
        let mut reader = Reader::new(&self.payload);
        let class_id = reader.short().map_err(malformed)?;
        if reader.short().map_err(malformed)? != 0 {
            return Err(Violation::ContentHeader { channel: self.channel });
        }
        let body_size = reader.long_long().map_err(malformed)?;
        if reader.remaining() < 2 {
            return Err(malformed(Malformed::Truncated));
        }
        Ok(ContentHeader { class_id, body_size, properties: reader.take_rest() })
    }

    /// Appends the frame to `out`.
    pub fn encode(&self, out: &mut BytesMut) {
        out.reserve(self.payload.len().saturating_add(FRAME_OVERHEAD));
        out.put_u8(self.kind as u8);
        out.put_u16(self.channel);
        // A payload beyond 32 bits cannot be built: every part of it is bounded by a frame.
        out.put_u32(u32::try_from(self.payload.len()).unwrap_or(u32::MAX));
        out.extend_from_slice(&self.payload);
        out.put_u8(FRAME_END);
    }
}

/// Reads the numbers that name a method, at the start of a method frame's payload.
pub(crate) fn read_method_id(reader: &mut Reader<'_>) -> Result<MethodId, Violation> {
    let malformed = |error| Violation::Malformed { what: "method", error };
    Ok(MethodId::new(reader.short().map_err(malformed)?, reader.short().map_err(malformed)?))
}

/// What a content header frame carries.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ContentHeader {
    /// The class of the method that the content belongs to: 60, `basic`.
    pub class_id: u16,
    /// The size of the whole body in octets.
    pub body_size: u64,
    /// Property flags and properties, not decoded.
    pub properties: Bytes,
}

impl ContentHeader {
    /// A header for a body of that many octets.
    pub fn new(body_size: u64, properties: &Properties) -> Result<Self, Misuse> {
        let mut out = BytesMut::new();
        let mut writer = Writer::new(&mut out);
        properties.encode(&mut writer)?;
        writer.commit();
        Ok(Self::with_encoded(body_size, out.freeze()))
    }

    /// A header with properties as they were received.
    pub fn with_encoded(body_size: u64, properties: Bytes) -> Self {
        Self { class_id: BASIC, body_size, properties }
    }

    /// The properties, decoded; the headers among them stay as they are until somebody looks into them.
    pub fn properties(&self) -> Result<Properties, Malformed> {
        decode_properties(&self.properties)
    }
}

pub(crate) fn decode_properties(octets: &Bytes) -> Result<Properties, Malformed> {
    let mut reader = Reader::new(octets);
    let properties = Properties::decode(&mut reader)?;
    reader.finish()?;
    Ok(properties)
}

/// The largest frames that are let in, counted whole: with header and end octet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameLimits {
    /// For body frames.
    pub body: u32,
    /// For method and header frames. RabbitMQ sends a content header whole however small the agreed `frame_max` is.
    pub other: u32,
}

/// Turns octets into frames.
///
/// ```
/// use amqp_core::frame::{Decoder, FrameKind, FrameLimits};
/// use bytes::BytesMut;
///
/// let mut decoder = Decoder::new(FrameLimits { body: 131_072, other: 131_072 });
/// let mut input = BytesMut::from(&b"\x08\0\0\0\0\0\0\xce\x08"[..]);
/// let frame = decoder.decode(&mut input)?.expect("a whole frame is there");
/// assert_eq!(frame.kind, FrameKind::Heartbeat);
/// assert_eq!(decoder.decode(&mut input)?, None);
/// # Ok::<(), amqp_core::Violation>(())
/// ```
#[derive(Clone, Debug)]
pub struct Decoder {
    limits: FrameLimits,
}

impl Decoder {
    /// A decoder with these limits.
    pub fn new(limits: FrameLimits) -> Self {
        Self { limits }
    }

    /// Changes the limits, for the frames that come next.
    pub fn set_limits(&mut self, limits: FrameLimits) {
        self.limits = limits;
    }

    /// Takes the next frame out of `input`; leaves `input` alone while the frame is not whole.
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Frame>, Violation> {
        let Some(whole) = self.frame_size(input)? else { return Ok(None) };
        if input.len() < whole {
            return Ok(None);
        }
        let octets = input.split_to(whole).freeze();
        self.frame_at(&octets, 0).map(|frame| frame.map(|(frame, _)| frame))
    }

    /// The size of all whole frames at the start of `input`. A violation is reported when it is the first thing there,
    /// so that the frames in front of it count.
    pub(crate) fn whole_frames(&self, input: &[u8]) -> Result<usize, Violation> {
        let mut end = 0_usize;
        loop {
            let rest = input.get(end..).unwrap_or_default();
            match self.frame_size(rest) {
                Ok(Some(size)) if size <= rest.len() => end = end.saturating_add(size),
                Err(violation) if end == 0 => return Err(violation),
                _ => return Ok(end),
            }
        }
    }

    /// The frame that starts at `at` in `chunk`, and where the next one starts; none at the end.
    pub(crate) fn frame_at(&self, chunk: &Bytes, at: usize) -> Result<Option<(Frame, usize)>, Violation> {
        let rest = chunk.get(at..).unwrap_or_default();
        let Some(size) = self.frame_size(rest)? else { return Ok(None) };
        let Some(octets) = rest.get(..size) else { return Ok(None) };
        let &[kind, high, low, _, _, _, _, ref payload @ .., end] = octets else { return Ok(None) };
        if end != FRAME_END {
            return Err(Violation::FrameEnd(end));
        }
        let payload = if payload.is_empty() { Bytes::new() } else { chunk.slice_ref(payload) };
        let frame = Frame { kind: FrameKind::new(kind)?, channel: u16::from_be_bytes([high, low]), payload };
        Ok(Some((frame, at.saturating_add(size))))
    }

    /// The size of the whole frame at the start of `input`, once its header is there and within the limits.
    fn frame_size(&self, input: &[u8]) -> Result<Option<usize>, Violation> {
        let &[kind, channel_high, channel_low, a, b, c, d, ..] = input else {
            // A wrong first octet is wrong at once: whoever speaks something else may never send seven.
            return input.first().map_or(Ok(None), |kind| FrameKind::new(*kind).map(|_| None));
        };
        let payload = u32::from_be_bytes([a, b, c, d]);
        let limit = match FrameKind::new(kind)? {
            FrameKind::Heartbeat if payload != 0 || channel_high != 0 || channel_low != 0 => {
                return Err(Violation::Heartbeat);
            }
            FrameKind::Body => self.limits.body,
            _ => self.limits.other,
        };
        let size = u64::from(payload).saturating_add(FRAME_OVERHEAD as u64);
        if size > u64::from(limit) {
            return Err(Violation::FrameTooLarge { size, limit });
        }
        Ok(usize::try_from(size).ok())
    }
}
