//! Limits both ways: what is refused before anything is sent, and what a third party or the server may send.

mod support;

use amqp_core::{
    ChannelError, ChannelId, Config, Error, Event, Misuse, Payload, Publish, Violation,
    config::Oversized,
    frame::{ContentHeader, Frame},
    method::{Properties, basic, confirm, exchange, queue, tx},
    wire::{Malformed, Table, Value},
};
use bytes::Bytes;

use self::support::{Peer, body_frame, content, header_frame, method_frame, octets, script::told, tune};

/// An open channel with a consumer `t`.
fn peer_with_consumer(config: Config) -> (Peer, ChannelId) {
    let mut peer = Peer::tuned(config, tune());
    let id = peer.open_channel();
    let consuming = peer.channel(id).call(basic::Consume::new("q").consumer_tag("t")).unwrap();
    peer.send(1, basic::ConsumeOk::new("t"));
    peer.claim(consuming).unwrap();
    peer.wrote();
    (peer, id)
}

/// Requests that cannot be sent, with what they are refused with.
type Refused = (&'static str, fn(&mut amqp_core::Channel<'_>) -> Option<Error>, Misuse);

fn refused() -> Vec<Refused> {
    let too_long = |field| Misuse::ShortStringTooLong { field, length: 256, limit: 255 };
    vec![
        ("queue", |channel| channel.call(queue::Declare::new("q".repeat(256))).err(), too_long("queue")),
        (
            "tag",
            |channel| channel.consume(basic::Consume::new("q").consumer_tag("t".repeat(256))).err(),
            too_long("consumer_tag"),
        ),
        ("key", |channel| channel.publish(Publish::new("", &"k".repeat(256))).err(), too_long("routing_key")),
        ("exchange", |channel| channel.publish(Publish::new(&"e".repeat(256), "")).err(), too_long("exchange")),
        (
            "large message with a long key",
            |channel| channel.publish(Publish::new("", &"k".repeat(256)).body(vec![0; 100_000])).err(),
            too_long("routing_key"),
        ),
        (
            "depth",
            |channel| {
                let deep = (0..70).fold(Table::new(), |inner, _| Table::new().with("t", inner));
                channel.call(queue::Declare::new("q").arguments(deep)).err()
            },
            Misuse::TableTooDeep { field: "arguments", limit: 64 },
        ),
        (
            "no number",
            |channel| {
                let properties = Properties::new().headers(Table::new().with("x", f64::NAN));
                channel.publish(Publish::new("", "q").body("x").properties(&properties)).err()
            },
            Misuse::NotFinite { field: "headers" },
        ),
        (
            "tag in use",
            |channel| channel.call(basic::Consume::new("q").consumer_tag("t")).err(),
            Misuse::ConsumerTagInUse("t".into()),
        ),
        (
            "nameless",
            |channel| channel.send(queue::Declare::server_named().nowait()).err(),
            Misuse::UnnamedWithoutReply,
        ),
        ("transactions", |channel| channel.call(tx::Select::new()).err(), Misuse::ConfirmsAndTransactions),
        (
            "body",
            |channel| channel.publish(Publish::new("", "q").body(vec![0; 1_000_001])).err(),
            Misuse::BodyTooLarge { size: 1_000_001, limit: 1_000_000 },
        ),
    ]
}

#[test]
fn what_cannot_be_sent_leaves_no_octet_and_uses_no_number() {
    let (mut peer, id) = peer_with_consumer(Config::default().message_size_limit(1_000_000));
    peer.channel(id).send(confirm::Select::new().nowait()).unwrap();
    assert_eq!(peer.channel(id).publish(Publish::new("", "q")).unwrap().delivery_tag, Some(1));
    peer.wrote();
    for (name, operation, misuse) in refused() {
        let before = (peer.client.queued_octets(), peer.channel(id).pending_calls());
        assert_eq!(operation(&mut peer.channel(id)), Some(Error::Misuse(misuse)), "{name}");
        assert_eq!((peer.client.queued_octets(), peer.channel(id).pending_calls()), before, "{name}");
        assert_eq!(peer.wrote(), [""; 0], "{name}");
    }
    assert_eq!(peer.channel(id).publish(Publish::new("", "q")).unwrap().delivery_tag, Some(2));
    assert_eq!(peer.wrote(), ["1 basic.publish", "1 header 0"]);
}

