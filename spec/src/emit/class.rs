//! One file a class: a struct for each method, how it is made, and how it travels.

use super::{source::Source, wire::write_bits};
use crate::{
    model::{Class, Field, Kind, Method, Role, Sender, Setter, Usage, Wire},
    names::{camel, snake},
};

const MUST_USE: &str = "#[must_use = \"a request does nothing until it is sent\"]";

/// So many bits share an octet.
const BITS: usize = 8;

/// The file of a class.
pub(crate) fn class(class: &Class) -> String {
    let mut source = Source::new(&[&class.doc]);
    imports(&mut source, class);
    for method in &class.methods {
        source.blank();
        structure(&mut source, class, method);
        source.blank();
        constructors(&mut source, class, method);
        if hides_a_secret(method) {
            source.blank();
            debug(&mut source, method);
        }
        source.blank();
        codec(&mut source, class, method);
        traits(&mut source, method);
    }
    source.text()
}

fn imports(source: &mut Source, class: &Class) {
    let visible = || class.methods.iter().flat_map(Method::visible);
    let uses = |wire: Wire| visible().any(|field| field.wire.rust() == wire.rust());
    let usable = |usage| class.methods.iter().any(|method| method.usage == usage);
    if class.methods.iter().any(hides_a_secret) {
        source.line(0, "use core::fmt;");
        source.blank();
    }
    if uses(Wire::LongString) {
        source.line(0, "use bytes::Bytes;");
        source.blank();
    }
    let mut traits = vec!["Method", "MethodId"];
    traits.extend(class.methods.iter().any(builds_nowait).then_some("NoWait"));
    traits.extend(usable(Usage::OneWay).then_some("OneWay"));
    traits.extend(uses(Wire::ReplyCode).then_some("ReplyCode"));
    traits.extend(usable(Usage::Call).then_some("Request"));
    let mut wires = vec!["Malformed", "Misuse", "Reader"];
    wires.extend(uses(Wire::ShortString).then_some("ShortString"));
    wires.extend(uses(Wire::Table).then_some("Table"));
    wires.push("Writer");
    source.line(0, &format!("use super::{{{}}};", traits.join(", ")));
    source.line(0, &format!("use crate::wire::{{{}}};", wires.join(", ")));
}

fn structure(source: &mut Source, class: &Class, method: &Method) {
    source.doc(0, &[&method.doc, &course(class, method)]);
    let mut derives = vec!["Clone"];
    derives.extend((!hides_a_secret(method)).then_some("Debug"));
    derives.extend(derives_default(method).then_some("Default"));
    derives.push("PartialEq");
    derives.extend(method.visible().all(|field| field.wire.is_eq()).then_some("Eq"));
    source.line(0, &format!("#[derive({})]", derives.join(", ")));
    source.line(0, "#[non_exhaustive]");
    if method.usage != Usage::Internal {
        source.line(0, MUST_USE);
    }
    source.line(0, &format!("#[doc(alias = \"{}.{}\")]", class.name, method.name));
    for alias in &method.aliases {
        source.line(0, &format!("#[doc(alias = {alias:?})]"));
    }
    let name = camel(&method.name);
    if method.visible().next().is_none() {
        return source.line(0, &format!("pub struct {name} {{}}"));
    }
    source.line(0, &format!("pub struct {name} {{"));
    for field in method.visible() {
        let rust = snake(&field.name);
        if field.role == Role::NoWait {
            source.line(1, &format!("pub(crate) {rust}: bool,"));
            continue;
        }
        source.doc(1, &[&field.doc]);
        if rust != field.name.replace('-', "_") {
            source.line(1, &format!("#[doc(alias = {:?})]", field.name));
        }
        source.line(1, &format!("pub {rust}: {},", field.wire.rust()));
    }
    source.line(0, "}");
}

/// Who sends a method and what follows, as a sentence.
fn course(class: &Class, method: &Method) -> String {
    let list = |names: &mut dyn Iterator<Item = &String>| {
        names.map(|name| format!("[`{0}`]", camel(name))).collect::<Vec<_>>().join(" or ")
    };
    let sender = match method.sender {
        Sender::Client => "Sent by clients",
        Sender::Server => "Sent by the broker",
        Sender::Both => "Sent by either peer",
    };
    let follows = match &method.kind {
        Kind::Sync(replies) => format!("answered by {}", list(&mut replies.iter())),
        Kind::Async => "not answered".to_owned(),
        Kind::Reply => {
            let asks = |asked: &&Method| matches!(&asked.kind, Kind::Sync(replies) if replies.contains(&method.name));
            format!("the answer to {}", list(&mut class.methods.iter().filter(asks).map(|asked| &asked.name)))
        }
    };
    let content = if method.content { "; a message follows it" } else { "" };
    format!("{sender}, {follows}{content}.")
}

