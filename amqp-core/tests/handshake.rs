//! The handshake: what is sent in it, and every way in which it can fail.

mod support;

use std::time::Duration;

use amqp_core::{
    Cause, Config, ConnectionError, Error, Event, Misuse, Violation,
    config::MIN_FRAME_SIZE,
    error::{Greeting, ProtocolVersion, Stage},
    method::{AnyMethod, MethodId, ReplyCode, channel, connection},
    sasl::Sasl,
    wire::{Table, Value},
};

use self::support::{Peer, octets, start, tune};

#[test]
fn each_step_is_answered_and_the_connection_opens() {
    let mut peer = Peer::greeted(Config::default().vhost("orders"));
    assert_eq!(peer.wrote(), [""; 0]);
    peer.send(0, start());
    assert_eq!(peer.wrote(), ["0 connection.start-ok"]);
    assert_eq!(peer.client.server_properties(), &start().server_properties);
    peer.send(0, tune());
    let frames = peer.frames();
    assert_eq!(frames[0].decode_method(), Ok(connection::TuneOk::new(2047, 131_072, 60).into()));
    assert_eq!(frames[1].decode_method(), Ok(connection::Open::new("orders").into()));
    assert_eq!(peer.events(), []);
    assert_eq!(peer.client.open_channel().err(), Some(Error::Misuse(Misuse::NotOpenYet)));
    peer.send(0, connection::OpenOk::new());
    assert_eq!(peer.event(), Event::Opened);
    assert!(peer.client.is_open());
    assert_eq!(peer.wrote(), [""; 0]);
}

#[test]
fn start_ok_carries_the_login_and_the_capabilities() {
    let config = Config::default().login("me", "secret").connection_name("billing");
    let mut peer = Peer::logging_in(config);
    let AnyMethod::ConnectionStartOk(answer) = peer.wrote_method() else { panic!("start-ok is due") };
    assert_eq!((answer.mechanism, answer.locale), ("PLAIN".into(), "en_US".into()));
    assert_eq!(&answer.response[..], b"\0me\0secret");
    assert_eq!(answer.client_properties.get("connection_name"), Some(&Value::from("billing")));
    let capabilities = answer.client_properties.get("capabilities").and_then(Value::as_table).unwrap();
    for name in [
        "authentication_failure_close",
        "consumer_cancel_notify",
        "connection.blocked",
        "publisher_confirms",
        "basic.nack",
        "exchange_exchange_bindings",
        "per_consumer_qos",
    ] {
        assert_eq!(capabilities.get(name), Some(&Value::Bool(true)), "{name}");
    }
}

#[test]
fn the_first_common_mechanism_is_chosen() {
    let mut peer = Peer::greeted(Config::default().mechanisms([Sasl::External, Sasl::amq_plain("u", "p")]));
    peer.send(0, start());
    let AnyMethod::ConnectionStartOk(answer) = peer.wrote_method() else { panic!("start-ok is due") };
    assert_eq!(answer.mechanism, "AMQPLAIN");
}

#[test]
fn tune_ok_never_exceeds_the_offer() {
    // offer, channel_max and frame_max wanted, tune-ok
    let cases = [
        ((2047, 131_072, 60), (0, 0), (2047, 131_072, 60)),
        ((2047, 131_072, 60), (10, 8192), (10, 8192, 60)),
        ((100, 8192, 300), (2000, 131_072), (100, 8192, 60)),
        ((0, 0, 0), (0, 0), (65535, 131_072, 60)),
    ];
    for ((channels, frames, heartbeat), (channel_max, frame_max), (a, b, c)) in cases {
        let config = Config::default().channel_max(channel_max).frame_max(frame_max);
        let mut peer = Peer::opening(config, connection::Tune::new(channels, frames, heartbeat));
        let answer = peer.frames()[1].decode_method();
        assert_eq!(answer, Ok(connection::TuneOk::new(a, b, c).into()));
        assert_eq!(peer.client.tuning().channel_max, a);
    }
}

