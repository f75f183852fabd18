//! Writing: all or nothing.
//!
//! A [`Writer`] appends to an output buffer and takes everything back when it is dropped without
//! [`commit`](Writer::commit): a name that is too long in the middle of a method leaves no octet behind.

use bytes::{BufMut, BytesMut};

use super::{MAX_DEPTH, MAX_SHORT_STRING, MAX_TABLE_SIZE, Misuse, Table, Value};

/// Appends to a buffer; what was appended stays only if [`commit`](Self::commit) is called.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut BytesMut,
    start: usize,
}

impl<'a> Writer<'a> {
    /// Starts a transaction at the end of `out`.
    pub fn new(out: &'a mut BytesMut) -> Self {
        let start = out.len();
        Self { out, start }
    }

    /// Keeps what was written.
    pub fn commit(mut self) {
        self.start = self.out.len();
    }

    /// How many octets were written so far.
    pub fn written(&self) -> usize {
        self.out.len().saturating_sub(self.start)
    }

    /// Writes one octet.
    #[inline]
    pub fn octet(&mut self, value: u8) {
        self.out.put_u8(value);
    }

    /// Writes a 16-bit integer.
    #[inline]
    pub fn short(&mut self, value: u16) {
        self.out.put_u16(value);
    }

    /// Writes a 32-bit integer.
    #[inline]
    pub fn long(&mut self, value: u32) {
        self.out.put_u32(value);
    }

    /// Writes a 64-bit integer.
    #[inline]
    pub fn long_long(&mut self, value: u64) {
        self.out.put_u64(value);
    }

    /// Writes octets as they are.
    #[inline]
    pub fn octets(&mut self, octets: &[u8]) {
        self.out.extend_from_slice(octets);
    }

    /// Writes up to `most` octets in pieces. Faster than writing each piece to the buffer, which keeps its length in
    /// memory and checks its capacity every time.
    #[inline]
    pub(crate) fn fill(&mut self, most: usize, pieces: impl FnOnce(&mut Filler<'_>)) {
        let start = self.out.len();
        if most <= SMALL_ROOM {
            // A constant size is cleared without a call.
            self.out.extend_from_slice(&[0; SMALL_ROOM]);
        } else {
            self.out.resize(start.saturating_add(most), 0);
        }
        let mut filler = Filler(self.out.get_mut(start..).unwrap_or_default());
        pieces(&mut filler);
        let unused = filler.0.len();
        self.out.truncate(self.out.len().saturating_sub(unused));
    }

    /// Writes the length of what `contents` writes as a 32-bit integer in front of it, and gives that length.
    pub(crate) fn counted(&mut self, contents: impl FnOnce(&mut Self) -> Result<(), Misuse>) -> Result<usize, Misuse> {
        let length_at = self.out.len();
        self.long(0);
        let contents_at = self.out.len();
        contents(self)?;
        let length = self.out.len().saturating_sub(contents_at);
        // A length beyond 32 bits is beyond every limit that the callers check.
        let prefix = u32::try_from(length).unwrap_or(u32::MAX);
        if let Some(place) = self.out.get_mut(length_at..contents_at) {
            place.copy_from_slice(&prefix.to_be_bytes());
        }
        Ok(length)
    }

    /// Writes up to eight bit arguments into one octet, the first into the lowest bit.
    pub fn bits(&mut self, bits: &[bool]) {
        self.octet(bits.iter().rev().fold(0, |octet, bit| octet << 1 | u8::from(*bit)));
    }

    /// Writes a short string; `field` names it in the error.
    pub fn short_string(&mut self, field: &'static str, value: &[u8]) -> Result<(), Misuse> {
        match u8::try_from(value.len()) {
            Ok(length) => {
                self.octet(length);
                self.octets(value);
                Ok(())
            }
            Err(_) => Err(Misuse::ShortStringTooLong { field, length: value.len(), limit: MAX_SHORT_STRING }),
        }
    }

    /// Writes a long string; `field` names it in the error.
    pub fn long_string(&mut self, field: &'static str, value: &[u8]) -> Result<(), Misuse> {
        let length =
            u32::try_from(value.len()).map_err(|_| Misuse::LongStringTooLong { field, length: value.len() })?;
        self.long(length);
        self.octets(value);
        Ok(())
    }

    /// Writes a table; `field` names it in the error.
    pub fn table(&mut self, field: &'static str, table: &Table) -> Result<(), Misuse> {
        self.nested_table(field, table, 1)
    }

    fn nested_table(&mut self, field: &'static str, table: &Table, depth: usize) -> Result<(), Misuse> {
        self.nested(field, depth, |writer| {
            table.iter().try_for_each(|(name, value)| {
                writer.short_string(field, name.as_bytes())?;
                writer.value(field, value, depth)
            })
        })
    }

    fn value(&mut self, field: &'static str, value: &Value, depth: usize) -> Result<(), Misuse> {
        match value {
            Value::Bool(value) => self.tagged(b't', &[u8::from(*value)]),
            Value::I8(value) => self.tagged(b'b', &value.to_be_bytes()),
            Value::U8(value) => self.tagged(b'B', &value.to_be_bytes()),
            Value::I16(value) => self.tagged(b's', &value.to_be_bytes()),
            Value::U16(value) => self.tagged(b'u', &value.to_be_bytes()),
            Value::I32(value) => self.tagged(b'I', &value.to_be_bytes()),
            Value::U32(value) => self.tagged(b'i', &value.to_be_bytes()),
            Value::I64(value) => self.tagged(b'l', &value.to_be_bytes()),
            // RabbitMQ drops the connection for a number that is none.
            Value::F32(value) if !value.is_finite() => return Err(Misuse::NotFinite { field }),
            Value::F64(value) if !value.is_finite() => return Err(Misuse::NotFinite { field }),
            Value::F32(value) => self.tagged(b'f', &value.to_be_bytes()),
            Value::F64(value) => self.tagged(b'd', &value.to_be_bytes()),
            Value::Decimal(value) => {
                self.tagged(b'D', &[value.scale]);
                self.long(value.mantissa);
            }
            Value::Timestamp(value) => self.tagged(b'T', &value.to_be_bytes()),
            Value::Void => self.octet(b'V'),
            Value::LongString(octets) => {
                self.octet(b'S');
                self.long_string(field, octets)?;
            }
            Value::ByteArray(octets) => {
                self.octet(b'x');
                self.long_string(field, octets)?;
            }
            Value::Table(table) => {
                self.octet(b'F');
                self.nested_table(field, table, depth.saturating_add(1))?;
            }
            Value::Array(values) => {
                self.octet(b'A');
                let depth = depth.saturating_add(1);
                self.nested(field, depth, |writer| {
                    values.iter().try_for_each(|value| writer.value(field, value, depth))
                })?;
            }
        }
        Ok(())
    }

    fn tagged(&mut self, letter: u8, octets: &[u8]) {
        self.octet(letter);
        self.octets(octets);
    }

    /// Writes the inside of a table or array behind its length.
    fn nested(
        &mut self,
        field: &'static str,
        depth: usize,
        contents: impl FnOnce(&mut Self) -> Result<(), Misuse>,
    ) -> Result<(), Misuse> {
        if depth > MAX_DEPTH {
            return Err(Misuse::TableTooDeep { field, limit: MAX_DEPTH });
        }
        match self.counted(contents)? {
            size if size > MAX_TABLE_SIZE => Err(Misuse::TableTooLarge { field, size, limit: MAX_TABLE_SIZE }),
            _ => Ok(()),
        }
    }
}

/// Most publishes fit this room: method and header with 64 octets of names.
const SMALL_ROOM: usize = 128;

/// Room in the output that is filled from its start.
pub(crate) struct Filler<'a>(&'a mut [u8]);

