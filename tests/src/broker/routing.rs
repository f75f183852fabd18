//! Which bindings a message follows: topic patterns, and headers.

use amqp_core::wire::{ShortString, Table, Value};

use super::{erlang, fault::Fault};

/// Whether a topic pattern matches a routing key. Both are words between dots; in the pattern `*` stands for one word
/// and `#` for any number of them.
pub(super) fn topic_matches(pattern: &ShortString, key: &ShortString) -> bool {
    let pattern = words(pattern.as_bytes());
    let key = words(key.as_bytes());
    // matched[n]: the pattern so far matches the first n words of the key.
    let mut matched = vec![false; key.len() + 1];
    matched[0] = true;
    for word in pattern {
        let mut next = vec![false; key.len() + 1];
        for at in 0..=key.len() {
            next[at] = match word {
                b"#" => matched[at] || (at > 0 && next[at - 1]),
                b"*" => at > 0 && matched[at - 1],
                word => at > 0 && matched[at - 1] && key[at - 1] == word,
            };
        }
        matched = next;
    }
    matched[key.len()]
}

/// The empty key has no words; two dots side by side have an empty word between them.
fn words(text: &[u8]) -> Vec<&[u8]> {
    if text.is_empty() { Vec::new() } else { text.split(|&octet| octet == b'.').collect() }
}

/// How the arguments of a binding to a headers exchange are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HeadersMatch {
    All,
    Any,
    AllWithX,
    AnyWithX,
}

impl HeadersMatch {
    fn parse(arguments: &Table) -> Result<Self, Fault> {
        match arguments.get("x-match") {
            None => Ok(Self::All),
            Some(Value::LongString(word)) => match &word[..] {
                b"all" => Ok(Self::All),
                b"any" => Ok(Self::Any),
                b"all-with-x" => Ok(Self::AllWithX),
                b"any-with-x" => Ok(Self::AnyWithX),
                word => Err(Fault::precondition(format_args!(
                    "Invalid x-match field value {}; expected all, any, all-with-x, or any-with-x",
                    erlang::binary(word)
                ))),
            },
            Some(other) => Err(Fault::precondition(format_args!(
                "Invalid x-match field type {} (value {}); expected longstr",
                erlang::type_name(other),
                erlang::value(other)
            ))),
        }
    }

    fn counts(self, name: &ShortString) -> bool {
        match self {
            Self::All | Self::Any => !name.as_bytes().starts_with(b"x-"),
            Self::AllWithX | Self::AnyWithX => name != "x-match",
        }
    }
}

/// Checks the arguments of a binding to a headers exchange.
pub(super) fn check_headers_binding(arguments: &Table) -> Result<(), Fault> {
    HeadersMatch::parse(arguments).map(|_| ())
}

/// Whether a message with these headers follows a binding with these arguments.
pub(super) fn headers_match(arguments: &Table, headers: Option<&Table>) -> bool {
    let Ok(how) = HeadersMatch::parse(arguments) else { return false };
    let mut counted = arguments.iter().filter(|(name, _)| how.counts(name));
    let present = |(name, wanted): (&ShortString, &Value)| {
        let value = headers.and_then(|headers| headers.iter().find(|(present, _)| *present == name));
        value.is_some_and(|(_, value)| *wanted == Value::Void || same_value(wanted, value))
    };
    match how {
        HeadersMatch::All | HeadersMatch::AllWithX => counted.all(present),
        HeadersMatch::Any | HeadersMatch::AnyWithX => counted.any(present),
    }
}

