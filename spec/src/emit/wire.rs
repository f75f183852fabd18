//! What each type of the tables is in Rust, and how it is written and read.

use crate::model::Wire;

impl Wire {
    /// The type of a struct's field.
    pub(crate) fn rust(self) -> &'static str {
        match self {
            Self::Octet => "u8",
            Self::Short => "u16",
            Self::Long => "u32",
            Self::LongLong | Self::Timestamp => "u64",
            Self::Bit => "bool",
            Self::ShortString => "ShortString",
            Self::LongString | Self::Secret => "Bytes",
            Self::Table => "Table",
            Self::ReplyCode => "ReplyCode",
            Self::Headers => "Headers",
        }
    }

    /// Whether arguments are anything that converts into the type.
    fn is_converted(self) -> bool {
        matches!(self, Self::ShortString | Self::LongString | Self::Secret | Self::Headers)
    }

    /// The type of an argument that sets a field.
    pub(crate) fn argument(self) -> String {
        if self.is_converted() { format!("impl Into<{}>", self.rust()) } else { self.rust().to_owned() }
    }

    /// How an argument becomes the value of the field.
    pub(crate) fn converted(self, argument: &str) -> String {
        if self.is_converted() { format!("{argument}.into()") } else { argument.to_owned() }
    }

    /// The value of a field that nobody set.
    pub(crate) fn default(self, default_true: bool) -> &'static str {
        match self {
            Self::Octet | Self::Short | Self::Long | Self::LongLong | Self::Timestamp => "0",
            Self::Bit if default_true => "true",
            Self::Bit => "false",
            Self::ShortString => "ShortString::new()",
            Self::LongString | Self::Secret => "Bytes::new()",
            Self::Table => "Table::new()",
            Self::ReplyCode => "ReplyCode::REPLY_SUCCESS",
            Self::Headers => "Table::new().into()",
        }
    }

    /// The statement that writes a field. Bits are not written one by one: see [`write_bits`].
    pub(crate) fn write(self, field: &str, value: &str) -> String {
        match self {
            Self::Octet => format!("writer.octet({value});"),
            Self::Short => format!("writer.short({value});"),
            Self::Long => format!("writer.long({value});"),
            Self::LongLong | Self::Timestamp => format!("writer.long_long({value});"),
            Self::Bit => write_bits(&[value.to_owned()]),
            Self::ShortString => format!("writer.short_string({field:?}, {value}.as_bytes())?;"),
            Self::LongString | Self::Secret => format!("writer.long_string({field:?}, &{value})?;"),
            Self::Table => format!("writer.table({field:?}, &{value})?;"),
            Self::ReplyCode => format!("writer.short({value}.0);"),
            Self::Headers => format!("{value}.encode(writer)?;"),
        }
    }

    /// The statement that writes a reserved field.
    pub(crate) fn write_nothing(self, field: &str) -> String {
        match self {
            Self::ShortString => format!("writer.short_string({field:?}, b\"\")?;"),
            Self::LongString | Self::Secret => format!("writer.long_string({field:?}, b\"\")?;"),
            Self::ReplyCode => self.write(field, "ReplyCode(0)"),
            Self::Headers => "writer.long(0);".to_owned(),
            _ => self.write(field, self.default(false)),
        }
    }

    /// The expression that reads a field, without the `?`.
    pub(crate) fn read(self) -> &'static str {
        match self {
            Self::Octet => "reader.octet()",
            Self::Short => "reader.short()",
            Self::Long => "reader.long()",
            Self::LongLong | Self::Timestamp => "reader.long_long()",
            Self::Bit => "reader.bits()",
            Self::ShortString => "reader.short_string()",
            Self::LongString | Self::Secret => "reader.long_string()",
            Self::Table => "reader.table()",
            Self::ReplyCode => "reader.short().map(ReplyCode)",
            Self::Headers => "Headers::decode(reader)",
        }
    }

    /// Whether the Rust type is `Eq`: tables hold floating-point numbers.
    pub(crate) fn is_eq(self) -> bool {
        !matches!(self, Self::Table | Self::Headers)
    }
}

/// The statement that writes bits that share an octet.
pub(crate) fn write_bits(values: &[String]) -> String {
    format!("writer.bits(&[{}]);", values.join(", "))
}
