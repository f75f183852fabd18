//! Rust source from the tables, laid out exactly as rustfmt leaves it.

mod any;
mod class;
mod codes;
mod properties;
mod source;
mod wire;

pub(crate) use self::{any::any, class::class, codes::codes, properties::properties};
