//! The core needs no `std`: a static library that has none is built on it. `bare/src/lib.rs` says why that proves it.

use std::{
    path::Path,
    process::{Command, Output},
};

/// Runs cargo on the library, in a target directory of its own: the usual one is locked while tests run.
fn cargo(arguments: &[&str]) -> Output {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bare/Cargo.toml");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bare");
    Command::new(env!("CARGO"))
        .args(arguments)
        .arg("--manifest-path")
        .arg(manifest)
        .arg("--target-dir")
        .arg(target)
        // Flags for the tests, such as those of coverage, may need what the library has not.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .output()
        .expect("cargo runs")
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_static_library_without_std_is_built_on_the_core() {
    let output = cargo(&["build"]);
    assert!(output.status.success(), "{}", told(&output));
}

#[test]
fn with_std_it_would_not_build() {
    let output = cargo(&["check", "--features", "std"]);
    assert!(!output.status.success(), "std was not noticed");
    assert!(told(&output).contains("found duplicate lang item `panic_impl`"), "{}", told(&output));
}
