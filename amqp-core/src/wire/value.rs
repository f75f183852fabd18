//! Field values and tables, with every type that RabbitMQ knows.
//!
//! RabbitMQ reads some type letters differently from the specification's grammar (`s` is a signed 16-bit integer, `l`
//! a signed 64-bit one, `x` a byte array); this module follows RabbitMQ. The letters are in [`Value`]'s documentation.

use alloc::{string::String, vec::Vec};
use core::fmt;

use bytes::Bytes;

use super::ShortString;

/// How deep tables and arrays may be nested, both ways: a decoder that recurses as deep as a message says can be
/// made to overflow its stack by any publisher, because RabbitMQ forwards tens of thousands of levels unchanged.
pub const MAX_DEPTH: usize = 64;

/// The largest encoded table or array in octets. A table has to fit one frame, so this is far above what any broker
/// takes; it bounds the work when frames are configured without a limit.
pub const MAX_TABLE_SIZE: usize = 1024 * 1024;

/// One field value. The letter is the type octet that RabbitMQ uses for it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// `t`: a boolean; any octet but zero is true.
    Bool(bool),
    /// `b`: a signed octet.
    I8(i8),
    /// `B`: an unsigned octet.
    U8(u8),
    /// `s`: a signed 16-bit integer.
    I16(i16),
    /// `u`: an unsigned 16-bit integer.
    U16(u16),
    /// `I`: a signed 32-bit integer, the everyday integer.
    I32(i32),
    /// `i`: an unsigned 32-bit integer.
    U32(u32),
    /// `l`: a signed 64-bit integer. `L` is read as one too, and never sent.
    I64(i64),
    /// `f`: a 32-bit float. Not a number and the infinities are refused when sent: they cost the connection.
    F32(f32),
    /// `d`: a 64-bit float, as [`Value::F32`].
    F64(f64),
    /// `D`: a decimal number.
    Decimal(Decimal),
    /// `S`: a long string; octets first, text when asked ([`Value::as_str`]).
    LongString(Bytes),
    /// `x`: a byte array, an extension of RabbitMQ.
    ByteArray(Bytes),
    /// `A`: an array.
    Array(Vec<Value>),
    /// `T`: seconds since 1970-01-01 UTC.
    Timestamp(u64),
    /// `F`: a nested table.
    Table(Table),
    /// `V`: no value.
    Void,
}

/// A decimal number: `mantissa / 10^scale`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Decimal {
    /// How many digits stand behind the point.
    pub scale: u8,
    /// All digits. Unsigned, as RabbitMQ reads it.
    pub mantissa: u32,
}

impl Value {
    /// The boolean, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The integer, whatever its width and sign.
    pub fn as_i64(&self) -> Option<i64> {
        match *self {
            Self::I8(value) => Some(value.into()),
            Self::U8(value) => Some(value.into()),
            Self::I16(value) => Some(value.into()),
            Self::U16(value) => Some(value.into()),
            Self::I32(value) => Some(value.into()),
            Self::U32(value) => Some(value.into()),
            Self::I64(value) => Some(value),
            _ => None,
        }
    }

    /// The octets of a long string or byte array.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::LongString(octets) | Self::ByteArray(octets) => Some(octets),
            _ => None,
        }
    }

    /// The text of a long string, if it is UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::LongString(octets) => core::str::from_utf8(octets).ok(),
            _ => None,
        }
    }

    /// The nested table, if it is one.
    pub fn as_table(&self) -> Option<&Table> {
        match self {
            Self::Table(table) => Some(table),
            _ => None,
        }
    }

    /// The elements, if it is an array.
    pub fn as_array(&self) -> Option<&[Value]> {
        match self {
            Self::Array(values) => Some(values),
            _ => None,
        }
    }
}

macro_rules! value_from {
    ($($from:ty => $variant:ident),* $(,)?) => {$(
        impl From<$from> for Value {
            fn from(value: $from) -> Self {
                Self::$variant(value.into())
            }
        }
    )*};
}

value_from! {
    bool => Bool, i8 => I8, u8 => U8, i16 => I16, u16 => U16, i32 => I32, u32 => U32, i64 => I64, f32 => F32, f64 => F64,
    Decimal => Decimal, String => LongString, Bytes => LongString, Vec<Value> => Array, Table => Table,
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::LongString(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<&ShortString> for Value {
    fn from(text: &ShortString) -> Self {
        Self::LongString(Bytes::copy_from_slice(text.as_bytes()))
    }
}

/// A field table: names and values in the order they were added or received.
///
/// A received table may hold a name twice; [`Table::get`] gives the first, as RabbitMQ does.
///
/// ```
/// use amqp_core::wire::Table;
///
/// let arguments = Table::new().with("x-max-length", 1000).with("x-overflow", "reject-publish");
/// assert_eq!(arguments.get("x-max-length").and_then(|limit| limit.as_i64()), Some(1000));
/// ```
#[derive(Clone, Default, PartialEq)]
pub struct Table(Vec<(ShortString, Value)>);

impl Table {
    /// The empty table.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// This table with one entry more.
    #[must_use]
    pub fn with(mut self, name: impl Into<ShortString>, value: impl Into<Value>) -> Self {
        self.insert(name, value);
        self
    }

    /// Sets an entry: the first of that name is replaced, else it is added at the end.
    pub fn insert(&mut self, name: impl Into<ShortString>, value: impl Into<Value>) -> &mut Self {
        let (name, value) = (name.into(), value.into());
        match self.0.iter_mut().find(|(present, _)| *present == name) {
            Some((_, present)) => *present = value,
            None => self.0.push((name, value)),
        }
        self
    }

    /// Adds an entry at the end, even when the name is there already.
    pub(crate) fn push(&mut self, name: ShortString, value: Value) {
        self.0.push((name, value));
    }

    /// Takes the first entry of that name out.
    pub fn remove(&mut self, name: &str) -> Option<Value> {
        let at = self.0.iter().position(|(present, _)| present == name)?;
        Some(self.0.remove(at).1)
    }

    /// The first value of that name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(present, _)| present == name).map(|(_, value)| value)
    }

    /// All entries in order.
    pub fn iter(&self) -> impl Iterator<Item = (&ShortString, &Value)> {
        self.0.iter().map(|(name, value)| (name, value))
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True when there is no entry.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<N: Into<ShortString>, V: Into<Value>> FromIterator<(N, V)> for Table {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(entries: I) -> Self {
        entries.into_iter().fold(Self::new(), |table, (name, value)| table.with(name, value))
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_given_twice_is_replaced_in_place() {
        let table = Table::new().with("a", 1).with("b", 2).with("a", 3);
        assert_eq!(table.len(), 2);
        assert_eq!(table.iter().next(), Some((&ShortString::from("a"), &Value::I32(3))));
    }

    #[test]
    fn the_first_of_two_received_entries_is_found() {
        let mut table = Table::new();
        table.push("a".into(), Value::U8(1));
        table.push("a".into(), Value::U8(2));
        assert_eq!((table.len(), table.get("a")), (2, Some(&Value::U8(1))));
    }
}
