//! The examples of the blocking adapter say the same on the embedded broker, which they bring themselves, and on a
//! real RabbitMQ.
#![cfg(unix)] // the node runs there

use std::{
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use amqp_test::rabbitmq::RabbitMq;

/// They take a second; they may have to be built first.
const DEADLINE: Duration = Duration::from_secs(300);

#[test]
fn hello_receives_its_message_on_every_broker() {
    for broker in [None, Some(RabbitMq::shared().unwrap().uri())] {
        assert_eq!(output("hello", broker.as_deref()), "received: Hello world!\n", "on {broker:?}");
    }
}

#[test]
fn errors_come_out_in_the_same_places_on_every_broker() {
    for broker in [None, Some(RabbitMq::shared().unwrap().uri())] {
        assert_eq!(output("errors", broker.as_deref()), include_str!("errors.expected"), "on {broker:?}");
    }
}

/// What an example prints, with a broker of its own or with this one.
fn output(example: &str, broker: Option<&str>) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into());
    let mut command = Command::new(cargo);
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap());
    // What this test was built from is what is there.
    command.args(["run", "--quiet", "--frozen", "--package", "amqp-blocking", "--example", example]);
    match broker {
        Some(uri) => command.env("AMQP_URL", uri),
        None => command.env_remove("AMQP_URL"),
    };
    let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + DEADLINE;
    // They print less than a pipe holds, so nobody has to read while they run.
    while process.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            process.kill().unwrap();
        }
        thread::sleep(Duration::from_millis(5));
    }
    let output = process.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{example} on {broker:?}: {}\n{errors}", output.status);
    String::from_utf8(output.stdout).unwrap()
}
