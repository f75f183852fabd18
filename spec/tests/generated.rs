//! The checked-in files are what the tables say. After a change of the tables: `cargo spec`.

use std::fs;

use amqp_spec::{Tables, generate, workspace};

#[test]
fn generated_files_are_fresh() {
    let root = workspace();
    let tables = Tables::load(&root.join("spec")).unwrap();
    for file in generate(&tables) {
        let present = fs::read_to_string(root.join(&file.path)).unwrap_or_default();
        if let Some((line, present, expected)) = first_difference(&present, &file.text) {
            panic!("{}:{line} is stale, run `cargo spec`\n present: {present}\nexpected: {expected}", file.path);
        }
    }
}

/// The number of the first line that differs, and what stands there on either side.
fn first_difference<'a>(present: &'a str, expected: &'a str) -> Option<(usize, &'a str, &'a str)> {
    const END: &str = "(end of file)";
    let (mut left, mut right) = (present.split('\n'), expected.split('\n'));
    for number in 1.. {
        match (left.next(), right.next()) {
            (None, None) => break,
            (left, right) if left == right => {}
            (left, right) => return Some((number, left.unwrap_or(END), right.unwrap_or(END))),
        }
    }
    None
}

#[test]
fn the_first_difference_is_found() {
    assert_eq!(first_difference("a\nb\n", "a\nb\n"), None);
    assert_eq!(first_difference("a\nb\n", "a\nc\n"), Some((2, "b", "c")));
    assert_eq!(first_difference("a\n", "a"), Some((2, "", "(end of file)")));
    assert_eq!(first_difference("", "a"), Some((1, "", "a")));
}
