//! Reading and checking the tables. What passes here can be generated: the emitters check nothing.

use std::{collections::HashSet, fs, path::Path};

use crate::{
    model::{Class, Code, Field, Kind, Method, Role, Sender, Setter, Severity, Tables, Usage, Wire},
    tsv::{Row, TableError, rows},
};

const METHODS: &str = "methods.tsv";
const FIELDS: &str = "fields.tsv";
const CONSTANTS: &str = "constants.tsv";

const METHOD_COLUMNS: &[&str] =
    &["class", "class id", "method", "method id", "sender", "kind", "replies", "content", "use", "aliases", "doc"];
const FIELD_COLUMNS: &[&str] = &["class", "method", "field", "type", "role", "default", "setter", "doc", "setter doc"];
const CONSTANT_COLUMNS: &[&str] = &["name", "value", "class", "doc"];

const TYPES: &[(&str, Wire)] = &[
    ("octet", Wire::Octet),
    ("short", Wire::Short),
    ("long", Wire::Long),
    ("longlong", Wire::LongLong),
    ("bit", Wire::Bit),
    ("shortstr", Wire::ShortString),
    ("longstr", Wire::LongString),
    ("table", Wire::Table),
    ("timestamp", Wire::Timestamp),
    ("secret", Wire::Secret),
    ("reply-code", Wire::ReplyCode),
    ("headers", Wire::Headers),
];

/// Names that a setter cannot have: every method has them.
const TAKEN: &[&str] = &["new", "nowait", "is_nowait", "is_empty", "encode", "decode", "clone", "into"];

/// The flag word of the properties has 16 bits; the lowest announces a second word, the next is unused.
const MOST_PROPERTIES: usize = 14;

impl Tables {
    /// Reads the three tables from a directory.
    pub fn load(directory: &Path) -> Result<Self, TableError> {
        let read = |file| {
            let problem = |error| TableError { file, line: 0, problem: format!("cannot read it: {error}") };
            fs::read_to_string(directory.join(file)).map_err(problem)
        };
        Self::parse(&read(METHODS)?, &read(FIELDS)?, &read(CONSTANTS)?)
    }

    /// Reads and checks the texts of the three tables.
    pub fn parse(methods: &str, fields: &str, constants: &str) -> Result<Self, TableError> {
        let mut tables = Self { classes: parse_methods(methods)?, properties: Vec::new(), codes: Vec::new() };
        for row in rows(FIELDS, fields, FIELD_COLUMNS)? {
            tables.add_field(row)?;
        }
        tables.codes = parse_codes(constants)?;
        tables.check_replies()?;
        Ok(tables)
    }

    fn add_field(&mut self, mut row: Row<'_>) -> Result<(), TableError> {
        let (class, method) = (row.name()?, row.name()?);
        let of_class = self.classes.iter_mut().find(|known| known.name == class);
        let methods = &mut of_class.ok_or_else(|| row.error(format!("there is no class {class:?}")))?.methods;
        let known = methods.iter_mut().find(|known| known.name == method);
        let is_message = class == "basic" && method == "properties";
        let (fields, usage) = match known {
            Some(method) => (&mut method.fields, Some(method.usage)),
            None if is_message => (&mut self.properties, None),
            None => return Err(row.error(format!("there is no method {class}.{method}"))),
        };
        parse_field(&mut row, fields)?;
        let nowait = fields.iter().filter(|field| field.role == Role::NoWait).count();
        match usage {
            None if fields.len() > MOST_PROPERTIES => Err(row.error("there is no flag left for this property")),
            None if fields.iter().any(|field| field.role != Role::Set || field.wire == Wire::Bit) => {
                Err(row.error("a property has a setter and is no bit"))
            }
            Some(_) if nowait > 1 => Err(row.error("a second nowait bit")),
            Some(usage) if nowait == 1 && usage != Usage::Call => Err(row.error("nowait in what is no call")),
            _ => Ok(()),
        }
    }

    /// Ties requests and replies to each other.
    fn check_replies(&self) -> Result<(), TableError> {
        for class in &self.classes {
            let mut answering = HashSet::new();
            for method in &class.methods {
                let error = |problem: String| TableError { file: METHODS, line: method.line, problem };
                let Kind::Sync(replies) = &method.kind else { continue };
                for name in replies {
                    let reply = class.methods.iter().find(|reply| reply.name == *name && reply.kind == Kind::Reply);
                    let reply = reply.ok_or_else(|| error(format!("there is no reply {}.{name}", class.name)))?;
                    if !answers(reply.sender, method.sender) {
                        return Err(error(format!("{name} is not sent by the peer that receives {}", method.name)));
                    }
                    answering.insert(name);
                }
            }
            let idle = class.methods.iter().find(|reply| reply.kind == Kind::Reply && !answering.contains(&reply.name));
            if let Some(Method { name, line, .. }) = idle {
                return Err(TableError { file: METHODS, line: *line, problem: format!("{name} answers no method") });
            }
        }
        Ok(())
    }
}

fn answers(reply: Sender, request: Sender) -> bool {
    reply == Sender::Both || (request != Sender::Both && request != reply)
}