fn constructors(source: &mut Source, class: &Class, method: &Method) {
    if needs_default(method) {
        source.line(0, &format!("impl Default for {} {{", camel(&method.name)));
        source.line(1, "fn default() -> Self {");
        source.line(2, "Self::new()");
        source.line(1, "}");
        source.line(0, "}");
        source.blank();
    }
    source.line(0, &format!("impl {} {{", camel(&method.name)));
    let given = || method.visible().filter(|field| field.role == Role::New);
    let argument = |field: &Field| format!("{}: {}", snake(&field.name), field.wire.argument());
    source.doc(1, &[&new_doc(class, method)]);
    source.group(1, "pub fn new(", &given().map(argument).collect::<Vec<_>>(), ") -> Self {");
    let values: Vec<_> = method.visible().map(value).collect();
    source.group(2, "Self {", &values, "}");
    source.line(1, "}");
    for field in method.visible() {
        for setter in &field.setters {
            source.blank();
            set(source, field, setter);
        }
    }
    if method.has_nowait() {
        nowait(source, method);
    }
    source.line(0, "}");
}

/// A field in the struct expression of `new`.
fn value(field: &Field) -> String {
    let rust = snake(&field.name);
    let value = match field.role {
        Role::New => field.wire.converted(&rust),
        _ => field.wire.default(field.default_true).to_owned(),
    };
    if value == rust { rust } else { format!("{rust}: {value}") }
}

fn new_doc(class: &Class, method: &Method) -> String {
    let name = format!("`{}.{}`", class.name, method.name);
    let optional: Vec<_> = method.visible().filter(|field| field.role != Role::New).collect();
    let set: Vec<_> =
        optional.iter().filter(|field| field.default_true).map(|field| format!("`{}`", snake(&field.name))).collect();
    match (method.visible().next(), optional.len(), set.len()) {
        (None, _, _) => format!("{name}, which has no arguments."),
        (_, 0, _) => format!("{name} with all its arguments."),
        (_, _, 0) => format!("{name}; every option is off, zero or empty."),
        (_, all, on) if all == on => format!("{name}; {} is on.", set.join(" and ")),
        _ => format!("{name}; {} is on, every other option off, zero or empty.", set.join(" and ")),
    }
}

fn set(source: &mut Source, field: &Field, setter: &Setter) {
    let rust = snake(&field.name);
    source.doc(1, &[&setter.doc]);
    let (argument, value) = match (&setter.value, field.wire) {
        (Some(value), _) => (String::new(), value.clone()),
        (None, Wire::Bit) => (String::new(), (!field.default_true).to_string()),
        (None, wire) => (format!(", {rust}: {}", wire.argument()), wire.converted(&rust)),
    };
    source.line(1, &format!("pub fn {}(mut self{argument}) -> Self {{", setter.name));
    source.line(2, &format!("self.{rust} = {value};"));
    source.line(2, "self");
    source.line(1, "}");
}

fn nowait(source: &mut Source, method: &Method) {
    if builds_nowait(method) {
        source.blank();
        source.doc(1, &["Asks the broker not to answer. If it fails, a later operation reports it."]);
        source.line(1, "pub fn nowait(mut self) -> NoWait<Self> {");
        source.line(2, "self.nowait = true;");
        source.line(2, "NoWait(self)");
        source.line(1, "}");
    }
    source.blank();
    source.doc(1, &["Whether the sender wants no answer."]);
    source.line(1, "pub fn is_nowait(&self) -> bool {");
    source.line(2, "self.nowait");
    source.line(1, "}");
}

/// `Debug` for a method with secrets: they are left out.
fn debug(source: &mut Source, method: &Method) {
    let name = camel(&method.name);
    source.line(0, &format!("impl fmt::Debug for {name} {{"));
    source.line(1, "fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {");
    let shown: Vec<_> = method.visible().filter(|field| field.wire != Wire::Secret).collect();
    if shown.is_empty() {
        source.line(2, &format!("f.debug_struct({name:?}).finish_non_exhaustive()"));
    } else {
        source.line(2, &format!("let mut shown = f.debug_struct({name:?});"));
        for field in shown {
            source.line(2, &format!("shown.field({0:?}, &self.{0});", snake(&field.name)));
        }
        source.line(2, "shown.finish_non_exhaustive()");
    }
    source.line(1, "}");
    source.line(0, "}");
}

