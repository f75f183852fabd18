//! What time does, on the embedded broker's own clock.

use std::time::Duration;

use amqp_core::{
    frame::Frame,
    method::{Properties, basic, connection, queue},
    wire::Table,
};

use crate::support::{World, capabilities, consume, encode, get, on, own, own_with, publish_with, start_ok, to_queue};

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn expiring(body: &str, milliseconds: &str) -> bytes::BytesMut {
    publish_with(1, basic::Publish::new("", "q"), &Properties::new().expiration(milliseconds), body)
}

#[test]
fn messages_expire_at_the_head_of_their_queue() {
    let world = World::embedded();
    let mut client = world.open();
    client.send(&[own("q"), to_queue("q", "a"), expiring("b", "20")], &["1 queue.declare-ok q 0 0"]);
    client.wait_until(ms(30));
    client.send(&[on(1, queue::Declare::new("q").passive())], &["1 queue.declare-ok q 2 0"]);
    client.send(&[get("q"), get("q")], &["1 basic.get-ok 1, 0 left 'a'", "1 basic.get-empty"]);
}

#[test]
fn the_shorter_of_two_lives_counts() {
    let world = World::embedded();
    let mut client = world.open();
    let arguments = Table::new().with("x-message-ttl", 50);
    client.send(&[own_with("q", arguments)], &["1 queue.declare-ok q 0 0"]);
    client.send(&[expiring("a", "20"), expiring("b", "90")], &[]);
    assert_eq!(world.broker().queue("/", "q").map(|queue| queue.ready), Some(2));
    client.wait_until(ms(20));
    assert_eq!(world.broker().queue("/", "q").map(|queue| queue.ready), Some(1));
    client.wait_until(ms(50));
    assert_eq!(world.broker().queue("/", "q").map(|queue| queue.ready), Some(0));
}

#[test]
fn a_life_of_nothing_is_long_enough_for_a_consumer_that_waits() {
    let world = World::embedded();
    let mut client = world.open();
    let arguments = Table::new().with("x-message-ttl", 0);
    client.send(&[own_with("q", arguments), to_queue("q", "lost")], &["1 queue.declare-ok q 0 0"]);
    client.send(&[consume("q", "t")], &["1 basic.consume-ok t"]);
    client.send(&[to_queue("q", "kept")], &["1 basic.deliver t 1 'kept'"]);
}

#[test]
fn expired_messages_are_dead_letters() {
    let world = World::embedded();
    let mut client = world.open();
    let arguments = Table::new().with("x-dead-letter-exchange", "").with("x-dead-letter-routing-key", "d");
    client.send(&[own("d"), own_with("q", arguments)], &["1 queue.declare-ok d 0 0", "1 queue.declare-ok q 0 0"]);
    client.send(&[consume("d", "t")], &["1 basic.consume-ok t"]);
    client.send(&[expiring("a", "5")], &[]);
    client.wait_until(ms(5));
    client.sees(&["1 basic.deliver t 1 'a' {x-death=[{count=1, reason=expired, queue=q, time=time, exchange=, \
                   routing-keys=[q], original-expiration=5}], x-first-death-exchange=, x-first-death-queue=q, \
                   x-first-death-reason=expired}"]);
}

#[test]
fn a_message_does_not_go_round_in_circles() {
    let world = World::embedded();
    let mut client = world.open();
    let arguments = Table::new().with("x-dead-letter-exchange", "").with("x-message-ttl", 30);
    client.send(&[own_with("q", arguments), to_queue("q", "x")], &["1 queue.declare-ok q 0 0"]);
    client.wait_until(ms(30));
    assert_eq!(world.broker().queue("/", "q").map(|queue| queue.ready), Some(0));
}

#[test]
fn a_queue_that_nobody_uses_expires() {
    let world = World::embedded();
    let mut client = world.open();
    let arguments = Table::new().with("x-expires", 100);
    client.send(&[own_with("q", arguments)], &["1 queue.declare-ok q 0 0"]);
    client.wait_until(ms(90));
    client.send(&[get("q")], &["1 basic.get-empty"]);
    client.wait_until(ms(150));
    assert!(world.broker().queue("/", "q").is_some(), "it was used at 90 ms");
    client.send(&[consume("q", "t")], &["1 basic.consume-ok t"]);
    client.wait_until(ms(500));
    assert!(world.broker().queue("/", "q").is_some(), "it has a consumer");
    client.send(&[on(1, basic::Cancel::new("t"))], &["1 basic.cancel-ok t"]);
    client.wait_until(ms(600));
    assert!(world.broker().queue("/", "q").is_none());
}

