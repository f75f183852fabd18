//! What the tables say, as types: the only thing that the emitters look at.

/// The whole protocol.
#[derive(Clone, Debug)]
pub struct Tables {
    /// The classes with their methods, in table order.
    pub classes: Vec<Class>,
    /// The properties of a message, the one with the highest flag first.
    pub properties: Vec<Field>,
    /// The reply codes.
    pub codes: Vec<Code>,
}

/// A class: a group of methods.
#[derive(Clone, Debug)]
pub struct Class {
    /// Its name in the protocol.
    pub name: String,
    /// Its number on the wire.
    pub id: u16,
    /// A sentence.
    pub doc: String,
    /// Its methods, in table order.
    pub methods: Vec<Method>,
}

/// A method.
#[derive(Clone, Debug)]
pub struct Method {
    /// Its name within its class.
    pub name: String,
    /// Its number within its class.
    pub id: u16,
    /// Who sends it.
    pub sender: Sender,
    /// Whether it is answered.
    pub kind: Kind,
    /// Whether a content header and body follow it.
    pub content: bool,
    /// How a program may use it.
    pub usage: Usage,
    /// Names by which searching the documentation finds it.
    pub aliases: Vec<String>,
    /// A sentence.
    pub doc: String,
    /// Its arguments, in wire order.
    pub fields: Vec<Field>,
    /// Where it stands in `methods.tsv`.
    pub line: usize,
}

/// Which peer sends a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// Only clients.
    Client,
    /// Only servers.
    Server,
    /// Both.
    Both,
}

/// Whether a method is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Yes, by one of these methods of its class.
    Sync(Vec<String>),
    /// It is an answer.
    Reply,
    /// No.
    Async,
}

/// How a program may use a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// As a request that is answered.
    Call,
    /// As a method that nobody answers.
    OneWay,
    /// As what a function of its own sends, because a message is involved.
    Own,
    /// Not at all: the core sends it itself, or only brokers do.
    Internal,
}

/// An argument of a method, or a property.
#[derive(Clone, Debug)]
pub struct Field {
    /// Its name in the protocol.
    pub name: String,
    /// Its type.
    pub wire: Wire,
    /// How it is reached.
    pub role: Role,
    /// For a bit: set unless a setter says otherwise.
    pub default_true: bool,
    /// A sentence; empty for fields that are never seen.
    pub doc: String,
    /// The setters; none unless the role is [`Role::Set`].
    pub setters: Vec<Setter>,
}

/// How a field is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// By an argument of `new`.
    New,
    /// By a setter.
    Set,
    /// Only directly, being a public field.
    Plain,
    /// By `nowait()` and `is_nowait()`.
    NoWait,
    /// Never: written as zero, read and dropped.
    Reserved,
}

/// A setter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setter {
    /// Its name.
    pub name: String,
    /// What it sets; none if it takes an argument (or, for a bit, flips the default).
    pub value: Option<String>,
    /// A sentence.
    pub doc: String,
}

/// The type of a field. Some are one type on the wire and another in Rust.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// 8 bits.
    Octet,
    /// 16 bits.
    Short,
    /// 32 bits.
    Long,
    /// 64 bits.
    LongLong,
    /// One bit; neighbours share an octet.
    Bit,
    /// Up to 255 octets.
    ShortString,
    /// Up to 2^32 - 1 octets.
    LongString,
    /// A field table.
    Table,
    /// Seconds since 1970 in 64 bits.
    Timestamp,
    /// A long string that `Debug` never shows.
    Secret,
    /// A short that is a reply code.
    ReplyCode,
    /// A table that is decoded on demand.
    Headers,
}

/// A reply code.
#[derive(Clone, Debug)]
pub struct Code {
    /// Its name in the protocol.
    pub name: String,
    /// Its number.
    pub value: u16,
    /// What it ends.
    pub severity: Severity,
    /// A sentence.
    pub doc: String,
}

/// What a reply code ends, as a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The channel.
    Soft,
    /// The connection.
    Hard,
    /// Nothing.
    None,
}

impl Method {
    /// The fields that a program sees: all but the reserved ones.
    pub fn visible(&self) -> impl Iterator<Item = &Field> {
        self.fields.iter().filter(|field| field.role != Role::Reserved)
    }

    /// Whether it has a nowait bit.
    pub fn has_nowait(&self) -> bool {
        self.fields.iter().any(|field| field.role == Role::NoWait)
    }
}