#[test]
fn frames_that_exceed_frame_max_are_refused_before_an_octet_is_sent() {
    let mut peer = Peer::tuned(Config::default().frame_max(4096), tune());
    let id = peer.open_channel();
    let headers = Table::new().with("large", "x".repeat(4096).as_str());
    let properties = Properties::new().headers(headers.clone());
    let errors = [
        peer.channel(id).publish(Publish::new("", "q").properties(&properties)).err(),
        peer.channel(id).call(queue::Declare::new("q").arguments(headers.clone())).err(),
        peer.channel(id).send(exchange::Declare::new("e", "fanout").arguments(headers).nowait()).err(),
    ];
    for error in errors {
        let Some(Error::Misuse(Misuse::FrameTooLarge { size, limit: 4096 })) = error else { panic!("{error:?}") };
        assert!((4097..4200).contains(&size), "{size}");
    }
    assert_eq!((peer.wrote().len(), peer.channel(id).pending_calls()), (0, 0));
    // A body is cut instead, into frames of exactly the agreed size.
    for payload in [Payload::Shared(vec![0; 10_000].into()), Payload::Borrowed(&[0; 10_000])] {
        peer.channel(id).publish(Publish::new("", "q").body(payload)).unwrap();
        let sizes: Vec<_> = peer.frames()[2..].iter().map(|frame| frame.payload.len() + 8).collect();
        assert_eq!(sizes, [4096, 4096, 10_000 - 2 * 4088 + 8]);
    }
}

#[test]
fn publishing_stops_when_too_much_is_queued_and_uses_no_number() {
    let mut peer = Peer::tuned(Config::default().outbox_limit(100_000), tune());
    let id = peer.open_channel();
    peer.channel(id).send(confirm::Select::new().nowait()).unwrap();
    let mut published = 0;
    while let Ok(receipt) = peer.channel(id).publish(Publish::new("", "q").body(vec![0; 20_000])) {
        published += 1;
        assert_eq!(receipt.delivery_tag, Some(published));
        assert!(published < 10, "the limit has no effect");
    }
    assert_eq!(peer.channel(id).publish(Publish::new("", "q").body(vec![0; 20_000])).err(), Some(Error::WouldBlock));
    assert!(peer.client.queued_octets() <= 100_000);
    peer.wrote();
    let receipt = peer.channel(id).publish(Publish::new("", "q").body(vec![0; 200_000])).unwrap();
    assert_eq!(receipt.delivery_tag, Some(published + 1), "even the largest message leaves when nothing is queued");
}

#[test]
fn messages_over_the_limit_are_drained_and_settled_by_policy() {
    for (policy, answer) in [
        (Oversized::Reject, Some(basic::Reject::new(1))),
        (Oversized::Requeue, Some(basic::Reject::new(1).requeue())),
        (Oversized::Leave, None),
    ] {
        let (mut peer, id) = peer_with_consumer(Config::default().message_size_limit(4).oversized(policy));
        peer.deliver(1, "t", 1, "large");
        let wrote: Vec<_> = peer.frames().iter().map(|frame| frame.decode_method().unwrap()).collect();
        assert_eq!(wrote, answer.into_iter().map(Into::into).collect::<Vec<_>>(), "{policy:?}");
        assert_eq!(peer.event(), Event::Oversized { channel: id, size: 5 });
        peer.deliver(1, "t", 2, "fits");
        assert_eq!(told(&peer.events()), ["1 delivery 2 for t: fits"]);
    }
}

#[test]
fn a_fetched_message_over_the_limit_is_an_error_of_its_call() {
    let mut peer = Peer::tuned(Config::default().message_size_limit(4), tune());
    let id = peer.open_channel();
    let fetching = peer.channel(id).get(basic::Get::new("q")).unwrap();
    peer.wrote();
    peer.send(1, basic::GetOk::new(1, false, "", "q", 0));
    peer.send_frames(&content(1, "large"));
    assert_eq!(peer.claim(fetching), Err(ChannelError::MessageTooLarge { size: 5, limit: 4 }.into()));
    assert_eq!(peer.wrote_method(), basic::Reject::new(1).into());
    assert_eq!(peer.channel(id).check(), Ok(()));
}

