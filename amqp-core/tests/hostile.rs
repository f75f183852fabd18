//! Hostile servers: octets that are no frames, methods that nobody may send, and what happens after the first of them.

mod support;

use amqp_core::{
    ChannelId, Config, ConnectionError, Event, Violation,
    frame::{Frame, FrameKind},
    method::{AnyMethod, MethodId, ReplyCode, access, basic, channel, confirm, connection, exchange, queue, tx},
    wire::Malformed,
};
use bytes::{Bytes, BytesMut};

use self::support::{
    Peer, body_frame, content, hard_error, header_frame, method_frame, octets, script::told, soft_error, start, tune,
};

/// An open channel with a consumer `t`.
fn peer_with_consumer() -> (Peer, ChannelId) {
    let mut peer = Peer::open();
    let id = peer.open_channel();
    let consuming = peer.channel(id).call(basic::Consume::new("q").consumer_tag("t")).unwrap();
    peer.send(1, basic::ConsumeOk::new("t"));
    peer.claim(consuming).unwrap();
    peer.wrote();
    (peer, id)
}

/// The octets end the connection with one close of that code.
fn assert_violation(name: &str, octets: &[u8], code: ReplyCode, violation: &Violation) {
    let (mut peer, _) = peer_with_consumer();
    peer.send_octets(octets);
    let AnyMethod::ConnectionClose(close) = peer.wrote_method() else { panic!("{name}: a close is due") };
    assert_eq!(close.reply_code, code, "{name}");
    assert!(close.reply_text.len() > 10, "{name}: the reason is told");
    assert_eq!(peer.end(), ConnectionError::Violation(violation.clone()), "{name}");
}

#[test]
fn what_is_no_frame_is_a_frame_error() {
    let too_large = |size| Violation::FrameTooLarge { size, limit: 131_072 };
    let cases: Vec<(&str, &[u8], Violation)> = vec![
        ("no end octet", b"\x01\0\0\0\0\0\x04\0\x0a\0\x3d\xcd", Violation::FrameEnd(0xcd)),
        ("no end octet of a heartbeat", b"\x08\0\0\0\0\0\0\0", Violation::FrameEnd(0)),
        ("type 0", b"\0\0\0\0\0\0\0\xce", Violation::FrameType(0)),
        ("type 4", b"\x04\0\0\0\0\0\0\xce", Violation::FrameType(4)),
        ("type 9, nothing else yet", b"\x09", Violation::FrameType(9)),
        ("type 255", b"\xff\0\0\0\0\0\0\xce", Violation::FrameType(255)),
        ("the largest size there is", b"\x01\0\x01\xff\xff\xff\xff", too_large(0x1_0000_0007)),
        ("one octet too much", b"\x03\0\x01\0\x01\xff\xf9", too_large(131_073)),
        ("heartbeat with a payload", b"\x08\0\0\0\0\0\x01x\xce", Violation::Heartbeat),
        ("heartbeat on a channel", b"\x08\0\x01\0\0\0\0\xce", Violation::Heartbeat),
    ];
    for (name, octets, violation) in cases {
        assert_violation(name, octets, ReplyCode::FRAME_ERROR, &violation);
    }
}

fn payload(kind: FrameKind, channel: u16, payload: &[u8]) -> Vec<u8> {
    octets([&Frame { kind, channel, payload: Bytes::copy_from_slice(payload) }])
}

#[test]
fn methods_that_do_not_exist_are_command_errors() {
    for (class, method) in [(60, 999), (61, 10), (0, 0), (65535, 65535), (60, 202)] {
        let [a, b] = u16::to_be_bytes(class);
        let [c, d] = u16::to_be_bytes(method);
        let octets = payload(FrameKind::Method, 1, &[a, b, c, d]);
        let violation = Violation::UnknownMethod(MethodId::new(class, method));
        assert_violation("on a channel", &octets, ReplyCode::COMMAND_INVALID, &violation);
    }
    // The redirect of 0-8.
    let redirect = payload(FrameKind::Method, 0, b"\0\x0a\0\x2a\0\0");
    let violation = Violation::UnknownMethod(MethodId::new(10, 42));
    assert_violation("redirect", &redirect, ReplyCode::COMMAND_INVALID, &violation);
}

