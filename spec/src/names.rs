//! From the protocol's names, `recover-async`, to Rust's.

/// `recover-async` as a type: `RecoverAsync`.
pub(crate) fn camel(name: &str) -> String {
    name.split('-').map(capitalized).collect()
}

/// `delivery-tag` as a field: `delivery_tag`. `type` is a keyword and becomes `kind`.
pub(crate) fn snake(name: &str) -> String {
    match name {
        "type" => "kind".to_owned(),
        _ => name.replace('-', "_"),
    }
}

/// `not-found` as a constant: `NOT_FOUND`.
pub(crate) fn shouting(name: &str) -> String {
    name.replace('-', "_").to_uppercase()
}

fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_rust() {
        assert_eq!(camel("recover-async"), "RecoverAsync");
        assert_eq!(snake("delivery-tag"), "delivery_tag");
        assert_eq!(snake("type"), "kind");
        assert_eq!(shouting("not-found"), "NOT_FOUND");
    }
}
