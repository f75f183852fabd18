//! Alarms, restarts and operators: what is done to the embedded broker from outside.

use std::time::Duration;

use amqp_core::{
    Instant,
    method::{Properties, basic, connection, exchange, queue},
};
use amqp_test::broker::Alarm;

use crate::support::{World, capabilities, get, on, own, publish_with, to_queue};

#[test]
fn whoever_publishes_during_an_alarm_is_not_read_until_it_is_over() {
    let world = World::embedded();
    let mut publisher = world.open();
    let mut bystander = world.open();
    publisher.send(&[own("q")], &["1 queue.declare-ok q 0 0"]);
    world.broker().raise_alarm(Alarm::Memory);
    bystander.send(&[on(1, basic::Qos::new(0))], &["1 basic.qos-ok"]);
    publisher.send(&[on(1, basic::Qos::new(0))], &["1 basic.qos-ok"]);
    publisher.send(&[to_queue("q", "a"), on(1, basic::Qos::new(0))], &["0 connection.blocked low on memory"]);
    world.broker().raise_alarm(Alarm::Disk);
    publisher.send(&[on(1, basic::Qos::new(0))], &[]);
    assert!(!world.broker().wants_read(publisher.id()));
    world.broker().clear_alarm(Alarm::Memory);
    publisher.sees(&[]);
    world.broker().clear_alarm(Alarm::Disk);
    publisher.feed();
    publisher.sees(&["0 connection.unblocked", "1 basic.qos-ok", "1 basic.qos-ok"]);
    publisher.send(&[get("q")], &["1 basic.get-ok 1, 0 left 'a'"]);
}

#[test]
fn each_alarm_has_its_reason() {
    let reasons = [
        (&[Alarm::Memory][..], "low on memory"),
        (&[Alarm::Disk], "low on disk"),
        (&[Alarm::Disk, Alarm::Memory], "low on memory & disk"),
    ];
    for (alarms, reason) in reasons {
        let world = World::embedded();
        let mut client = world.open();
        alarms.iter().for_each(|&alarm| world.broker().raise_alarm(alarm));
        client.send(&[to_queue("nowhere", "a")], &[&format!("0 connection.blocked {reason}")]);
    }
}

#[test]
fn a_client_that_does_not_want_to_know_is_stopped_in_silence() {
    let world = World::embedded();
    let mut capabilities = capabilities();
    capabilities.remove("connection.blocked");
    let mut client = world.connect_with(capabilities, connection::TuneOk::new(2047, 131_072, 0));
    client.open(1);
    world.broker().raise_alarm(Alarm::Memory);
    client.send(&[to_queue("nowhere", "a"), on(1, basic::Qos::new(0))], &[]);
    world.broker().clear_alarm(Alarm::Memory);
    client.feed();
    client.sees(&["1 basic.qos-ok"]);
}

#[test]
fn an_operator_closes_with_a_reason() {
    let world = World::embedded();
    let mut client = world.open();
    world.broker().close_connection(client.id(), "for maintenance", Instant::ORIGIN);
    client.sees(&["0 connection.close 320 - CONNECTION_FORCED - for maintenance"]);
    client.send(&[on(0, connection::CloseOk::new())], &["end"]);
}

#[test]
fn a_restart_keeps_what_is_durable_and_persistent() {
    let world = World::embedded();
    let mut client = world.open();
    client.send(
        &[on(1, queue::Declare::new("kept")), on(1, queue::Declare::new("lost").transient()), own("own")],
        &["1 queue.declare-ok kept 0 0", "1 queue.declare-ok lost 0 0", "1 queue.declare-ok own 0 0"],
    );
    let persistent = publish_with(1, basic::Publish::new("", "kept"), &Properties::new().persistent(), "persistent");
    client.send(&[persistent, to_queue("kept", "transient")], &[]);
    client.send(&[get("kept")], &["1 basic.get-ok 1, 1 left 'persistent'"]);
    let transient = exchange::Declare::new("gone", "direct").transient();
    client.send(&[on(1, exchange::Declare::new("stays", "direct")), on(1, transient)], &["1 exchange.declare-ok"; 2]);
    world.broker().restart(Instant::from(Duration::from_secs(1)));
    let shutdown = "broker forced connection closure with reason 'shutdown'";
    client.sees(&[&format!("0 connection.close 320 - CONNECTION_FORCED - {shutdown}"), "end"]);
    let mut client = world.open();
    let passive = |name: &str| on(1, exchange::Declare::new(name, "direct").passive());
    client.send(
        &[passive("stays"), get("kept")],
        &["1 exchange.declare-ok", "1 basic.get-ok 1 again, 0 left 'persistent'"],
    );
    assert_eq!(world.broker().queue("/", "lost"), None);
    assert_eq!(world.broker().queue("/", "own"), None);
    let missing = "1 channel.close 404 exchange.declare NOT_FOUND - no exchange 'gone' in vhost '/'";
    client.send(&[passive("gone")], &[missing]);
}

#[test]
fn a_queue_can_be_looked_at() {
    let world = World::embedded();
    let mut client = world.open();
    client.send(&[own("q"), to_queue("q", "a"), to_queue("q", "b")], &["1 queue.declare-ok q 0 0"]);
    client.send(&[get("q")], &["1 basic.get-ok 1, 1 left 'a'"]);
    let status = world.broker().queue("/", "q").expect("it was declared");
    assert_eq!((status.ready, status.unacknowledged, status.consumers), (1, 1, 0));
    assert_eq!(world.broker().queue("/", "other"), None);
    assert_eq!(world.broker().queue("elsewhere", "q"), None);
}

#[test]
fn users_and_virtual_hosts_can_be_added() {
    let world = World::embedded();
    world.broker().add_user("bob", "secret");
    world.broker().add_virtual_host("elsewhere");
    let mut client = world.dial();
    client.raw(b"AMQP\0\0\x09\x01");
    client.take_one("connection.start");
    client.raw(&on(0, crate::support::start_ok("PLAIN", b"\0bob\0secret", capabilities())));
    client.take_one("connection.tune");
    client.raw(&on(0, connection::TuneOk::new(2047, 131_072, 0)));
    client.send(&[on(0, connection::Open::new("elsewhere"))], &["0 connection.open-ok"]);
    client.open(1);
    client.send(&[own("q")], &["1 queue.declare-ok q 0 0"]);
    assert!(world.broker().queue("elsewhere", "q").is_some());
    assert!(world.broker().queue("/", "q").is_none());
}