#[test]
fn methods_that_only_clients_send_are_command_errors() {
    let channel: [AnyMethod; 9] = [
        channel::Open::new().into(),
        exchange::Declare::new("e", "fanout").into(),
        queue::Declare::new("q").into(),
        basic::Publish::new("", "q").into(),
        basic::Consume::new("q").into(),
        basic::Get::new("q").into(),
        basic::Reject::new(1).into(),
        confirm::Select::new().into(),
        tx::Commit::new().into(),
    ];
    let connection: [AnyMethod; 3] = [
        connection::Open::new("/").into(),
        connection::TuneOk::new(1, 4096, 0).into(),
        connection::UpdateSecret::new("s", "r").into(),
    ];
    let frames = channel.map(|method| (1, method)).into_iter().chain(connection.map(|method| (0, method)));
    for (channel, method) in frames {
        let violation = Violation::UnexpectedMethod { method: method.id(), channel };
        let octets = octets([&method_frame(channel, method.clone())]);
        assert_violation(&format!("{method:?}"), &octets, ReplyCode::COMMAND_INVALID, &violation);
    }
}

#[test]
fn methods_on_the_wrong_kind_of_channel_end_the_connection() {
    let cases: [(u16, AnyMethod); 6] = [
        (0, channel::Close::new(ReplyCode::NOT_FOUND, "").into()),
        (0, basic::Deliver::new("t", 1, false, "", "").into()),
        (0, queue::DeclareOk::new("q", 0, 0).into()),
        (1, connection::Close::new(ReplyCode::CONNECTION_FORCED, "").into()),
        (1, connection::Blocked::new("").into()),
        (1, start().into()),
    ];
    for (channel, method) in cases {
        let (mut peer, _) = peer_with_consumer();
        peer.send(channel, method.clone());
        assert_eq!(peer.wrote(), ["0 connection.close"], "{method:?}");
        assert!(matches!(peer.end(), ConnectionError::Violation(_)), "{method:?}");
    }
}

/// One of each method that a server may send, with all its arguments filled in.
fn server_methods() -> Vec<(u16, AnyMethod)> {
    vec![
        (0, hard_error(ReplyCode::CONNECTION_FORCED).into()),
        (0, connection::Blocked::new("low on memory").into()),
        (1, channel::Flow::new(true).into()),
        (1, soft_error(ReplyCode::NOT_FOUND).into()),
        (1, channel::OpenOk::new().into()),
        (1, access::RequestOk::new(1).into()),
        (1, queue::DeclareOk::new("q", 1, 2).into()),
        (1, queue::PurgeOk::new(1).into()),
        (1, queue::DeleteOk::new(1).into()),
        (1, basic::ConsumeOk::new("t").into()),
        (1, basic::Cancel::new("t").into()),
        (1, basic::CancelOk::new("t").into()),
        (1, basic::Return::new(ReplyCode::NO_ROUTE, "NO_ROUTE", "logs", "key").into()),
        (1, basic::Deliver::new("t", 1, true, "logs", "key").into()),
        (1, basic::Ack::new(1).multiple().into()),
        (1, basic::Nack::new(1).into()),
    ]
}

#[test]
fn arguments_that_end_early_or_late_are_syntax_errors() {
    for (channel, method) in server_methods() {
        let whole = method_frame(channel, method.clone()).payload;
        let what = method.id().name().unwrap();
        for size in 4..whole.len() {
            let octets = payload(FrameKind::Method, channel, &whole[..size]);
            let violation = Violation::Malformed { what, error: Malformed::Truncated };
            assert_violation(&format!("{what} of {size} octets"), &octets, ReplyCode::SYNTAX_ERROR, &violation);
        }
        let octets = payload(FrameKind::Method, channel, &[&whole[..], &[0]].concat());
        let violation = Violation::Malformed { what, error: Malformed::TrailingOctets };
        assert_violation(what, &octets, ReplyCode::SYNTAX_ERROR, &violation);
    }
}

#[test]
fn frames_too_short_for_what_they_are_are_syntax_errors() {
    for size in 0..4 {
        let violation = Violation::Malformed { what: "method", error: Malformed::Truncated };
        let octets = payload(FrameKind::Method, 1, &[0; 4][..size]);
        assert_violation("method", &octets, ReplyCode::SYNTAX_ERROR, &violation);
    }
    for size in 4..14 {
        let header = [&[0, 60][..], &[0; 12]].concat();
        let frames = [
            octets([&method_frame(1, basic::Deliver::new("t", 1, false, "", ""))]),
            payload(FrameKind::Header, 1, &header[..size]),
        ];
        let violation = Violation::Malformed { what: "content header", error: Malformed::Truncated };
        assert_violation("header", &frames.concat(), ReplyCode::SYNTAX_ERROR, &violation);
    }
}

