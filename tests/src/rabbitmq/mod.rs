//! A private RabbitMQ node for a test: on loopback, on free ports, in a directory of its own, and always stopped.
//!
//! The rule a reader must know: the node belongs to a watchdog process, not to us. The watchdog reads a pipe that only
//! we hold, and stops the node and removes its directory when that pipe closes. So [`RabbitMq::stop`], a drop, a panic,
//! the end of the test process and even a `kill -9` of it are one and the same case, and nothing is left behind.
//!
//! The machine's own node is never touched: not its ports, its epmd, its cookie or `/var/lib/rabbitmq`. Any number of
//! nodes, of any number of test processes, run side by side.

mod builder;
mod ctl;
mod directory;
mod error;
mod greeting;
mod installation;
mod signal;
mod start;
mod watchdog;

pub use self::builder::Builder;
pub use self::error::{CtlError, StartError};

use std::io;
use std::sync::OnceLock;

use self::directory::Directory;
use self::installation::Installation;
use self::watchdog::Watchdog;

/// A running RabbitMQ node, stopped and removed when this value is dropped.
///
/// ```no_run
/// use amqp_test::rabbitmq::RabbitMq;
///
/// let broker = RabbitMq::start().expect("a node to test against");
/// println!("{} listens on {}", broker.version(), broker.uri());
/// ```
#[derive(Debug)]
#[must_use = "the node is stopped when this value is dropped"]
pub struct RabbitMq {
    port: u16,
    pid: u32,
    version: String,
    installation: Installation,
    // Dropped in this order: the watchdog ends the node, then the directory is free to go.
    watchdog: Watchdog,
    directory: Directory,
}

impl RabbitMq {
    /// Starts a node with the default configuration and waits until it answers.
    ///
    /// # Errors
    ///
    /// Says what to install when there is no `rabbitmq-server`, and shows the end of the log when the node did not start.
    pub fn start() -> Result<Self, StartError> {
        Self::builder().start()
    }

    /// A node with configuration of its own.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The one node of this test process, started at first use and stopped when the process ends.
    ///
    /// It is for tests that need a broker and leave it as it was. A test that kills, pauses or reconfigures a node starts
    /// one of its own.
    ///
    /// # Errors
    ///
    /// What [`RabbitMq::start`] returned when the first caller started it: the start is not tried again.
    pub fn shared() -> Result<&'static Self, StartError> {
        // Never dropped, as no static is: the watchdog sees the end of the process.
        static SHARED: OnceLock<Result<RabbitMq, StartError>> = OnceLock::new();
        SHARED.get_or_init(Self::start).as_ref().map_err(Clone::clone)
    }

    /// Ends the node with `kill -9`, as a crash would, and returns when its sockets are closed.
    ///
    /// # Errors
    ///
    /// When the node has ended already, or cannot be signalled.
    pub fn kill(&self) -> io::Result<()> {
        self.signal("KILL")?;
        self.directory.wait_for_end_of_server()
    }

    /// Stops the node in its tracks (SIGSTOP): the kernel still accepts connections and data, nobody answers.
    ///
    /// # Errors
    ///
    /// When the node has ended, or cannot be signalled.
    pub fn pause(&self) -> io::Result<()> {
        self.signal("STOP")?;
        signal::wait_until_stopped(self.pid)
    }

    /// Lets a paused node go on (SIGCONT).
    ///
    /// # Errors
    ///
    /// When the node has ended, or cannot be signalled.
    pub fn resume(&self) -> io::Result<()> {
        self.signal("CONT")
    }

    /// Stops the node, waits for its end and removes its directory. Dropping does the same, and keeps quiet about errors.
    ///
    /// # Errors
    ///
    /// When the watchdog did not end, or not well.
    pub fn stop(mut self) -> io::Result<()> {
        self.watchdog.stop()
    }

    /// Runs `rabbitmqctl` against this node and returns what it printed. Every call starts an Erlang VM: 0.5 to 2 s.
    ///
    /// # Errors
    ///
    /// When the command failed, with its output, or did not end in time.
    pub fn ctl(&self, arguments: &[&str]) -> Result<String, CtlError> {
        ctl::run(&self.installation, &self.directory, arguments)
    }

    /// Where the node listens, as a client wants it: `amqp://guest:guest@127.0.0.1:PORT/%2f`.
    #[must_use]
    pub fn uri(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port)
    }

    /// The AMQP port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The version of RabbitMQ that the node announces, such as `3.10.8`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The Erlang name of the node, different for every node: `amqp-test-PID-NUMBER@localhost`, with our process id.
    #[must_use]
    pub fn name(&self) -> &str {
        self.directory.node()
    }

    /// What the node has logged up to now.
    #[must_use]
    pub fn log(&self) -> String {
        self.directory.server_log()
    }

    fn signal(&self, name: &str) -> io::Result<()> {
        // A process id may belong to somebody else as soon as its process has ended.
        if self.directory.server_has_ended() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the node has ended"));
        }
        signal::send(name, self.pid)
    }
}