#[test]
fn heartbeats_fill_half_an_interval_of_silence() {
    let world = World::embedded();
    let mut client = world.connect_with(capabilities(), connection::TuneOk::new(2047, 131_072, 2));
    client.sees(&[]);
    let mut heard = 0;
    for second in 1..=20 {
        client.raw(&encode(&Frame::heartbeat()));
        client.wait_until(ms(second * 1000));
        heard += client.collect(1).len();
    }
    assert_eq!(heard, 19, "one each second, but for the first, when the handshake had just been");
    assert!(!client.has_ended());
}

#[test]
fn a_silent_client_is_given_up_without_a_word() {
    let world = World::embedded();
    let mut client = world.connect_with(capabilities(), connection::TuneOk::new(2047, 131_072, 2));
    let mut ended_at = None;
    for tick in 0..=100 {
        client.wait_until(ms(tick * 100));
        let seen = client.collect(1);
        if seen.iter().any(|line| line == "end") {
            ended_at = ended_at.or(Some(tick * 100));
        }
        assert!(seen.iter().all(|line| line == "heartbeat" || line == "end"), "{seen:?}");
    }
    assert_eq!(ended_at, Some(6000), "three intervals");
}

#[test]
fn the_handshake_takes_ten_seconds_at_most() {
    let world = World::embedded();
    let mut client = world.dial();
    client.raw(b"AMQP");
    client.wait_until(ms(9999));
    client.sees(&[]);
    client.wait_until(ms(10_000));
    client.sees(&["end"]);
}

#[test]
fn whoever_is_refused_is_left_in_silence_for_three_seconds() {
    let wrong_password = || on(0, start_ok("PLAIN", b"\0guest\0wrong", Table::new()));
    let unknown_mechanism = || on(0, start_ok("EXTERNAL", b"", capabilities()));
    let good = || on(0, start_ok("PLAIN", b"\0guest\0guest", capabilities()));
    let tune = |channels, frame| [good(), on(0, connection::TuneOk::new(channels, frame, 0))].concat();
    let refused = [
        wrong_password().to_vec(),
        unknown_mechanism().to_vec(),
        on(0, connection::Open::new("/")).to_vec(),
        on(1, amqp_core::method::channel::Open::new()).to_vec(),
        tune(0, 131_072),
        tune(2048, 131_072),
        tune(2047, 0),
        tune(2047, 4095),
        tune(2047, 131_073),
        b"\x09\0\0\0\0\0\0\xce".to_vec(),
    ];
    for octets in refused {
        let world = World::embedded();
        let mut client = world.dial();
        client.raw(b"AMQP\0\0\x09\x01");
        client.take_one("connection.start");
        client.raw(&octets);
        let seen = client.collect(0);
        assert!(seen.is_empty() || seen == ["0 connection.tune 2047 131072 60"], "{seen:?}");
        client.wait_until(ms(2999));
        client.send(&[on(0, connection::Open::new("/"))], &[]);
        client.wait_until(ms(3000));
        client.sees(&["end"]);
    }
}

#[test]
fn a_closed_connection_waits_for_the_client_not_for_ever() {
    let world = World::embedded();
    let mut client = world.open();
    let close = connection::Close::new(amqp_core::method::ReplyCode::REPLY_SUCCESS, "");
    client.send(&[on(0, close)], &["0 connection.close-ok"]);
    client.wait_until(ms(29_999));
    client.sees(&[]);
    client.wait_until(ms(30_000));
    client.sees(&["end"]);
}

#[test]
fn the_broker_says_when_it_wants_to_be_called() {
    let world = World::embedded();
    let mut client = world.open();
    assert_eq!(world.broker().poll_timeout(), None);
    let arguments = Table::new().with("x-message-ttl", 50);
    client.send(&[own_with("q", arguments), to_queue("q", "a")], &["1 queue.declare-ok q 0 0"]);
    assert_eq!(world.broker().poll_timeout(), Some(amqp_core::Instant::from(ms(50))));
    client.wait_until(ms(50));
    assert_eq!(world.broker().poll_timeout(), None);
}