#[test]
fn lengths_in_the_greeting_that_lie_end_the_handshake() {
    let version: &[u8] = &[0, 10, 0, 10, 0, 9];
    let starts: [(&str, Vec<u8>, Malformed); 4] = [
        ("mechanisms", [version, &[0; 4], &[0xff; 4]].concat(), Malformed::Truncated),
        ("properties", [version, &[0, 0, 1, 0]].concat(), Malformed::Truncated),
        ("a table of 4 GiB", [version, &[0xff; 4]].concat(), Malformed::TableTooLarge),
        ("depth", [version, &nested_tables(100)].concat(), Malformed::TooDeep),
    ];
    for (name, start, error) in starts {
        let mut peer = Peer::greeted(Config::default());
        peer.send_octets(&payload(FrameKind::Method, 0, &start));
        assert_eq!(peer.wrote(), [""; 0], "{name}");
        let violation = Violation::Malformed { what: "connection.start", error };
        assert_eq!(peer.end(), ConnectionError::Violation(violation), "{name}");
    }
}

fn nested_tables(levels: usize) -> Vec<u8> {
    let table = |inner: &[u8]| [&(inner.len() as u32).to_be_bytes(), inner].concat();
    table(&(0..levels).fold(Vec::new(), |inner, _| [b"\x01tF", &table(&inner)[..]].concat()))
}

#[test]
fn unused_bits_and_odd_texts_are_taken() {
    let (mut peer, id) = peer_with_consumer();
    // Deliver with all eight bits set, and a routing key with a zero octet.
    let deliver = b"\0\x3c\0\x3c\x01t\0\0\0\0\0\0\0\x01\xff\0\x03a\0b";
    peer.send_octets(&payload(FrameKind::Method, 1, deliver));
    peer.send_frames(&content(1, ""));
    let Event::Delivery(delivery) = peer.event() else { panic!("a delivery is due") };
    assert!(delivery.redelivered());
    assert_eq!(delivery.routing_key().as_bytes(), b"a\0b");
    // Texts that are not UTF-8.
    peer.send(1, channel::Close::new(ReplyCode(65535), Bytes::from_static(b"caf\xe9")));
    let Event::ChannelClosed { channel, error } = peer.event() else { panic!("the end is due") };
    let close = amqp_core::Error::Channel(error);
    let close = close.close().expect("the broker closed it");
    assert_eq!((channel, close.code.0, &*close.text, close.method), (id, 65535, "caf\u{fffd}", None));
    peer.send(0, connection::Blocked::new(Bytes::from_static(&[0xff; 255])));
    assert!(matches!(peer.event(), Event::Blocked { .. }));
}

#[test]
fn reply_codes_and_methods_that_nobody_knows_are_passed_on() {
    for (code, class, method) in [(0, 0, 0), (65535, 65535, 65535), (404, 99, 1)] {
        let mut peer = Peer::open();
        let mut close = hard_error(ReplyCode(code));
        (close.class_id, close.method_id) = (class, method);
        peer.send(0, close);
        assert_eq!(peer.wrote(), ["0 connection.close-ok"]);
        let ConnectionError::ClosedByBroker(close) = peer.end() else { panic!("the broker closed it") };
        assert_eq!(close.code, ReplyCode(code));
        assert_eq!(close.method, (class != 0).then_some(MethodId::new(class, method)));
    }
}

#[test]
fn answers_to_consume_and_cancel_of_unknown_tags_are_tolerated() {
    for answer in [AnyMethod::from(basic::CancelOk::new("nobody")), basic::ConsumeOk::new("nobody").into()] {
        let (mut peer, _) = peer_with_consumer();
        peer.send(1, answer);
        assert!(peer.client.is_open(), "{:?}", peer.client.fault());
    }
}

#[test]
fn answers_that_nobody_waits_for_end_the_connection() {
    let answers: [AnyMethod; 6] = [
        basic::QosOk::new().into(),
        queue::DeclareOk::new("q", 0, 0).into(),
        basic::GetEmpty::new().into(),
        basic::GetOk::new(1, false, "", "q", 0).into(),
        tx::CommitOk::new().into(),
        channel::CloseOk::new().into(),
    ];
    for answer in answers {
        let violation = Violation::UnexpectedReply { method: answer.id(), channel: 1 };
        let octets = octets([&method_frame(1, answer)]);
        assert_violation("an answer", &octets, ReplyCode::UNEXPECTED_FRAME, &violation);
    }
}