impl Filler<'_> {
    /// Writes the next piece.
    #[inline]
    pub(crate) fn put(&mut self, octets: &[u8]) {
        debug_assert!(octets.len() <= self.0.len(), "the room was measured for all pieces");
        if let Some((place, rest)) = core::mem::take(&mut self.0).split_at_mut_checked(octets.len()) {
            place.copy_from_slice(octets);
            self.0 = rest;
        }
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        self.out.truncate(self.start);
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use bytes::Bytes;

    use super::super::{Decimal, Reader};
    use super::*;

    fn encoded(table: &Table) -> Result<Bytes, Misuse> {
        let mut out = BytesMut::new();
        let mut writer = Writer::new(&mut out);
        writer.table("arguments", table)?;
        writer.commit();
        Ok(out.freeze())
    }

    #[test]
    fn every_value_type_survives_the_round_trip() {
        let table = Table::new()
            .with("t", true)
            .with("b", -1i8)
            .with("B", 255u8)
            .with("s", i16::MIN)
            .with("u", u16::MAX)
            .with("I", i32::MIN)
            .with("i", u32::MAX)
            .with("l", i64::MIN)
            .with("f", -0.0f32)
            .with("d", core::f64::consts::PI)
            .with("D", Decimal { scale: 255, mantissa: 123_456 })
            .with("S", Bytes::from_static(b"\xff\0"))
            .with("x", Value::ByteArray(Bytes::from_static(b"\x01\x02")))
            .with("A", vec![Value::Void, Value::from("nested"), Value::Array(vec![])])
            .with("T", Value::Timestamp(u64::MAX))
            .with("F", Table::new().with("", Value::Void))
            .with("V", Value::Void);
        let octets = encoded(&table).unwrap();
        let mut reader = Reader::new(&octets);
        assert_eq!(reader.table().unwrap(), table);
        assert_eq!(reader.finish(), Ok(()));
    }

    #[test]
    fn a_failed_write_leaves_nothing() {
        let mut out = BytesMut::from(&b"before"[..]);
        let mut writer = Writer::new(&mut out);
        writer.short(7);
        let error = writer.short_string("queue", &[b'q'; 256]).unwrap_err();
        drop(writer);
        assert_eq!(error, Misuse::ShortStringTooLong { field: "queue", length: 256, limit: 255 });
        assert_eq!(out, "before");
    }

    #[test]
    fn what_the_broker_would_punish_is_refused() {
        assert_eq!(encoded(&Table::new().with("n", f64::NAN)), Err(Misuse::NotFinite { field: "arguments" }));
        let deep = (0..MAX_DEPTH).fold(Table::new(), |inner, _| Table::new().with("t", inner));
        assert_eq!(encoded(&deep), Err(Misuse::TableTooDeep { field: "arguments", limit: MAX_DEPTH }));
        let large = Table::new().with("s", Bytes::from(vec![0; MAX_TABLE_SIZE]));
        assert!(matches!(encoded(&large), Err(Misuse::TableTooLarge { .. })));
    }

    #[test]
    fn bits_share_an_octet_from_the_lowest() {
        let mut out = BytesMut::new();
        let mut writer = Writer::new(&mut out);
        writer.bits(&[true, false, false, true]);
        writer.commit();
        assert_eq!(out.as_ref(), [0b1001]);
    }
}
