//! `ReplyCode`: a number with names for those that are known.

use super::source::Source;
use crate::{
    model::{Code, Severity},
    names::shouting,
};

/// What stands in front of the constants.
const TYPE: &[&str] = &[
    "/// Why something failed, as a number; \"404 NOT_FOUND\" when it is printed.",
    "///",
    "/// Brokers may send numbers that have no name here.",
    "#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]",
    "pub struct ReplyCode(pub u16);",
];

/// What follows the inherent impl.
const IMPLS: &[&str] = &[
    "impl fmt::Display for ReplyCode {",
    "    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {",
    "        match self.name() {",
    "            Some(name) => write!(f, \"{} {name}\", self.0),",
    "            None => write!(f, \"{}\", self.0),",
    "        }",
    "    }",
    "}",
    "",
    "impl From<u16> for ReplyCode {",
    "    fn from(code: u16) -> Self {",
    "        Self(code)",
    "    }",
    "}",
    "",
    "impl From<ReplyCode> for u16 {",
    "    fn from(code: ReplyCode) -> Self {",
    "        code.0",
    "    }",
    "}",
];

/// The file `codes.rs`.
pub(crate) fn codes(codes: &[Code]) -> String {
    let mut source = Source::new(&[
        "Reply codes: why a channel or a connection was closed, or a message returned.",
        "As a rule soft errors end a channel and hard ones the connection; which it was is told by what was closed, not \
         by the code.",
    ]);
    source.line(0, "use core::fmt;");
    source.blank();
    source.lines(0, TYPE);
    source.blank();
    source.line(0, "impl ReplyCode {");
    for code in codes {
        let ends = match code.severity {
            Severity::Soft => " A soft error.",
            Severity::Hard => " A hard error.",
            Severity::None => "",
        };
        source.doc(1, &[&format!("{}{ends}", code.doc)]);
        source.line(1, &format!("pub const {}: Self = Self({});", shouting(&code.name), code.value));
    }
    source.blank();
    source.doc(1, &["The code's name in the protocol, `NOT_FOUND`, if it has one."]);
    source.line(1, "pub const fn name(self) -> Option<&'static str> {");
    source.line(2, "Some(match self {");
    for code in codes {
        let name = shouting(&code.name);
        source.line(3, &format!("Self::{name} => {name:?},"));
    }
    source.line(3, "_ => return None,");
    source.line(2, "})");
    source.line(1, "}");
    source.line(0, "}");
    source.blank();
    source.lines(0, IMPLS);
    source.text()
}