/// Ways to end a connection for good.
fn ends() -> Vec<(&'static str, Peer)> {
    let (mut violated, _) = peer_with_consumer();
    violated.send_octets(b"\xff");
    let (mut closed, _) = peer_with_consumer();
    closed.close_connection(ReplyCode::CONNECTION_FORCED);
    let (mut lost, _) = peer_with_consumer();
    let now = lost.instant();
    lost.client.disconnected(amqp_core::Cause::end_of_stream(), now);
    let (mut ours, _) = peer_with_consumer();
    ours.client.close(ReplyCode::REPLY_SUCCESS, "");
    ours.send(0, connection::CloseOk::new());
    let mut refused = Peer::greeted(Config::default());
    refused.send_octets(b"HTTP/1.1 400 Bad Request");
    vec![("violated", violated), ("closed", closed), ("lost", lost), ("closed by us", ours), ("refused", refused)]
}

#[test]
fn nothing_is_said_or_told_after_the_end() {
    let frames: Vec<Frame> = vec![
        method_frame(0, hard_error(ReplyCode::CONNECTION_FORCED)),
        method_frame(1, soft_error(ReplyCode::NOT_FOUND)),
        method_frame(1, channel::Flow::new(false)),
        method_frame(0, start()),
        method_frame(0, tune()),
        method_frame(0, connection::OpenOk::new()),
        method_frame(9, basic::Ack::new(1)),
        body_frame(0, "x"),
        header_frame(1, 1),
    ];
    for (name, mut peer) in ends() {
        peer.wrote();
        assert_eq!(told(&peer.events()).len(), 1, "{name}");
        for frame in &frames {
            let now = peer.instant();
            peer.client.receive(&mut BytesMut::from(&octets([frame])[..]), now);
            assert_eq!((peer.wrote(), told(&peer.events())), (vec![], vec![]), "{name}: {frame:?}");
        }
        let mut rubbish = BytesMut::from(&b"rubbish"[..]);
        let now = peer.instant();
        peer.client.receive(&mut rubbish, now);
        assert!(rubbish.is_empty(), "{name}: nothing piles up");
        peer.client.close(ReplyCode::REPLY_SUCCESS, "");
        peer.pass(std::time::Duration::from_secs(3600));
        assert_eq!((peer.wrote(), told(&peer.events())), (vec![], vec![]), "{name}");
    }
}

#[test]
fn nothing_is_said_or_told_after_the_end_to_a_driver_that_decodes_for_itself() {
    for (name, mut peer) in ends() {
        peer.wrote();
        peer.events();
        let now = peer.instant();
        peer.client.handle(method_frame(0, hard_error(ReplyCode::CONNECTION_FORCED)), now);
        peer.client.handle(method_frame(1, soft_error(ReplyCode::NOT_FOUND)), now);
        assert_eq!((peer.wrote(), told(&peer.events())), (vec![], vec![]), "{name}");
    }
}

#[test]
fn a_violation_while_closing_sends_no_second_close() {
    let (mut peer, _) = peer_with_consumer();
    peer.client.close(ReplyCode::REPLY_SUCCESS, "");
    assert_eq!(peer.wrote(), ["0 connection.close"]);
    peer.send_octets(b"\xff");
    assert_eq!(peer.wrote(), [""; 0]);
    assert_eq!(peer.end(), ConnectionError::Violation(Violation::FrameType(255)));
}

#[test]
fn a_flood_of_heartbeats_costs_no_memory() {
    let (mut peer, _) = peer_with_consumer();
    peer.send_octets(&octets([&Frame::heartbeat()]).repeat(100_000));
    assert_eq!((peer.events().len(), peer.wrote().len()), (0, 0));
    assert!(peer.client.is_open());
}

#[test]
fn empty_body_frames_without_end_change_nothing() {
    let (mut peer, _) = peer_with_consumer();
    peer.send(1, basic::Deliver::new("t", 1, false, "", "q"));
    peer.send_frame(&header_frame(1, 1));
    peer.send_octets(&octets([&body_frame(1, "")]).repeat(100_000));
    assert_eq!(peer.events(), []);
    peer.send_frame(&body_frame(1, "x"));
    assert_eq!(told(&peer.events()), ["1 delivery 1 for t: x"]);
}

#[test]
fn a_table_of_sixty_thousand_entries_is_only_looked_at_on_demand() {
    let (mut peer, _) = peer_with_consumer();
    // An empty name and a void value: two octets each.
    let table = [&120_000_u32.to_be_bytes()[..], &b"\0V".repeat(60_000)].concat();
    let header = [&[0, 60, 0, 0][..], &[0; 8], &[0x20, 0], &table].concat();
    peer.send(1, basic::Deliver::new("t", 1, false, "", "q"));
    peer.send_octets(&payload(FrameKind::Header, 1, &header));
    let Event::Delivery(delivery) = peer.event() else { panic!("a delivery is due") };
    assert_eq!(delivery.headers().map(|table| table.len()), Ok(60_000));
}