/// Greetings that are no connection.start.
fn foreign_greetings() -> Vec<(&'static [u8], ConnectionError)> {
    let other = |version| ConnectionError::OtherProtocol(ProtocolVersion(version));
    vec![
        (b"AMQP\0\0\x09\x01", other([0, 0, 9, 1])),
        (b"AMQP\x03\x01\0\0", other([3, 1, 0, 0])),
        (b"AMQP\x01\x01\x08\0", other([1, 1, 8, 0])),
        (b"APQM\0\0\x09\x01", ConnectionError::NotAmqp(Greeting::Other(*b"APQM"))),
        (b"HTTP/1.1 400 Bad Request\r\n", ConnectionError::NotAmqp(Greeting::Http)),
        (b"\x15\x03\x03\0\x02\x02\x0a", ConnectionError::NotAmqp(Greeting::Tls)),
        (b"\x16\x03\x01\0\x05abcde", ConnectionError::NotAmqp(Greeting::Tls)),
        (b"SSH-2.0-OpenSSH_9.6\r\n", ConnectionError::NotAmqp(Greeting::Ssh)),
        (b"220 smtp ready\r\n", ConnectionError::NotAmqp(Greeting::Other(*b"220 "))),
        (b"\xde\xad\xbe\xef", ConnectionError::NotAmqp(Greeting::Other([0xde, 0xad, 0xbe, 0xef]))),
    ]
}

#[test]
fn what_is_no_amqp_server_is_named() {
    for (greeting, expected) in foreign_greetings() {
        let mut peer = Peer::greeted(Config::default());
        peer.send_octets(greeting);
        assert_eq!(peer.wrote(), [""; 0]);
        assert_eq!(peer.end(), expected);
    }
}

#[test]
fn what_is_no_amqp_server_is_named_also_when_it_comes_octet_by_octet() {
    for (greeting, expected) in foreign_greetings() {
        let mut peer = Peer::greeted(Config::default());
        let mut input = bytes::BytesMut::new();
        for octet in greeting {
            input.extend_from_slice(&[*octet]);
            let now = peer.instant();
            peer.client.receive(&mut input, now);
        }
        assert_eq!(peer.end(), expected);
    }
}

#[test]
fn refusals_are_told_apart() {
    // code, stage, variant
    let cases = [
        (ReplyCode::ACCESS_REFUSED, "login", "AuthenticationRefused"),
        (ReplyCode::CONNECTION_FORCED, "login", "ClosedByBroker"),
        (ReplyCode::NOT_ALLOWED, "opening", "VirtualHostRefused"),
        (ReplyCode::ACCESS_REFUSED, "opening", "VirtualHostRefused"),
        (ReplyCode::NOT_FOUND, "opening", "VirtualHostRefused"),
        (ReplyCode::INTERNAL_ERROR, "opening", "ClosedByBroker"),
    ];
    for (code, stage, variant) in cases {
        let mut peer = match stage {
            "login" => Peer::logging_in(Config::default()),
            _ => Peer::opening(Config::default(), tune()),
        };
        peer.wrote();
        peer.close_connection(code);
        assert_eq!(peer.wrote(), ["0 connection.close-ok"], "{code}");
        let error = peer.end();
        let (found, close) = match &error {
            ConnectionError::AuthenticationRefused(close) => ("AuthenticationRefused", close),
            ConnectionError::VirtualHostRefused(close) => ("VirtualHostRefused", close),
            ConnectionError::ClosedByBroker(close) => ("ClosedByBroker", close),
            other => panic!("{other:?}"),
        };
        assert_eq!((found, close.code), (variant, code));
        assert_eq!(close.text, "something is very wrong");
        assert_eq!(close.method, Some(MethodId::new(60, 40)));
    }
}

#[test]
fn a_hang_up_says_what_was_probably_refused() {
    let cause = || Cause::end_of_stream();
    let config = Config::default;
    let cases = [
        (Peer::greeted(config()), ConnectionError::Disconnected { stage: Stage::Greeting, cause: cause() }),
        (Peer::logging_in(config()), ConnectionError::AuthenticationProbablyRefused(cause())),
        (Peer::opening(config(), tune()), ConnectionError::TuningProbablyRefused(cause())),
        (Peer::open(), ConnectionError::Disconnected { stage: Stage::Open, cause: cause() }),
    ];
    for (mut peer, expected) in cases {
        let now = peer.instant();
        peer.client.disconnected(cause(), now);
        assert_eq!(peer.end(), expected);
        assert!(!peer.client.wants_write(), "there is nobody to write to");
    }
}