fn parse_methods(text: &str) -> Result<Vec<Class>, TableError> {
    let mut classes: Vec<Class> = Vec::new();
    for mut row in rows(METHODS, text, METHOD_COLUMNS)? {
        let (name, id) = (row.name()?, row.number()?);
        let mut rest = row.clone();
        if rest.optional()?.is_none() {
            row.nothing(METHOD_COLUMNS.len() - 3)?;
            if classes.iter().any(|known| known.name == name || known.id == id) {
                return Err(row.error(format!("class {name} or its number is there already")));
            }
            classes.push(Class { name, id, doc: row.sentence()?, methods: Vec::new() });
            continue;
        }
        match classes.last_mut() {
            Some(class) if class.name == name && class.id == id => {
                let method = parse_method(&mut row)?;
                if class.methods.iter().any(|known| known.name == method.name || known.id == method.id) {
                    return Err(row.error(format!("{name}.{} or its number is there already", method.name)));
                }
                class.methods.push(method);
            }
            _ => return Err(row.error(format!("no row of class {name} with number {id} above this method"))),
        }
    }
    Ok(classes)
}

fn parse_method(row: &mut Row<'_>) -> Result<Method, TableError> {
    let (name, id) = (row.name()?, row.number()?);
    let sender = row.word(&[("client", Sender::Client), ("server", Sender::Server), ("both", Sender::Both)])?;
    let kind = row.cell()?;
    let replies = row.list()?;
    let kind = match (kind, replies.is_empty()) {
        ("sync", false) => Kind::Sync(replies),
        ("reply", true) => Kind::Reply,
        ("async", true) => Kind::Async,
        _ => return Err(row.error(format!("kind {kind:?} with {} replies", replies.len()))),
    };
    let content = row.word(&[("content", true), ("-", false)])?;
    let usage = row.word(&[
        ("call", Usage::Call),
        ("oneway", Usage::OneWay),
        ("own", Usage::Own),
        ("internal", Usage::Internal),
    ])?;
    let sent = sender != Sender::Server;
    match (usage, &kind) {
        (Usage::Internal, _) => {}
        (Usage::Own, Kind::Sync(_) | Kind::Async) if sent => {}
        (Usage::Call, Kind::Sync(replies)) if sent && !content && replies.len() == 1 => {}
        (Usage::OneWay, Kind::Async) if sent && !content => {}
        _ => return Err(row.error(format!("{name} cannot be used as {usage:?}"))),
    }
    let aliases = row.list()?;
    if aliases.is_empty() {
        return Err(row.error("no alias"));
    }
    Ok(Method {
        name,
        id,
        sender,
        kind,
        content,
        usage,
        aliases,
        doc: row.sentence()?,
        fields: Vec::new(),
        line: row.line,
    })
}

/// Adds the field of a row to those above it, or one more setter to the last of them.
fn parse_field(row: &mut Row<'_>, fields: &mut Vec<Field>) -> Result<(), TableError> {
    let name = row.name()?;
    let wire = row.word(TYPES)?;
    let mut rest = row.clone();
    if rest.cell()? == "also" {
        row.cell()?;
        row.nothing(1)?;
        let setter = row.cell()?;
        row.nothing(1)?;
        let setter = parse_setter(row, setter, fields)?;
        return match fields.last_mut() {
            Some(last) if last.name == name && last.wire == wire && last.role == Role::Set => {
                last.setters.push(setter);
                Ok(())
            }
            _ => Err(row.error(format!("{name} is not the field above this row, or has no setter"))),
        };
    }
    if fields.iter().any(|field| field.name == name) {
        return Err(row.error(format!("{name} is there already")));
    }
    let role = row.word(&[
        ("new", Role::New),
        ("set", Role::Set),
        ("plain", Role::Plain),
        ("nowait", Role::NoWait),
        ("reserved", Role::Reserved),
    ])?;
    let default_true = row.word(&[("true", true), ("-", false)])?;
    if default_true && (wire != Wire::Bit || !matches!(role, Role::Set | Role::Plain)) {
        return Err(row.error("only bits that nobody must give have a default"));
    }
    if role == Role::NoWait && wire != Wire::Bit {
        return Err(row.error("nowait is a bit"));
    }
    let mut field = Field { name, wire, role, default_true, doc: String::new(), setters: Vec::new() };
    let setter = row.optional()?;
    if matches!(role, Role::NoWait | Role::Reserved) {
        row.nothing(1)?;
    } else {
        field.doc = row.sentence()?;
    }
    match (role, setter) {
        (Role::Set, Some(setter)) => field.setters.push(parse_setter(row, setter, fields)?),
        (Role::Set, None) => return Err(row.error("no setter")),
        (_, Some(_)) => return Err(row.error("a setter for a field that has none")),
        (_, None) => row.nothing(1)?,
    }
    fields.push(field);
    Ok(())
}

/// `name` or `name=value`, and the sentence in the row's next cell.
fn parse_setter(row: &mut Row<'_>, setter: &str, fields: &[Field]) -> Result<Setter, TableError> {
    let (name, value) = setter.split_once('=').map_or((setter, None), |(name, value)| (name, Some(value.to_owned())));
    let taken = TAKEN.contains(&name) || fields.iter().flat_map(|field| &field.setters).any(|known| known.name == name);
    if taken || !name.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_') {
        return Err(row.error(format!("{name:?} cannot be the name of a setter here")));
    }
    Ok(Setter { name: name.to_owned(), value, doc: row.sentence()? })
}

fn parse_codes(text: &str) -> Result<Vec<Code>, TableError> {
    let mut codes: Vec<Code> = Vec::new();
    for mut row in rows(CONSTANTS, text, CONSTANT_COLUMNS)? {
        let (name, value) = (row.name()?, row.number()?);
        if codes.iter().any(|known| known.name == name || known.value == value) {
            return Err(row.error(format!("{name} or its number is there already")));
        }
        let severity = row.word(&[("soft", Severity::Soft), ("hard", Severity::Hard), ("none", Severity::None)])?;
        codes.push(Code { name, value, severity, doc: row.sentence()? });
    }
    Ok(codes)
}
