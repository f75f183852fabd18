//! Input that was made to hurt: the embedded broker may refuse it in any way, but not panic, and not keep it.

use amqp_core::{
    Instant,
    method::{AnyMethod, basic, channel, confirm, connection, exchange, queue, tx},
    wire::Table,
};
use amqp_test::broker::Broker;
use bytes::BytesMut;

use crate::support::{World, capabilities, on, publish, start_ok};

/// A conversation that touches most of what there is.
fn conversation() -> Vec<BytesMut> {
    let on_1: [AnyMethod; 13] = [
        exchange::Bind::new("x", "amq.topic", "#").into(),
        queue::Declare::new("q").exclusive().arguments(Table::new().with("x-max-length", 10)).into(),
        queue::Bind::new("q", "x", "a.*").into(),
        confirm::Select::new().into(),
        basic::Qos::new(3).into(),
        basic::Consume::new("q").consumer_tag("t").into(),
        basic::Get::new("q").into(),
        basic::Ack::new(1).into(),
        basic::Nack::new(0).multiple().into(),
        basic::Recover::new().into(),
        basic::Cancel::new("t").into(),
        queue::Purge::new("q").into(),
        queue::Delete::new("q").into(),
    ];
    let mut frames = vec![
        BytesMut::from(&b"AMQP\0\0\x09\x01"[..]),
        on(0, start_ok("PLAIN", b"\0guest\0guest", capabilities())),
        on(0, connection::TuneOk::new(2047, 131_072, 10)),
        on(0, connection::Open::new("/")),
        on(1, channel::Open::new()),
        on(2, channel::Open::new()),
        on(2, tx::Select::new()),
        on(1, exchange::Declare::new("x", "topic").transient()),
    ];
    for method in on_1 {
        frames.push(publish(1, basic::Publish::new("x", "a.b").mandatory(), "some body"));
        frames.push(publish(2, basic::Publish::new("amq.topic", "a.b"), ""));
        frames.push(on(1, method));
    }
    frames.push(on(2, tx::Commit::new()));
    frames.push(on(0, connection::Close::new(amqp_core::method::ReplyCode::REPLY_SUCCESS, "")));
    frames
}

/// Feeds octets to a new broker in pieces of this size; gives what it says, and whether it has hung up.
fn feed(octets: &[u8], piece: usize) -> (usize, bool) {
    let mut broker = Broker::new();
    let id = broker.accept(Instant::ORIGIN);
    let mut input = BytesMut::new();
    let mut said = 0;
    for piece in octets.chunks(piece) {
        input.extend_from_slice(piece);
        broker.receive(id, &mut input, Instant::ORIGIN);
        said += broker.take_output(id).len();
    }
    (said, broker.wants_close(id))
}

/// Numbers that look random and are the same each time.
fn numbers(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % u64::try_from(below.max(1)).expect("a number")).expect("a smaller number")
    }
}

#[test]
fn the_conversation_is_good_as_it_is() {
    let world = World::embedded();
    let mut client = world.dial();
    let mut last = Vec::new();
    for frame in conversation() {
        client.raw(&frame);
        last = client.collect(0);
        assert!(
            !last.iter().any(|line| line.contains("channel.close ") || line.contains("connection.close ")),
            "{last:?}"
        );
    }
    assert_eq!(last, ["0 connection.close-ok"]);
}

#[test]
fn octet_by_octet_it_is_the_same_conversation() {
    let octets = conversation().concat();
    assert_eq!(feed(&octets, 1), feed(&octets, 3));
}

#[test]
fn cut_off_anywhere_it_waits_for_the_rest() {
    let octets = conversation().concat();
    for length in 0..octets.len() {
        let (_, ended) = feed(&octets[..length], 64);
        assert!(!ended, "cut off after {length} octets");
    }
}

#[test]
fn changed_octets_never_panic() {
    let octets = conversation().concat();
    for seed in 1..2000 {
        let mut random = numbers(seed);
        let mut changed = octets.clone();
        for _ in 0..=random(4) {
            let at = random(changed.len());
            changed[at] = u8::try_from(random(256)).expect("an octet");
        }
        feed(&changed, 1 + random(500));
    }
}