#[test]
fn no_common_mechanism_names_both_sides() {
    for offered in ["", "PLAINX GSSAPI"] {
        let mut peer = Peer::greeted(Config::default());
        peer.send(0, connection::Start::new(0, 9, Table::new(), offered, "en_US"));
        assert_eq!(peer.wrote(), [""; 0]);
        let (offered, wanted) = (offered.into(), "PLAIN".into());
        assert_eq!(peer.end(), ConnectionError::NoCommonMechanism { offered, wanted });
    }
}

#[test]
fn a_version_other_than_0_9_is_refused() {
    for (major, minor) in [(8, 0), (1, 0), (0, 10), (0, 8)] {
        let mut peer = Peer::greeted(Config::default());
        peer.send(0, connection::Start::new(major, minor, Table::new(), "PLAIN", "en_US"));
        assert_eq!(peer.wrote(), [""; 0]);
        assert_eq!(peer.end(), ConnectionError::Violation(Violation::Version { major, minor }));
    }
}

#[test]
fn a_frame_max_below_the_minimum_is_refused() {
    for offered in [1, 7, 8, 4095] {
        let mut peer = Peer::opening(Config::default(), connection::Tune::new(2047, offered, 60));
        assert_eq!(peer.wrote(), ["0 connection.start-ok"], "no tune-ok");
        assert_eq!(peer.end(), ConnectionError::FrameMaxTooSmall { offered, minimum: MIN_FRAME_SIZE });
    }
}

#[test]
fn a_login_without_end_is_given_up() {
    let mut peer = Peer::greeted(Config::default().mechanisms([Sasl::cr_demo("u", "p")]));
    peer.send(0, connection::Start::new(0, 9, Table::new(), "RABBIT-CR-DEMO", "en_US"));
    let challenge = || connection::Secure::new("Please tell me your password");
    peer.send(0, challenge());
    assert_eq!(peer.wrote(), ["0 connection.start-ok", "0 connection.secure-ok"]);
    let mut rounds = 1;
    while !peer.client.is_closed() {
        peer.send(0, challenge());
        rounds += 1;
        assert!(rounds < 20, "the login goes on for ever");
    }
    assert_eq!(peer.end(), ConnectionError::UnexpectedChallenge);
}

#[test]
fn the_password_is_not_sent_a_second_time() {
    let mut peer = Peer::logging_in(Config::default());
    peer.wrote();
    peer.send(0, connection::Secure::new("again, please"));
    assert_eq!(peer.wrote(), [""; 0]);
    assert_eq!(peer.end(), ConnectionError::UnexpectedChallenge);
}

#[test]
fn silence_ends_the_handshake_at_the_configured_time() {
    let after = Duration::from_millis(2500);
    let config = || Config::default().handshake_timeout(after);
    let cases = [
        (Peer::greeted(config()), Stage::Greeting),
        (Peer::logging_in(config()), Stage::Login),
        (Peer::opening(config(), tune()), Stage::Opening),
    ];
    for (mut peer, stage) in cases {
        peer.pass(after - Duration::from_millis(1));
        assert!(!peer.client.is_closed(), "{stage}");
        // Single octets do not prolong it.
        let now = peer.instant();
        peer.client.receive(&mut bytes::BytesMut::from(&b"\x01\0"[..]), now);
        peer.pass(Duration::from_millis(1));
        assert_eq!(peer.end(), ConnectionError::HandshakeTimeout { stage, after });
    }
}

#[test]
fn the_handshake_timeout_ends_with_the_handshake() {
    let mut peer = Peer::tuned(Config::default().heartbeat(0), tune());
    peer.pass(Duration::from_secs(3600));
    assert!(peer.client.is_open());
}

