//! From nothing to a node that answers: free ports, the watchdog, and the wait.
//!
//! Nobody can reserve a port for another process, so between our choice and the node's `bind` it may be taken. Such a
//! start fails, is recognised, and is repeated with other ports.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use super::directory::Directory;
use super::greeting::Greeting;
use super::installation::Installation;
use super::watchdog::Watchdog;
use super::{Builder, RabbitMq, StartError};

/// Losing a race for a port is rare; losing five in a row has another reason.
const ATTEMPTS: usize = 5;

/// A quiet machine needs 4 to 8 s, the same machine with ten nodes starting at once ten times that.
const START_DEADLINE: Duration = Duration::from_secs(120);

/// Between two looks at a node that is starting: short beside a start, long beside a look.
const PAUSE: Duration = Duration::from_millis(20);

/// Lines of a log that an error shows.
const EXCERPT: usize = 30;

/// The three ports of a node.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ports {
    pub(super) amqp: u16,
    pub(super) distribution: u16,
    pub(super) epmd: u16,
}

pub(super) fn start(builder: &Builder) -> Result<RabbitMq, StartError> {
    let installation = Installation::find()?;
    let attempts = if builder.port.is_some() { 1 } else { ATTEMPTS };
    let mut outcome = attempt(builder, &installation);
    for _ in 1..attempts {
        if !matches!(outcome, Err(StartError::PortTaken { .. })) {
            break;
        }
        outcome = attempt(builder, &installation);
    }
    outcome
}

fn attempt(builder: &Builder, installation: &Installation) -> Result<RabbitMq, StartError> {
    let ports = Ports::free(builder.port).map_err(StartError::io("looking for free ports"))?;
    let directory = Directory::create(builder, ports).map_err(StartError::io("filling its directory"))?;
    let mut watchdog = Watchdog::start(&directory, installation).map_err(StartError::io("running its watchdog"))?;
    let greeting = wait_for_greeting(&directory, &mut watchdog)?;
    let pid = directory.vm_pid().map_err(StartError::io("reading its process id"))?;
    let version = greeting.version().unwrap_or_default();
    Ok(RabbitMq { port: ports.amqp, pid, version, installation: installation.clone(), watchdog, directory })
}

fn wait_for_greeting(directory: &Directory, watchdog: &mut Watchdog) -> Result<Greeting, StartError> {
    let ports = directory.ports();
    let deadline = Instant::now() + START_DEADLINE;
    loop {
        match directory.epmd_status() {
            // It says so to nobody but syslog: an epmd that finds its port taken ends, and calls that success.
            Some(status) if status.trim() == "0" => return Err(StartError::PortTaken { port: ports.amqp }),
            Some(status) => {
                let reason = format!("it ended with status {}", status.trim());
                return Err(StartError::Io { doing: "running epmd", reason });
            }
            None => {}
        }
        if directory.server_has_ended() || watchdog.has_ended() {
            let log = directory.server_log();
            if is_port_collision(&log) {
                return Err(StartError::PortTaken { port: ports.amqp });
            }
            return Err(StartError::Ended { log: excerpt(&log) });
        }
        if let Ok(greeting) = Greeting::receive(ports.amqp)
            && greeting.is_from(directory.node())
        {
            return Ok(greeting);
        }
        if Instant::now() > deadline {
            return Err(StartError::Silent { after: START_DEADLINE, log: tail(&directory.server_log()) });
        }
        std::thread::sleep(PAUSE);
    }
}

impl Ports {
    fn free(amqp: Option<u16>) -> io::Result<Self> {
        // All three are held until all three are known, so they differ.
        let listeners = [bind_any()?, bind_any()?, bind_any()?];
        let [first, second, third] = listeners.each_ref().map(TcpListener::local_addr);
        Ok(Self { amqp: amqp.unwrap_or(first?.port()), distribution: second?.port(), epmd: third?.port() })
    }
}

fn bind_any() -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
}

/// The words of RabbitMQ 3.10 to 4.0 for the AMQP port, then for the port between nodes.
fn is_port_collision(log: &str) -> bool {
    log.contains("eaddrinuse") || log.contains("dist_port_already_used")
}

/// The lines that tell why a node ended. A crash report of many pages may follow them.
fn excerpt(log: &str) -> String {
    let mut lines =
        log.lines().skip_while(|line| !line.contains("[error]") && !line.contains("BOOT FAILED")).peekable();
    if lines.peek().is_none() {
        return tail(log);
    }
    lines.take(EXCERPT).collect::<Vec<_>>().join("\n")
}

fn tail(log: &str) -> String {
    let surplus = log.lines().count().saturating_sub(EXCERPT);
    log.lines().skip(surplus).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_starts_at_the_first_error_and_is_bounded() {
        let noise = "2026 [info] <0.1.0> starting\n".repeat(50);
        let crash = "  crasher: ..\n".repeat(100);
        let shown = excerpt(&format!("{noise}2026 [error] <0.2.0> BOOT FAILED\n{crash}"));
        assert!(shown.starts_with("2026 [error] <0.2.0> BOOT FAILED\n"));
        assert_eq!(shown.lines().count(), EXCERPT);
    }

    #[test]
    fn an_excerpt_without_errors_is_the_tail() {
        let log: String = (0..50).map(|line| format!("{line}\n")).collect();
        assert!(excerpt(&log).starts_with("20\n") && excerpt(&log).ends_with("\n49"));
        assert_eq!(excerpt("only this"), "only this");
        assert_eq!(excerpt(""), "");
    }

    #[test]
    fn collisions_are_recognised_by_rabbitmqs_words() {
        assert!(is_port_collision("Failed to start Ranch listener .. for reason eaddrinuse (address already in use)"));
        assert!(is_port_collision("reason: {dist_port_already_used,46201,not_erlang,\"localhost\"}"));
        assert!(!is_port_collision("Failed to load configuration"));
    }
}
