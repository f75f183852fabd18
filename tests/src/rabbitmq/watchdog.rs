//! Our end of the pipe that keeps a node alive. `watchdog.sh` is the other end, and does the work.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::directory::Directory;
use super::installation::Installation;

const SCRIPT: &str = include_str!("watchdog.sh");

/// Longer than the script gives the server and the epmd together before it kills them.
const STOP_DEADLINE: Duration = Duration::from_secs(45);

#[derive(Debug)]
pub(super) struct Watchdog {
    // Its standard input is the pipe. Rust opens pipes close-on-exec: no other child of ours keeps it open.
    process: Child,
}

impl Watchdog {
    pub(super) fn start(directory: &Directory, installation: &Installation) -> io::Result<Self> {
        let script = directory.file("watchdog.sh");
        fs::write(&script, SCRIPT)?;
        let process = directory
            .command("sh")
            .arg(script)
            .arg(directory.path())
            .arg(directory.ports().epmd.to_string())
            .arg(installation.server())
            .stdin(Stdio::piped())
            // Not ours: whoever reads the output of a killed test run must not wait for the node as well.
            .stdout(Stdio::null())
            .stderr(File::create(directory.file("watchdog.log"))?)
            // Not in our group either: Ctrl-C at a terminal ends us, and the pipe tells the watchdog.
            .process_group(0)
            .spawn()?;
        Ok(Self { process })
    }

    pub(super) fn has_ended(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(Some(_)) | Err(_))
    }

    /// Closes the pipe and waits until node and directory are gone. Doing it twice does no harm.
    pub(super) fn stop(&mut self) -> io::Result<()> {
        drop(self.process.stdin.take());
        let deadline = Instant::now() + STOP_DEADLINE;
        loop {
            match self.process.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(io::Error::other(format!("the watchdog of the node failed: {status}"))),
                None if Instant::now() > deadline => {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "the watchdog of the node does not end"));
                }
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}
