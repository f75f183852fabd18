//! Reading: the arguments of a method or the properties of a message, out of one frame's payload.
//!
//! Every length is checked against what is left, never added to an offset; kept fields are slices of the frame and
//! copy nothing. The primitives are nom's.

use alloc::vec::Vec;

use bytes::Bytes;
use nom::{
    Parser,
    bytes::complete::take,
    multi::length_data,
    number::complete::{be_f32, be_f64, be_i8, be_i16, be_i32, be_i64, be_u8, be_u16, be_u32, be_u64},
};

use super::{Decimal, MAX_DEPTH, MAX_TABLE_SIZE, Malformed, ShortStr, ShortString, Table, Value};

/// A position in one frame's payload.
#[derive(Debug)]
pub struct Reader<'a> {
    source: &'a Bytes,
    rest: &'a [u8],
    depth: usize,
}

/// The octet that up to eight bit arguments share, the first in the lowest bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bits(u8);

impl Bits {
    /// Whether the bit at `index` (0 to 7) is set. Bits that no argument uses are ignored.
    pub fn bit(self, index: u32) -> bool {
        self.0.checked_shr(index).is_some_and(|shifted| shifted & 1 == 1)
    }
}

impl<'a> Reader<'a> {
    /// Starts at the first octet of `source`.
    pub fn new(source: &'a Bytes) -> Self {
        Self { source, rest: source, depth: 0 }
    }

    /// Reads one octet.
    pub fn octet(&mut self) -> Result<u8, Malformed> {
        self.parse(be_u8)
    }

    /// Reads a 16-bit integer.
    pub fn short(&mut self) -> Result<u16, Malformed> {
        self.parse(be_u16)
    }

    /// Reads a 32-bit integer.
    pub fn long(&mut self) -> Result<u32, Malformed> {
        self.parse(be_u32)
    }

    /// Reads a 64-bit integer.
    pub fn long_long(&mut self) -> Result<u64, Malformed> {
        self.parse(be_u64)
    }

    /// Reads an octet of bit arguments.
    pub fn bits(&mut self) -> Result<Bits, Malformed> {
        self.octet().map(Bits)
    }

    /// Reads a short string as a slice of the frame.
    pub fn short_string(&mut self) -> Result<ShortString, Malformed> {
        let octets = self.parse(length_data(be_u8))?;
        Ok(self.keep(octets).into())
    }