fn codec(source: &mut Source, class: &Class, method: &Method) {
    source.line(0, &format!("impl Method for {} {{", camel(&method.name)));
    source.line(1, &format!("const ID: MethodId = MethodId::new({}, {});", class.id, method.id));
    source.line(1, &format!("const NAME: &'static str = \"{}.{}\";", class.name, method.name));
    source.blank();
    let unused = if method.fields.is_empty() { ("_", "_") } else { ("writer", "reader") };
    source.line(1, &format!("fn encode(&self, {}: &mut Writer<'_>) -> Result<(), Misuse> {{", unused.0));
    for run in runs(&method.fields) {
        source.line(2, &write(run));
    }
    source.line(2, "Ok(())");
    source.line(1, "}");
    source.blank();
    source.line(1, &format!("fn decode({}: &mut Reader<'_>) -> Result<Self, Malformed> {{", unused.1));
    for run in runs(&method.fields) {
        read(source, run);
    }
    let names: Vec<_> = method.visible().map(|field| snake(&field.name)).collect();
    source.group(2, "Ok(Self {", &names, "})");
    source.line(1, "}");
    source.line(0, "}");
}

/// The fields, those together that share an octet.
fn runs(fields: &[Field]) -> impl Iterator<Item = &[Field]> {
    let neighbours = |left: &Field, right: &Field| left.wire == Wire::Bit && right.wire == Wire::Bit;
    fields.chunk_by(neighbours).flat_map(|run| run.chunks(BITS))
}

fn write(run: &[Field]) -> String {
    let value = |field: &Field| match field.role {
        Role::Reserved => "false".to_owned(),
        _ => format!("self.{}", snake(&field.name)),
    };
    match run {
        [field] if field.role == Role::Reserved => {
            format!("{} // {}, reserved", field.wire.write_nothing(&snake(&field.name)), field.name)
        }
        [field, ..] if field.wire == Wire::Bit => write_bits(&run.iter().map(value).collect::<Vec<_>>()),
        run => run.iter().map(|field| field.wire.write(&snake(&field.name), &value(field))).collect(),
    }
}

fn read(source: &mut Source, run: &[Field]) {
    let bits = run.first().is_some_and(|field| field.wire == Wire::Bit);
    match run {
        [field] if field.role == Role::Reserved => {
            source.line(2, &format!("{}?; // {}, reserved", field.wire.read(), field.name));
        }
        run if bits => {
            source.line(2, &format!("let bits = {}?;", Wire::Bit.read()));
            for (index, field) in run.iter().enumerate().filter(|(_, field)| field.role != Role::Reserved) {
                source.line(2, &format!("let {} = bits.bit({index});", snake(&field.name)));
            }
        }
        run => {
            for field in run {
                source.line(2, &format!("let {} = {}?;", snake(&field.name), field.wire.read()));
            }
        }
    }
}

fn traits(source: &mut Source, method: &Method) {
    let name = camel(&method.name);
    match (method.usage, &method.kind) {
        (Usage::OneWay, _) => {
            source.blank();
            source.line(0, &format!("impl OneWay for {name} {{}}"));
        }
        (Usage::Call, Kind::Sync(replies)) => {
            source.blank();
            source.line(0, &format!("impl Request for {name} {{"));
            for reply in replies {
                source.line(1, &format!("type Reply = {};", camel(reply)));
            }
            source.line(0, "}");
        }
        _ => {}
    }
}

fn hides_a_secret(method: &Method) -> bool {
    method.fields.iter().any(|field| field.wire == Wire::Secret)
}

fn builds_nowait(method: &Method) -> bool {
    method.usage == Usage::Call && method.has_nowait()
}

fn takes_nothing(method: &Method) -> bool {
    method.visible().all(|field| field.role != Role::New)
}

fn derives_default(method: &Method) -> bool {
    takes_nothing(method) && method.visible().all(|field| !field.default_true)
}

/// `Default` by hand, for a default that is not zero.
fn needs_default(method: &Method) -> bool {
    takes_nothing(method) && !derives_default(method)
}
