//! The protocol as three tables, and the generator that turns them into `amqp-core/src/method/`.
//!
//! The tables are the source: `methods.tsv` has a row for each class and method, `fields.tsv` a row for each argument
//! and property in wire order, `constants.tsv` a row for each reply code. `cargo spec` regenerates in place, and a
//! test of this crate fails when somebody forgot to. Nothing here is needed to build or use the client.

mod emit;
mod model;
mod names;
mod tables;
mod tsv;

use std::path::{Path, PathBuf};

pub use self::{
    model::{Class, Code, Field, Kind, Method, Role, Sender, Setter, Severity, Tables, Usage, Wire},
    tsv::TableError,
};

/// A generated file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Where it belongs, from the root of the workspace.
    pub path: String,
    /// What it holds.
    pub text: String,
}

/// Generates every file, in memory.
pub fn generate(tables: &Tables) -> Vec<File> {
    let mut files: Vec<_> = tables.classes.iter().map(|class| file(&class.name, emit::class(class))).collect();
    files.push(file("any", emit::any(&tables.classes)));
    files.push(file("properties", emit::properties(&tables.properties)));
    files.push(file("codes", emit::codes(&tables.codes)));
    files
}

fn file(name: &str, text: String) -> File {
    File { path: format!("amqp-core/src/method/{name}.rs"), text }
}

/// The root of the workspace that this crate was built in.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}
