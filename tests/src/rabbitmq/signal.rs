//! Signals, by way of the shell: the standard library has none, and `kill` as a program is not on every machine.

use std::fs;
use std::io;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long the threads of a stopped process may take to stand still.
const STOP_DEADLINE: Duration = Duration::from_secs(5);

pub(super) fn send(name: &str, pid: u32) -> io::Result<()> {
    let output = Command::new("sh")
        .args(["-c", r#"kill -s "$1" "$2""#, "kill", name, &pid.to_string()])
        .stdin(Stdio::null())
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

/// `kill` returns when the signal is on its way. Where the kernel shows threads, waits until each of them stands still.
pub(super) fn wait_until_stopped(pid: u32) -> io::Result<()> {
    let deadline = Instant::now() + STOP_DEADLINE;
    while has_running_thread(pid) {
        if Instant::now() > deadline {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the node does not stand still"));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn has_running_thread(pid: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("stat")).ok())
        // "PID (NAME) STATE ..": the name may hold anything, the state follows its last parenthesis.
        .any(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('T')))
}
