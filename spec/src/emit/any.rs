//! `AnyMethod`: every method in one enum, and the numbers that tell which.

use super::source::Source;
use crate::{
    model::{Class, Kind, Method, Sender},
    names::camel,
};

/// Turns a method into `AnyMethod` and back; what it is not is handed back.
const CONVERSIONS: &[&str] = &[
    "macro_rules! conversions {",
    "    ($($variant:ident($method:ty),)*) => {$(",
    "        impl From<$method> for AnyMethod {",
    "            fn from(method: $method) -> Self {",
    "                Self::$variant(method)",
    "            }",
    "        }",
    "",
    "        impl TryFrom<AnyMethod> for $method {",
    "            type Error = AnyMethod;",
    "",
    "            fn try_from(method: AnyMethod) -> Result<Self, AnyMethod> {",
    "                match method {",
    "                    AnyMethod::$variant(method) => Ok(method),",
    "                    other => Err(other),",
    "                }",
    "            }",
    "        }",
    "    )*};",
    "}",
];

/// The names that a method goes by.
struct Names {
    variant: String,
    path: String,
    wire: String,
    numbers: String,
}

fn names(class: &Class, method: &Method) -> Names {
    Names {
        variant: format!("{}{}", camel(&class.name), camel(&method.name)),
        path: format!("{}::{}", class.name, camel(&method.name)),
        wire: format!("{}.{}", class.name, method.name),
        numbers: format!("({}, {})", class.id, method.id),
    }
}

/// The file `any.rs`.
pub(crate) fn any(classes: &[Class]) -> String {
    let all: Vec<(Names, &Method)> =
        classes.iter().flat_map(|class| class.methods.iter().map(|method| (names(class, method), method))).collect();
    let mut source = Source::new(&["Any method: what a method frame holds once it is decoded."]);
    imports(&mut source, classes);
    enumeration(&mut source, &all);
    source.line(0, "impl AnyMethod {");
    identity(&mut source, &all);
    codec(&mut source, &all);
    facts(&mut source, &all);
    source.line(0, "}");
    name(&mut source, &all);
    conversions(&mut source, &all);
    source.text()
}

fn imports(source: &mut Source, classes: &[Class]) {
    let mut imported = vec!["Method", "MethodId"];
    let mut modules: Vec<_> = classes.iter().map(|class| class.name.as_str()).collect();
    modules.sort_unstable();
    imported.extend(modules);
    source.line(0, &format!("use super::{{{}}};", imported.join(", ")));
    source.line(0, "use crate::wire::{Malformed, Misuse, Reader, Writer};");
    source.blank();
}

fn enumeration(source: &mut Source, all: &[(Names, &Method)]) {
    source.doc(0, &["Any method of the protocol, with its arguments."]);
    source.line(0, "#[derive(Clone, Debug, PartialEq)]");
    source.line(0, "#[non_exhaustive]");
    source.line(
        0,
        "#[allow(clippy::large_enum_variant, reason = \"methods are short-lived, and boxing them costs more\")]",
    );
    source.line(0, "pub enum AnyMethod {");
    for (Names { variant, path, wire, .. }, _) in all {
        source.doc(1, &[&format!("`{wire}`.")]);
        source.line(1, &format!("{variant}({path}),"));
    }
    source.line(0, "}");
    source.blank();
}

fn identity(source: &mut Source, all: &[(Names, &Method)]) {
    source.doc(1, &["The numbers that name the method on the wire."]);
    source.line(1, "pub fn id(&self) -> MethodId {");
    source.line(2, "match self {");
    for (Names { variant, path, .. }, _) in all {
        source.line(3, &format!("Self::{variant}(_) => {path}::ID,"));
    }
    source.line(2, "}");
    source.line(1, "}");
    source.blank();
    source.doc(1, &["The method's name in the protocol, `queue.declare`."]);
    source.line(1, "pub fn name(&self) -> &'static str {");
    source.line(2, "match self {");
    for (Names { variant, path, .. }, _) in all {
        source.line(3, &format!("Self::{variant}(_) => {path}::NAME,"));
    }
    source.line(2, "}");
    source.line(1, "}");
    source.blank();
}

fn codec(source: &mut Source, all: &[(Names, &Method)]) {
    source.doc(1, &["Writes the arguments, without the numbers in front of them."]);
    source.line(1, "pub fn encode(&self, writer: &mut Writer<'_>) -> Result<(), Misuse> {");
    source.line(2, "match self {");
    for (Names { variant, .. }, _) in all {
        source.line(3, &format!("Self::{variant}(method) => method.encode(writer),"));
    }
    source.line(2, "}");
    source.line(1, "}");
    source.blank();
    source.doc(
        1,
        &["Reads the arguments of the method with these numbers; none if there is no such method. Whether \
         anything is left behind them is the caller's to check."],
    );
    source.line(1, "pub fn decode(id: MethodId, reader: &mut Reader<'_>) -> Option<Result<Self, Malformed>> {");
    source.line(2, "Some(match (id.class, id.method) {");
    for (Names { variant, path, numbers, .. }, _) in all {
        source.line(3, &format!("{numbers} => {path}::decode(reader).map(Self::{variant}),"));
    }
    source.line(3, "_ => return None,");
    source.line(2, "})");
    source.line(1, "}");
    source.blank();
}

/// What the tables say about the methods: who sends them, which are replies, which carry a message.
fn facts(source: &mut Source, all: &[(Names, &Method)]) {
    fact(source, all, "Whether servers send it.", "sent_by_server", |method| method.sender != Sender::Client);
    source.blank();
    fact(source, all, "Whether clients send it.", "sent_by_client", |method| method.sender != Sender::Server);
    source.blank();
    fact(source, all, "Whether it answers another method.", "is_reply", |method| method.kind == Kind::Reply);
    source.blank();
    fact(source, all, "Whether a content header and body follow it.", "has_content", |method| method.content);
}

/// A function that is true for the methods of which something holds.
fn fact(source: &mut Source, all: &[(Names, &Method)], doc: &str, name: &str, holds: fn(&Method) -> bool) {
    source.doc(1, &[doc]);
    source.line(1, &format!("pub fn {name}(&self) -> bool {{"));
    let patterns = |value: bool| -> Vec<_> {
        let of_value = all.iter().filter(|(_, method)| holds(method) == value);
        of_value.map(|(names, _)| format!("Self::{}(_)", names.variant)).collect()
    };
    let few = format!("matches!(self, {})", patterns(true).join(" | "));
    if source.fits(2, &few) {
        source.line(2, &few);
    } else {
        source.line(2, "match self {");
        source.arm(3, &patterns(true), "true");
        source.arm(3, &patterns(false), "false");
        source.line(2, "}");
    }
    source.line(1, "}");
}

fn name(source: &mut Source, all: &[(Names, &Method)]) {
    source.blank();
    source.doc(0, &["The name of the method with these numbers, if there is one."]);
    source.line(0, "pub(crate) fn method_name(class: u16, method: u16) -> Option<&'static str> {");
    source.line(1, "Some(match (class, method) {");
    for (Names { path, numbers, .. }, _) in all {
        source.line(2, &format!("{numbers} => {path}::NAME,"));
    }
    source.line(2, "_ => return None,");
    source.line(1, "})");
    source.line(0, "}");
    source.blank();
}

/// Two impls a method, from a list.
fn conversions(source: &mut Source, all: &[(Names, &Method)]) {
    source.lines(0, CONVERSIONS);
    source.blank();
    source.line(0, "conversions! {");
    for (Names { variant, path, .. }, _) in all {
        source.line(1, &format!("{variant}({path}),"));
    }
    source.line(0, "}");
}
