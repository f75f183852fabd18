//! `Properties`: one struct with an `Option` for each, a flag word and a list on the wire.

use super::source::Source;
use crate::{
    model::{Field, Setter, Wire},
    names::{shouting, snake},
};

/// The file `properties.rs`.
pub(crate) fn properties(fields: &[Field]) -> String {
    let mut source = Source::new(&[
        "The properties of a message: what travels in its content header, beside the size of the body.",
        "On the wire a word of flags says which are there; those follow in order.",
    ]);
    source.line(0, "use super::Headers;");
    source.line(0, "use crate::wire::{Malformed, Misuse, Reader, ShortString, Writer};");
    source.blank();
    for (index, field) in fields.iter().enumerate() {
        source.line(0, &format!("const {}: u16 = {:#06x};", shouting(&snake(&field.name)), 0x8000_u16 >> index));
    }
    source.line(0, "/// A second word of flags follows. AMQP 0-9-1 has no property that would be in it.");
    source.line(0, "const CONTINUED: u16 = 0x0001;");
    source.blank();
    structure(&mut source, fields);
    source.blank();
    source.line(0, "impl Properties {");
    source.doc(1, &["No properties."]);
    source.line(1, "#[must_use]");
    source.line(1, "pub fn new() -> Self {");
    source.line(2, "Self::default()");
    source.line(1, "}");
    for field in fields {
        for setter in &field.setters {
            source.blank();
            set(&mut source, field, setter);
        }
    }
    codec(&mut source, fields);
    source.line(0, "}");
    source.text()
}

fn structure(source: &mut Source, fields: &[Field]) {
    source.doc(0, &["What is said about a message besides its body; every property may be absent."]);
    source.line(0, "#[derive(Clone, Debug, Default, PartialEq)]");
    source.line(0, "#[non_exhaustive]");
    source.lines(0, &["#[doc(alias = \"basic.properties\")]", "#[doc(alias = \"BasicProperties\")]"]);
    source.line(0, "pub struct Properties {");
    for field in fields {
        let rust = snake(&field.name);
        source.doc(1, &[&field.doc]);
        if rust != field.name.replace('-', "_") {
            source.line(1, &format!("#[doc(alias = {:?})]", field.name));
        }
        source.line(1, &format!("pub {rust}: Option<{}>,", field.wire.rust()));
    }
    source.line(0, "}");
}

fn set(source: &mut Source, field: &Field, setter: &Setter) {
    let rust = snake(&field.name);
    let (argument, value) = match &setter.value {
        Some(value) => (String::new(), value.clone()),
        None => (format!(", {rust}: {}", field.wire.argument()), field.wire.converted(&rust)),
    };
    source.doc(1, &[&setter.doc]);
    source.line(1, "#[must_use]");
    source.line(1, &format!("pub fn {}(mut self{argument}) -> Self {{", setter.name));
    source.line(2, &format!("self.{rust} = Some({value});"));
    source.line(2, "self");
    source.line(1, "}");
}

fn codec(source: &mut Source, fields: &[Field]) {
    source.blank();
    source.doc(1, &["True if there is not a single property."]);
    source.line(1, "pub fn is_empty(&self) -> bool {");
    source.line(2, "self.flags() == 0");
    source.line(1, "}");
    source.blank();
    source.doc(1, &["Writes the flags and the properties that are there."]);
    source.line(1, "pub fn encode(&self, writer: &mut Writer<'_>) -> Result<(), Misuse> {");
    source.line(2, "writer.short(self.flags());");
    for field in fields {
        let rust = snake(&field.name);
        let borrow = if is_copy(field.wire) { "" } else { "&" };
        source.line(2, &format!("if let Some({rust}) = {borrow}self.{rust} {{"));
        source.line(3, &field.wire.write(&rust, &rust).replace("&table", "table"));
        source.line(2, "}");
    }
    source.line(2, "Ok(())");
    source.line(1, "}");
    source.blank();
    source.doc(
        1,
        &["Reads the flags and the properties that are there; the headers stay encoded. Whether anything is \
         left behind them is the caller's to check."],
    );
    source.line(1, "pub fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {");
    source.line(2, "let flags = reader.short()?;");
    source.line(2, "if flags & CONTINUED != 0 {");
    source.line(3, "return Err(Malformed::PropertyFlags);");
    source.line(2, "}");
    source.line(2, "let has = |flag| flags & flag != 0;");
    source.line(2, "Ok(Self {");
    for field in fields {
        let rust = snake(&field.name);
        let flag = shouting(&rust);
        source.line(3, &format!("{rust}: has({flag}).then(|| {}).transpose()?,", field.wire.read()));
    }
    source.line(2, "})");
    source.line(1, "}");
    flags(source, fields);
}

fn flags(source: &mut Source, fields: &[Field]) {
    source.blank();
    source.line(1, "fn flags(&self) -> u16 {");
    source.line(2, "let flag = |is_there, flag| if is_there { flag } else { 0 };");
    for (index, field) in fields.iter().enumerate() {
        let rust = snake(&field.name);
        let (level, bar) = if index == 0 { (2, "") } else { (3, "| ") };
        source.line(level, &format!("{bar}flag(self.{rust}.is_some(), {})", shouting(&rust)));
    }
    source.line(1, "}");
}

fn is_copy(wire: Wire) -> bool {
    matches!(wire, Wire::Octet | Wire::Timestamp)
}
