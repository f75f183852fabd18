//! The `headers` property: a table that is decoded only when somebody asks for it.
//!
//! A third party wrote it. If it is malformed or nested too deep, that is an error of whoever looks into it, never of
//! the connection, and the octets stay available.

use bytes::Bytes;

use crate::wire::{Malformed, Misuse, Reader, Table, Writer};

/// The application headers of a message.
///
/// Received headers that are sent on go out octet for octet as they came.
#[derive(Clone, Debug, PartialEq)]
pub struct Headers(Form);

#[derive(Clone, Debug, PartialEq)]
enum Form {
    Table(Table),
    /// The table's octets, its length in front.
    Encoded(Bytes),
}

impl Headers {
    /// The table, decoded if need be.
    pub fn table(&self) -> Result<Table, Malformed> {
        match &self.0 {
            Form::Table(table) => Ok(table.clone()),
            Form::Encoded(octets) => Reader::new(octets).table(),
        }
    }

    pub(crate) fn encode(&self, writer: &mut Writer<'_>) -> Result<(), Misuse> {
        match &self.0 {
            Form::Table(table) => writer.table("headers", table),
            Form::Encoded(octets) => {
                writer.octets(octets);
                Ok(())
            }
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        reader.encoded_table().map(|octets| Self(Form::Encoded(octets)))
    }
}

impl From<Table> for Headers {
    fn from(table: Table) -> Self {
        Self(Form::Table(table))
    }
}