#[test]
fn frames_in_any_order_never_panic() {
    let frames = conversation();
    for seed in 1..2000 {
        let mut random = numbers(seed);
        let mut octets = frames[..5].concat();
        for _ in 0..40 {
            octets.extend_from_slice(&frames[5 + random(frames.len() - 5)]);
        }
        feed(&octets, 1 + random(2000));
    }
}

#[test]
fn noise_is_refused() {
    for seed in 1..200 {
        let mut random = numbers(seed);
        let noise: Vec<u8> = (0..200).map(|_| u8::try_from(random(256)).expect("an octet")).collect();
        assert_eq!(feed(&noise, 200), (8, true), "the broker's own header, and nothing else");
    }
}

#[test]
fn tables_without_a_floor_are_passed_on_or_refused() {
    let mut value = vec![b'V'];
    for _ in 0..20_000 {
        let mut outer = vec![b'A'];
        outer.extend_from_slice(&u32::try_from(value.len()).expect("a small table").to_be_bytes());
        outer.extend_from_slice(&value);
        value = outer;
    }
    let mut table = u32::try_from(value.len() + 2).expect("a small table").to_be_bytes().to_vec();
    table.extend_from_slice(b"\x01a");
    table.extend_from_slice(&value);
    let world = World::embedded();
    let mut client = world.open();
    client.send(&[crate::support::own("q")], &["1 queue.declare-ok q 0 0"]);
    let header = [&b"\0\x3c\0\0\0\0\0\0\0\0\0\0\x20\0"[..], &table].concat();
    client.send(&[on(1, basic::Publish::new("", "q")), crate::support::raw_frame(2, 1, &header)], &[]);
    client.raw(&crate::support::get("q"));
    let frames = client.frames(2);
    assert_eq!(frames[1].payload, header, "the headers arrive as they were sent");
    let declare = [b"\0\x32\0\x0a\0\0\x01p\0", &table[..]].concat();
    client.send(&[crate::support::raw_frame(1, 1, &declare)], &["end"]);
}

#[test]
fn an_announced_size_is_not_allocated() {
    let world = World::embedded();
    let mut client = world.open();
    client.raw(b"\x01\0\x01\xff\xff\xff\xff");
    client.sees(&[
        "0 connection.close 501 - FRAME_ERROR - type 1, all octets = <<>>: {frame_too_large,4294967295,131064}",
    ]);
    let mut client = world.open();
    let header = crate::support::header(1, u64::MAX, b"\0\0");
    client.send(&[on(1, basic::Publish::new("", "q")), header, crate::support::body(1, "x")], &[]);
}

#[test]
fn a_message_that_is_too_large_is_read_to_its_end_and_refused() {
    let world = World::embedded();
    let mut client = world.open();
    let size: usize = 128 * 1024 * 1024 + 1;
    client.raw(&on(1, basic::Publish::new("", "q")));
    client.raw(&crate::support::header(1, size as u64, b"\0\0"));
    let part = crate::support::raw_frame(3, 1, &vec![b'x'; 131_064]);
    for _ in 0..size / 131_064 {
        client.raw(&part);
    }
    client.sees(&[]);
    client.raw(&crate::support::raw_frame(3, 1, &vec![b'x'; size % 131_064]));
    client.sees(&["1 channel.close 406 basic.publish PRECONDITION_FAILED - message size 134217729 is larger than \
                   configured max size 134217728"]);
}

#[test]
fn a_client_that_does_not_read_is_not_fed_for_ever() {
    let world = World::embedded();
    let mut publisher = world.open();
    let mut consumer = world.open();
    publisher.send(&[on(1, queue::Declare::new("q"))], &["1 queue.declare-ok q 0 0"]);
    consumer.send(&[crate::support::consume("q", "t")], &["1 basic.consume-ok t"]);
    let body = "x".repeat(100_000);
    for _ in 0..200 {
        publisher.raw(&crate::support::to_queue("q", &body));
    }
    let ready = |world: &World| world.broker().queue("/", "q").expect("it is there").ready;
    assert!(ready(&world) > 100, "most of it waits in the queue");
    let mut delivered = 0;
    while delivered < 200 {
        let seen = consumer.collect(0).len();
        assert!(seen > 0, "whoever reads gets more");
        delivered += seen;
    }
    assert_eq!(ready(&world), 0);
}