    /// Reads a short string without keeping the frame alive.
    pub fn short_str(&mut self) -> Result<ShortStr<'a>, Malformed> {
        self.parse(length_data(be_u8)).map(ShortStr::new)
    }

    /// Reads a long string as a slice of the frame.
    pub fn long_string(&mut self) -> Result<Bytes, Malformed> {
        let octets = self.parse(length_data(be_u32))?;
        Ok(self.keep(octets))
    }

    /// Reads a table.
    pub fn table(&mut self) -> Result<Table, Malformed> {
        let mut entries = self.nested()?;
        let mut table = Table::new();
        while !entries.rest.is_empty() {
            let name = entries.short_string()?;
            table.push(name, entries.value()?);
        }
        Ok(table)
    }

    /// Reads a table's octets, its length in front included, without looking into them.
    pub(crate) fn encoded_table(&mut self) -> Result<Bytes, Malformed> {
        let start = self.rest;
        let entries = self.parse(length_data(be_u32))?;
        let encoded = start.get(..entries.len().saturating_add(4)).ok_or(Malformed::Truncated)?;
        Ok(self.keep(encoded))
    }

    /// How many octets are left.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Everything that is left, as a slice of the frame.
    pub fn take_rest(&mut self) -> Bytes {
        let rest = self.keep(self.rest);
        self.rest = &[];
        rest
    }

    /// Ends reading: octets that nobody read are an error.
    pub fn finish(self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed::TrailingOctets) }
    }

    fn value(&mut self) -> Result<Value, Malformed> {
        Ok(match self.octet()? {
            b't' => Value::Bool(self.octet()? != 0),
            b'b' => Value::I8(self.parse(be_i8)?),
            b'B' => Value::U8(self.octet()?),
            b's' => Value::I16(self.parse(be_i16)?),
            b'u' => Value::U16(self.short()?),
            b'I' => Value::I32(self.parse(be_i32)?),
            b'i' => Value::U32(self.long()?),
            // RabbitMQ 3.10 forwards `L` from publishers as it is, later versions rewrite it to `l`.
            b'l' | b'L' => Value::I64(self.parse(be_i64)?),
            b'f' => Value::F32(self.parse(be_f32)?),
            b'd' => Value::F64(self.parse(be_f64)?),
            b'D' => Value::Decimal(Decimal { scale: self.octet()?, mantissa: self.long()? }),
            b'S' => Value::LongString(self.long_string()?),
            b'x' => Value::ByteArray(self.long_string()?),
            b'A' => Value::Array(self.array()?),
            b'T' => Value::Timestamp(self.long_long()?),
            b'F' => Value::Table(self.table()?),
            b'V' => Value::Void,
            letter => return Err(Malformed::UnknownFieldType(letter)),
        })
    }

    fn array(&mut self) -> Result<Vec<Value>, Malformed> {
        let mut elements = self.nested()?;
        let mut values = Vec::new();
        while !elements.rest.is_empty() {
            values.push(elements.value()?);
        }
        Ok(values)
    }

    /// The inside of the table or array that starts here, one level deeper.
    fn nested(&mut self) -> Result<Reader<'a>, Malformed> {
        let depth = self.depth.saturating_add(1);
        if depth > MAX_DEPTH {
            return Err(Malformed::TooDeep);
        }
        let length = self.long()? as usize;
        if length > MAX_TABLE_SIZE {
            return Err(Malformed::TableTooLarge);
        }
        let rest = self.parse(take(length))?;
        Ok(Reader { source: self.source, rest, depth })
    }

    fn parse<O>(&mut self, mut parser: impl Parser<&'a [u8], Output = O, Error = ()>) -> Result<O, Malformed> {
        let (rest, output) = parser.parse(self.rest).map_err(|_| Malformed::Truncated)?;
        self.rest = rest;
        Ok(output)
    }

    fn keep(&self, octets: &[u8]) -> Bytes {
        if octets.is_empty() { Bytes::new() } else { self.source.slice_ref(octets) }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use bytes::{BufMut, BytesMut};

    use super::*;

    fn nested_arrays(levels: usize) -> Bytes {
        let mut value = vec![b'V'];
        for _ in 0..levels {
            let mut outer = vec![b'A'];
            outer.put_u32(value.len() as u32);
            outer.extend_from_slice(&value);
            value = outer;
        }
        let mut table = BytesMut::new();
        table.put_u32(value.len() as u32 + 1);
        table.put_u8(0);
        table.extend_from_slice(&value);
        table.freeze()
    }

    #[test]
    fn nesting_stops_at_its_limit() {
        assert!(Reader::new(&nested_arrays(MAX_DEPTH - 1)).table().is_ok());
        assert_eq!(Reader::new(&nested_arrays(MAX_DEPTH)).table(), Err(Malformed::TooDeep));
        assert_eq!(Reader::new(&nested_arrays(26_000)).table(), Err(Malformed::TooDeep));
    }

    #[test]
    fn an_inner_length_beyond_its_table_is_malformed() {
        let table = Bytes::from_static(b"\0\0\0\x07\x01kS\0\0\0\x01z");
        assert_eq!(Reader::new(&table).table(), Err(Malformed::Truncated));
    }

    #[test]
    fn a_claimed_length_is_not_allocated() {
        assert_eq!(Reader::new(&Bytes::from_static(b"\xff\xff\xff\xff")).long_string(), Err(Malformed::Truncated));
        assert_eq!(Reader::new(&Bytes::from_static(b"\xff\xff\xff\xff")).table(), Err(Malformed::TableTooLarge));
    }

    #[test]
    fn an_unknown_letter_is_named() {
        let table = Bytes::from_static(b"\0\0\0\x03\x01kZ");
        assert_eq!(Reader::new(&table).table(), Err(Malformed::UnknownFieldType(b'Z')));
    }

    #[test]
    fn unused_bits_are_ignored() {
        let bits = Bits(0b1000_0010);
        assert!(!bits.bit(0) && bits.bit(1) && bits.bit(7) && !bits.bit(8));
    }
}