/// What a third party may publish: its octets, and what `properties()` and `headers()` make of them.
type Strange = (&'static str, Vec<u8>, Result<(), Malformed>, Result<(), Malformed>);

fn strange_properties() -> Vec<Strange> {
    const HEADERS: [u8; 2] = [0x20, 0];
    let headers = |table: &[u8]| [&HEADERS[..], &(table.len() as u32).to_be_bytes(), table].concat();
    let nested = |levels: usize| {
        let inner =
            (0..levels).fold(vec![b'V'], |inner, _| [&b"A"[..], &(inner.len() as u32).to_be_bytes(), &inner].concat());
        headers(&[&b"\x01x"[..], &inner].concat())
    };
    let truncated = || Err(Malformed::Truncated);
    let trailing = || Err(Malformed::TrailingOctets);
    let unknown = |letter| Err(Malformed::UnknownFieldType(letter));
    vec![
        ("text that is not UTF-8", [&[0x80, 0, 3][..], b"\xff\xfe\0"].concat(), Ok(()), Ok(())),
        ("a header name that is not UTF-8", headers(b"\x02\xff\xfeV"), Ok(()), Ok(())),
        ("an unknown value type", headers(b"\x01x?"), Ok(()), unknown(b'?')),
        ("the type letter U", headers(b"\x01xU\0\0"), Ok(()), unknown(b'U')),
        ("a truncated value", headers(b"\x01xI\0"), Ok(()), truncated()),
        ("a length beyond the table", headers(b"\x01xS\xff\xff\xff\xffx"), Ok(()), truncated()),
        ("26000 nested arrays", nested(26_000), Ok(()), Err(Malformed::TooDeep)),
        ("not a number", headers(b"\x01xd\x7f\xf8\0\0\0\0\0\0"), Ok(()), Ok(())),
        ("a second flag word", vec![0, 1, 0, 0], Err(Malformed::PropertyFlags), Err(Malformed::PropertyFlags)),
        ("the unused flag", vec![0, 2], Ok(()), Ok(())),
        ("truncated properties", vec![0x80, 0, 9, b'x'], truncated(), truncated()),
        ("octets behind the properties", vec![0, 0, 7], trailing(), trailing()),
        ("a table longer than the frame", [&HEADERS[..], b"\xff\xff\xff\xff"].concat(), truncated(), truncated()),
    ]
}

#[test]
fn what_a_third_party_published_is_an_error_of_the_accessor_only() {
    let (mut peer, _) = peer_with_consumer(Config::default());
    for (tag, (name, encoded, properties, headers)) in (1..).zip(strange_properties()) {
        peer.send(1, basic::Deliver::new("t", tag, false, "", Bytes::from_static(b"\xff\xfe\0")));
        let header = ContentHeader::with_encoded(5, Bytes::from(encoded.clone()));
        peer.send_frames(&[Frame::header(1, &header), body_frame(1, "hello")]);
        let Event::Delivery(delivery) = peer.event() else { panic!("{name}") };
        assert_eq!(delivery.properties().map(|_| ()), properties, "{name}");
        assert_eq!(delivery.headers().map(|_| ()), headers, "{name}");
        assert_eq!(delivery.encoded_properties(), &encoded, "{name}: the octets stay available");
        assert_eq!((delivery.body(), delivery.routing_key().as_bytes()), (&"hello".into(), &b"\xff\xfe\0"[..]));
        assert!(delivery.routing_key().as_str().is_err());
    }
    assert!(peer.client.is_open());
}

#[test]
fn bodies_keep_to_frame_max_and_header_frames_to_the_larger_limit() {
    // Agreed are 8192; the broker offers 131072.
    let (mut peer, _) = peer_with_consumer(Config::default().frame_max(8192));
    let body = "x".repeat(8192 - 8);
    peer.deliver(1, "t", 1, &body);
    assert!(matches!(peer.event(), Event::Delivery(_)));
    let headers = Table::new().with("large", "x".repeat(131_072 - 8 - 14 - 4 - 6 - 5).as_str());
    let header = |headers| ContentHeader::new(0, &Properties::new().headers(headers)).unwrap();
    peer.send(1, basic::Deliver::new("t", 2, false, "", "q"));
    let frame = Frame::header(1, &header(headers));
    assert_eq!(frame.payload.len() + 8, 131_072, "as large as it may be");
    peer.send_frame(&frame);
    let Event::Delivery(delivery) = peer.event() else { panic!("a delivery is due") };
    assert!(matches!(delivery.headers().unwrap().get("large"), Some(Value::LongString(_))));

    let too_large = [
        (body_frame(1, &(body + "x")), 8193, 8192),
        (header_frame(1, 0), 131_073, 131_072),
        (method_frame(1, basic::Ack::new(1)), 131_073, 131_072),
    ];
    for (frame, size, limit) in too_large {
        let (mut peer, _) = peer_with_consumer(Config::default().frame_max(8192));
        // The seven octets of the header are enough.
        let mut start = octets([&frame])[..3].to_vec();
        start.extend_from_slice(&(size as u32 - 8).to_be_bytes());
        peer.send_octets(&start);
        assert_eq!(peer.wrote(), ["0 connection.close"]);
        assert_eq!(peer.end(), Violation::FrameTooLarge { size, limit }.into());
    }
}

#[test]
fn defaults_are_legal_on_every_broker() {
    assert!(queue::Declare::new("q").durable && !queue::Declare::new("q").exclusive);
    assert!(queue::Declare::server_named().exclusive && queue::Declare::server_named().queue.is_empty());
    assert!(exchange::Declare::new("e", "topic").durable);
    assert!(!queue::Declare::new("q").transient().durable && !exchange::Declare::new("e", "topic").transient().durable);
    let mut peer = Peer::open();
    let id = peer.open_channel();
    let (mut recover, mut qos) = (basic::Recover::new(), basic::Qos::new(1));
    (recover.requeue, qos.prefetch_size) = (false, 1);
    for refused in [peer.channel(id).call(recover).err(), peer.channel(id).call(qos).err()] {
        assert!(matches!(refused, Some(Error::Misuse(Misuse::NotImplemented(_)))), "{refused:?}");
    }
    assert_eq!(peer.wrote(), [""; 0]);
}
