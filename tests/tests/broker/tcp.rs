//! The embedded broker on its port.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use amqp_core::method::{basic, confirm, queue};
use amqp_test::broker::{Alarm, EmbeddedBroker};

use crate::support::{World, consume, get, on, own, to_queue};

/// How long anything here may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

fn world(broker: &EmbeddedBroker) -> World {
    World::tcp(broker.address().port())
}

fn wait_until(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "it does not happen");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_conversation_over_tcp() {
    let broker = EmbeddedBroker::start().expect("a free port");
    let world = world(&broker);
    let mut client = world.open();
    client.send(&[own("q"), to_queue("q", "a")], &["1 queue.declare-ok q 0 0"]);
    client.send(&[get("q")], &["1 basic.get-ok 1, 0 left 'a'"]);
    client.send(&[consume("q", "t")], &["1 basic.consume-ok t"]);
    client.send(&[on(1, basic::Reject::new(1).requeue())], &["1 basic.deliver t 2 again 'a'"]);
    let error = "1 channel.close 404 queue.declare NOT_FOUND - no queue 'nope' in vhost '/'";
    client.send(&[on(1, queue::Declare::new("nope").passive())], &[error]);
}

#[test]
fn connections_share_the_broker_and_leave_it() {
    let broker = EmbeddedBroker::start().expect("a free port");
    let world = world(&broker);
    let mut one = world.open();
    let mut other = world.open();
    one.send(&[on(1, queue::Declare::new("q"))], &["1 queue.declare-ok q 0 0"]);
    one.send(&[consume("q", "t")], &["1 basic.consume-ok t"]);
    other.raw(&to_queue("q", "a"));
    one.sees(&["1 basic.deliver t 1 'a'"]);
    drop(one);
    wait_until(|| broker.with(|broker, _| broker.connections().count()) == 1);
    other.send(&[get("q")], &["1 basic.get-ok 1 again, 0 left 'a'"]);
}

#[test]
fn a_client_that_only_writes_is_read_to_the_end() {
    let broker = EmbeddedBroker::start().expect("a free port");
    let world = world(&broker);
    let mut client = world.open();
    client.raw(&on(1, confirm::Select::new()));
    client.raw(&on(1, queue::Declare::new("q")));
    let batch = vec![to_queue("q", &"x".repeat(1000)); 100].concat();
    for _ in 0..200 {
        client.raw(&batch);
        client.raw(&on(1, basic::Qos::new(0)));
    }
    let ready = || broker.with(|broker, _| broker.queue("/", "q")).map(|queue| queue.ready);
    wait_until(|| ready() == Some(20_000));
}

#[test]
fn a_client_that_does_not_read_stops_nobody_else() {
    let broker = EmbeddedBroker::start().expect("a free port");
    let world = world(&broker);
    let mut deaf = world.open();
    deaf.raw(&on(1, queue::Declare::new("q")));
    deaf.raw(&consume("q", "t"));
    let mut client = world.open();
    let batch = vec![to_queue("q", &"x".repeat(100_000)); 20].concat();
    for _ in 0..20 {
        client.raw(&batch);
        client.send(&[on(1, basic::Qos::new(0))], &["1 basic.qos-ok"]);
    }
    let waiting = broker.with(|broker, _| broker.queue("/", "q")).map(|queue| queue.ready);
    assert!(waiting.is_some_and(|ready| ready > 0), "what the deaf client cannot take waits in the queue");
    // The broker ends with all of that unread.
    let (done, ended) = mpsc::channel();
    thread::spawn(move || {
        drop(broker);
        done.send(()).expect("somebody waits");
    });
    assert_eq!(ended.recv_timeout(PATIENCE), Ok(()));
}

#[test]
fn an_alarm_stops_a_publisher_at_its_socket() {
    let broker = EmbeddedBroker::start().expect("a free port");
    let world = world(&broker);
    let mut client = world.open();
    client.send(&[own("q")], &["1 queue.declare-ok q 0 0"]);
    broker.with(|broker, _| broker.raise_alarm(Alarm::Disk));
    client.send(&[to_queue("q", "a"), get("q")], &["0 connection.blocked low on disk"]);
    broker.with(|broker, _| broker.clear_alarm(Alarm::Disk));
    client.sees(&["0 connection.unblocked", "1 basic.get-ok 1, 0 left 'a'"]);
}

#[test]
fn heartbeats_come_by_themselves() {
    let broker = EmbeddedBroker::start().expect("a free port");
    let tune = amqp_core::method::connection::TuneOk::new(2047, 131_072, 1);
    let mut client = world(&broker).connect_with(crate::support::capabilities(), tune);
    assert_eq!(client.collect(1), ["heartbeat"]);
}

#[test]
fn the_end_of_the_broker_is_told_to_its_clients() {
    let broker = EmbeddedBroker::start().expect("a free port");
    let mut client = world(&broker).open();
    drop(broker);
    let words = "broker forced connection closure with reason 'shutdown'";
    let mut seen = client.collect(2);
    seen.retain(|line| line != "end");
    assert_eq!(seen, [format!("0 connection.close 320 - CONNECTION_FORCED - {words}")]);
}

#[test]
fn nothing_listens_any_more_when_the_broker_is_dropped() {
    let broker = EmbeddedBroker::start().expect("a free port");
    let address = broker.address();
    let idle = TcpStream::connect(address).expect("it listens");
    drop(broker);
    assert!(TcpStream::connect(address).is_err());
    let mut rest = Vec::new();
    // Either end of the stream will do: it was closed.
    assert_eq!((&idle).read_to_end(&mut rest).unwrap_or(0), 0);
    drop((&idle).write_all(b"AMQP"));
}

#[test]
fn many_brokers_live_side_by_side() {
    let brokers: Vec<EmbeddedBroker> = (0..5).map(|_| EmbeddedBroker::start().expect("a free port")).collect();
    let mut clients: Vec<_> = brokers.iter().map(|broker| world(broker).open()).collect();
    for client in &mut clients {
        client.send(&[on(1, queue::Declare::new("q"))], &["1 queue.declare-ok q 0 0"]);
    }
    assert!(brokers[0].uri().starts_with("amqp://guest:guest@127.0.0.1:"));
}
