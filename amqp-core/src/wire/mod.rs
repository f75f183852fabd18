//! The primitives that every method and property is made of: short strings, field values, tables, and how they are
//! read and written.
//!
//! The rule of this module: what is read is checked against what is left of the *frame*, never against what the
//! peer announces; what is written is checked before anything is sent.

mod error;
mod read;
mod short;
mod value;
mod write;

pub use self::{
    error::{Malformed, Misuse},
    read::{Bits, Reader},
    short::{MAX_SHORT_STRING, ShortStr, ShortString},
    value::{Decimal, MAX_DEPTH, MAX_TABLE_SIZE, Table, Value},
    write::Writer,
};