/// Numbers are compared by value, whatever their type: 1 equals 1.0.
fn same_value(one: &Value, other: &Value) -> bool {
    let number = |value: &Value| match *value {
        Value::F32(number) => Some(f64::from(number)),
        Value::F64(number) => Some(number),
        // Beyond 2^53 this rounds, and so does Erlang when it compares an integer with a float.
        #[allow(clippy::cast_precision_loss, reason = "the comparison is meant to be between floats")]
        ref value => value.as_i64().map(|integer| integer as f64),
    };
    match (one.as_i64(), other.as_i64()) {
        (Some(one), Some(other)) => one == other,
        _ => one == other || (number(one).is_some() && number(one) == number(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Measured on RabbitMQ 3.10.8: each key, and the patterns that it matched.
    const MEASURED: [(&str, &[&str]); 8] = [
        ("", &["#", "#.#", ""]),
        ("a", &["#", "*", "a.#", "#.#", "*.#", "#.*"]),
        ("a.b", &["#", "a.#", "#.b", "*.*", "#.#", "*.#", "a.b", "a.#.b", "#.*"]),
        ("a..b", &["#", "a.#", "#.b", "a.*.b", "#.#", "*.#", "a.#.b", "#.*"]),
        (".", &["#", "*.*", "#.#", "*.#", "#.*", "."]),
        ("a.", &["#", "a.#", "*.*", "#.#", "*.#", "#.*", "a."]),
        (".a", &["#", "*.*", "#.#", "*.#", "#.*"]),
        ("a.b.c", &["#", "a.#", "#.#", "*.#", "#.*"]),
    ];
    const PATTERNS: [&str; 14] =
        ["#", "*", "a.#", "#.b", "*.*", "a.*.b", "#.#", "*.#", "", "a.b", "a.#.b", "#.*", ".", "a."];

    #[test]
    fn topic_patterns_match_as_measured() {
        for (key, expected) in MEASURED {
            let matching: Vec<&str> =
                PATTERNS.into_iter().filter(|pattern| topic_matches(&(*pattern).into(), &key.into())).collect();
            assert_eq!(matching, expected, "for the key {key:?}");
        }
    }

    #[test]
    fn many_hashes_take_no_time() {
        let pattern = "#.".repeat(127);
        let key = "a.".repeat(127);
        assert!(!topic_matches(&pattern.into(), &format!("{key}b").into()));
    }

    #[test]
    fn headers_match_as_measured() {
        let all = Table::new().with("x-match", "all").with("a", 1).with("b", "s");
        let any = Table::new().with("x-match", "any").with("a", 1).with("b", "s");
        let all_with_x = Table::new().with("x-match", "all-with-x").with("a", 1).with("x-foo", "y");
        let any_with_x = Table::new().with("x-match", "any-with-x").with("x-foo", "y");
        let void = Table::new().with("x-match", "all").with("a", Value::Void);
        let none = Table::new().with("x-match", "any");
        let plain = Table::new().with("a", 1);
        let ignored = Table::new().with("x-match", "all").with("a", 1).with("x-bar", 3);
        let bindings = [&all, &any, &all_with_x, &any_with_x, &void, &none, &plain, &ignored];
        let matching = |headers: Table| bindings.map(|arguments| u8::from(headers_match(arguments, Some(&headers))));
        assert_eq!(matching(Table::new()), [0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(matching(Table::new().with("a", 1)), [0, 1, 0, 0, 1, 0, 1, 1]);
        assert_eq!(matching(Table::new().with("a", 1).with("b", "s")), [1, 1, 0, 0, 1, 0, 1, 1]);
        assert_eq!(matching(Table::new().with("a", 2).with("b", "s")), [0, 1, 0, 0, 1, 0, 0, 0]);
        assert_eq!(matching(Table::new().with("x-foo", "y")), [0, 0, 0, 1, 0, 0, 0, 0]);
        assert_eq!(matching(Table::new().with("a", 1).with("x-foo", "y")), [0, 1, 1, 1, 1, 0, 1, 1]);
        assert_eq!(matching(Table::new().with("a", "1")), [0, 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!(matching(Table::new().with("a", 1.0)), [0, 1, 0, 0, 1, 0, 1, 1]);
        assert_eq!(matching(Table::new().with("a", Value::Void)), [0, 0, 0, 0, 1, 0, 0, 0]);
    }

    #[test]
    fn a_binding_without_arguments_takes_everything() {
        assert!(headers_match(&Table::new(), None));
        assert!(headers_match(&Table::new(), Some(&Table::new().with("a", 1))));
    }
}