#[test]
fn methods_out_of_turn_end_the_handshake_without_a_word() {
    let config = Config::default;
    let unexpected: [(Peer, AnyMethod); 8] = [
        (Peer::greeted(config()), tune().into()),
        (Peer::greeted(config()), connection::OpenOk::new().into()),
        (Peer::logging_in(config()), start().into()),
        (Peer::logging_in(config()), connection::OpenOk::new().into()),
        (Peer::logging_in(config()), connection::CloseOk::new().into()),
        (Peer::opening(config(), tune()), tune().into()),
        (Peer::opening(config(), tune()), connection::Secure::new("?").into()),
        (Peer::opening(config(), tune()), connection::Blocked::new("low on memory").into()),
    ];
    for (mut peer, method) in unexpected {
        peer.wrote();
        peer.send(0, method.clone());
        assert_eq!(peer.wrote(), [""; 0], "{method:?}");
        let violation = Violation::UnexpectedMethod { method: method.id(), channel: 0 };
        assert_eq!(peer.end(), ConnectionError::Violation(violation));
    }
}

#[test]
fn methods_of_the_handshake_are_violations_once_it_is_done() {
    let methods: [AnyMethod; 4] =
        [start().into(), tune().into(), connection::OpenOk::new().into(), connection::CloseOk::new().into()];
    for method in methods {
        let mut peer = Peer::open();
        peer.send(0, method.clone());
        let AnyMethod::ConnectionClose(close) = peer.wrote_method() else { panic!("a close is due") };
        assert_eq!(close.reply_code, ReplyCode::COMMAND_INVALID);
        let violation = Violation::UnexpectedMethod { method: method.id(), channel: 0 };
        assert_eq!(peer.end(), ConnectionError::Violation(violation));
    }
}

#[test]
fn a_channel_frame_in_the_handshake_ends_it() {
    let mut peer = Peer::logging_in(Config::default());
    peer.wrote();
    peer.send(1, channel::OpenOk::new());
    assert_eq!(peer.wrote(), [""; 0]);
    assert_eq!(peer.end(), ConnectionError::Violation(Violation::ChannelNotOpen(1)));
}

#[test]
fn a_start_ok_that_does_not_fit_the_smallest_frame_is_not_sent() {
    let mut peer = Peer::logging_in(Config::default().client_property("essay", "x".repeat(4096).as_str()));
    assert_eq!(peer.wrote(), [""; 0]);
    let ConnectionError::Misuse(Misuse::FrameTooLarge { size, limit: 4096 }) = peer.end() else {
        panic!("the frame is too large")
    };
    assert!((4097..5000).contains(&size), "{size}");
}

#[test]
fn a_start_ok_of_exactly_the_smallest_frame_is_sent() {
    let size_with = |length: usize| {
        let mut peer = Peer::logging_in(Config::default().client_property("essay", "x".repeat(length).as_str()));
        octets(&peer.frames()).len()
    };
    let rest = 4096 - size_with(0);
    assert_eq!((size_with(rest), size_with(rest + 1)), (4096, 0));
}

#[test]
fn a_virtual_host_that_is_too_long_is_found_before_the_limits_are_agreed() {
    let mut peer = Peer::opening(Config::default().vhost("v".repeat(256)), tune());
    assert_eq!(peer.wrote(), ["0 connection.start-ok"]);
    let (field, length, limit) = ("virtual_host", 256, 255);
    assert_eq!(peer.end(), ConnectionError::Misuse(Misuse::ShortStringTooLong { field, length, limit }));
}

#[test]
fn closing_in_the_handshake_ends_it_at_once() {
    let mut peer = Peer::logging_in(Config::default());
    peer.wrote();
    peer.client.close(ReplyCode::REPLY_SUCCESS, "never mind");
    assert_eq!(peer.wrote(), [""; 0]);
    assert_eq!(peer.end(), ConnectionError::Closed);
}

#[test]
fn the_greeting_may_be_as_large_as_a_broker_makes_it() {
    let large = Table::new().with("information", "x".repeat(100_000).as_str());
    let mut peer = Peer::greeted(Config::default());
    peer.send(0, connection::Start::new(0, 9, large, "PLAIN", "en_US"));
    assert_eq!(peer.wrote(), ["0 connection.start-ok"]);
}
