//! Scenarios that hold on every broker: run on a fresh embedded one, and on the RabbitMQ node that all tests of a
//! process share.
//!
//! The rule a reader must know: the node is shared, so a scenario leaves it as it was. It uses exclusive queues, or
//! deletes its own, under names from [`unique`].

use std::{
    any::Any,
    panic::{self, AssertUnwindSafe},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use crate::{broker::EmbeddedBroker, rabbitmq::RabbitMq};

/// How long one scenario may take on one broker. They take milliseconds; a busy machine gets plenty.
const SCENARIO_DEADLINE: Duration = Duration::from_secs(60);

/// Runs a scenario on every broker; it gets the broker's URI.
///
/// # Panics
///
/// When the scenario does on any of them, or is still running after a minute; the message names the broker. Also when
/// there is no RabbitMQ: it says what to install.
#[track_caller]
pub fn on_every_broker(scenario: impl Fn(&str) + Send + Sync + 'static) {
    let scenario = Arc::new(scenario);
    let failures: Vec<_> = [embedded(&scenario), rabbitmq(&scenario)].into_iter().filter_map(Result::err).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Runs a scenario on RabbitMQ alone, for what only a real broker can show.
///
/// # Panics
///
/// As [`on_every_broker`].
#[track_caller]
pub fn on_rabbitmq(scenario: impl Fn(&str) + Send + Sync + 'static) {
    if let Err(failure) = rabbitmq(&Arc::new(scenario)) {
        panic!("{failure}");
    }
}

fn embedded<S: Fn(&str) + Send + Sync + 'static>(scenario: &Arc<S>) -> Result<(), String> {
    let broker = EmbeddedBroker::start().map_err(|error| format!("the embedded broker does not start: {error}"))?;
    run("the embedded broker", broker.uri(), scenario)
}

fn rabbitmq<S: Fn(&str) + Send + Sync + 'static>(scenario: &Arc<S>) -> Result<(), String> {
    let node = RabbitMq::shared().map_err(|error| format!("there is no RabbitMQ to test against: {error}"))?;
    run(&format!("RabbitMQ {}", node.version()), node.uri(), scenario)
}

fn run<S: Fn(&str) + Send + Sync + 'static>(broker: &str, uri: String, scenario: &Arc<S>) -> Result<(), String> {
    let scenario = Arc::clone(scenario);
    attempt(SCENARIO_DEADLINE, move || scenario(&uri)).map_err(|reason| format!("on {broker}: {reason}"))
}

/// A name that nothing else on the shared node has, in this process or in one that runs beside it.
pub fn unique(name: &str) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("{name}-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// Does `work` in a thread of its own, so that a hang is a failure and not a test run that never ends.
///
/// # Panics
///
/// When `work` does, or has not ended in time. Its thread is left to itself then.
#[track_caller]
pub fn within<T: Send + 'static>(limit: Duration, work: impl FnOnce() -> T + Send + 'static) -> T {
    match attempt(limit, work) {
        Ok(result) => result,
        Err(reason) => panic!("{reason}"),
    }
}

fn attempt<T: Send + 'static>(limit: Duration, work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    let (done, result) = mpsc::channel();
    let name = thread::current().name().unwrap_or("scenario").to_owned();
    let work = move || {
        // Nobody listens any more when the time is up.
        let _ = done.send(panic::catch_unwind(AssertUnwindSafe(work)));
    };
    thread::Builder::new().name(name).spawn(work).map_err(|error| error.to_string())?;
    match result.recv_timeout(limit) {
        Ok(Ok(result)) => Ok(result),
        Ok(Err(panic)) => Err(words(&*panic).to_owned()),
        Err(_) => Err(format!("still running after {limit:?}")),
    }
}

/// What a panic said.
fn words(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (None, Some(text)) => text,
        _ => "a panic without words",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ() {
        assert_ne!(unique("queue"), unique("queue"));
    }

    #[test]
    fn a_failure_keeps_its_words_and_a_hang_is_one() {
        assert_eq!(attempt(Duration::from_secs(10), || 7), Ok(7));
        assert_eq!(attempt::<()>(Duration::from_secs(10), || panic!("no {}", 1)).unwrap_err(), "no 1");
        let (_never, block) = mpsc::channel::<()>();
        let hang = attempt(Duration::from_millis(10), move || block.recv().is_ok());
        assert_eq!(hang.unwrap_err(), "still running after 10ms");
    }
}
