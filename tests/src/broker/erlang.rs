//! Terms as RabbitMQ prints them into its reply texts: it is written in Erlang, and shows.

use amqp_core::wire::Value;

/// Octets as Erlang prints a binary: `<<"text">>` if all of it is printable, else `<<1,2,3>>`.
///
/// Reply texts are cut at 255 octets, so no more is printed than can be seen.
pub(super) fn binary(octets: &[u8]) -> String {
    const SEEN: usize = 256;
    let seen = octets.get(..SEEN).unwrap_or(octets);
    if !seen.is_empty() && seen.iter().all(|&octet| is_printable(octet)) {
        let text: String = seen.iter().map(|&octet| char::from(octet)).collect();
        return format!("<<\"{text}\">>");
    }
    let numbers: Vec<String> = seen.iter().map(u8::to_string).collect();
    format!("<<{}>>", numbers.join(","))
}

fn is_printable(octet: u8) -> bool {
    matches!(octet, 0x08..=0x0d | 0x1b | 0x20..=0x7e | 0xa0..=0xff)
}

/// The name that RabbitMQ has for the type of a field value.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Bool(_) => "bool",
        Value::I8(_) => "byte",
        Value::U8(_) => "unsignedbyte",
        Value::I16(_) => "short",
        Value::U16(_) => "unsignedshort",
        Value::I32(_) => "signedint",
        Value::U32(_) => "unsignedint",
        Value::I64(_) => "long",
        Value::F32(_) => "float",
        Value::F64(_) => "double",
        Value::Decimal(_) => "decimal",
        Value::LongString(_) => "longstr",
        Value::ByteArray(_) => "binary",
        Value::Array(_) => "array",
        Value::Timestamp(_) => "timestamp",
        Value::Table(_) => "table",
        Value::Void => "void",
        _ => "unknown",
    }
}

/// A field value as RabbitMQ prints it between quotes.
pub(super) fn value(value: &Value) -> String {
    match value {
        Value::Bool(value) => value.to_string(),
        Value::F32(value) => value.to_string(),
        Value::F64(value) => value.to_string(),
        Value::LongString(octets) | Value::ByteArray(octets) => String::from_utf8_lossy(octets).into_owned(),
        Value::Timestamp(seconds) => seconds.to_string(),
        Value::Void => "undefined".to_owned(),
        other => other.as_i64().map_or_else(|| format!("{other:?}"), |integer| integer.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binaries_are_text_when_all_of_them_is_printable() {
        assert_eq!(binary(b"x y"), "<<\"x y\">>");
        assert_eq!(binary(b"x\0"), "<<120,0>>");
        assert_eq!(binary(b""), "<<>>");
    }

    #[test]
    fn integers_print_alike_whatever_their_width() {
        assert_eq!(value(&Value::I32(-5)), "-5");
        assert_eq!(value(&Value::U16(5)), "5");
        assert_eq!(value(&Value::Bool(true)), "true");
    }
}
