//! `rabbitmqctl` against one node, with a deadline.

use std::fs::{self, File};
use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::CtlError;
use super::directory::Directory;
use super::installation::Installation;

/// Most commands need two seconds; draining or syncing a large queue needs more.
const DEADLINE: Duration = Duration::from_secs(60);

pub(super) fn run(installation: &Installation, directory: &Directory, arguments: &[&str]) -> Result<String, CtlError> {
    let io_error = |error: io::Error| CtlError::Io { arguments: arguments.join(" "), reason: error.to_string() };
    match spawn_and_wait(installation, directory, arguments).map_err(io_error)? {
        (Some(status), output, _) if status.success() => Ok(output),
        (Some(_), output, errors) => {
            Err(CtlError::Failed { arguments: arguments.join(" "), output: format!("{output}{errors}") })
        }
        (None, ..) => Err(CtlError::TimedOut { arguments: arguments.join(" "), after: DEADLINE }),
    }
}

/// The status, unless the deadline passed, and what was printed on standard output and on standard error.
fn spawn_and_wait(
    installation: &Installation,
    directory: &Directory,
    arguments: &[&str],
) -> io::Result<(Option<ExitStatus>, String, String)> {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    // Files instead of pipes: nobody has to read while the command runs.
    let output = directory.file(&format!("ctl-{call}.out"));
    let errors = directory.file(&format!("ctl-{call}.err"));
    let mut process = directory
        .command(installation.ctl())
        .args(["-n", directory.node()])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(File::create(&output)?)
        .stderr(File::create(&errors)?)
        .spawn()?;
    let deadline = Instant::now() + DEADLINE;
    let status = loop {
        if let Some(status) = process.try_wait()? {
            break Some(status);
        }
        if Instant::now() > deadline {
            process.kill()?;
            process.wait()?;
            break None;
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    Ok((status, fs::read_to_string(output)?, fs::read_to_string(errors)?))
}
