//! `cargo spec`: regenerates `amqp-core/src/method/` from the tables and prints which files changed.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is a command")]

use std::{error::Error, fs, process::ExitCode};

use amqp_spec::{Tables, generate, workspace};

fn main() -> ExitCode {
    match regenerate() {
        Ok(0) => println!("nothing changed"),
        Ok(_) => {}
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// Writes every file that differs, and says how many did. Nothing is written unless all tables are in order.
fn regenerate() -> Result<usize, Box<dyn Error>> {
    let root = workspace();
    let tables = Tables::load(&root.join("spec"))?;
    let mut changed = 0;
    for file in generate(&tables) {
        let path = root.join(&file.path);
        if fs::read_to_string(&path).is_ok_and(|present| present == file.text) {
            continue;
        }
        fs::write(&path, &file.text).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        println!("wrote {}", file.path);
        changed += 1;
    }
    Ok(changed)
}
