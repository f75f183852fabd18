//! The codec against `golden.tsv`: frames made by RabbitMQ's own encoder, every method with its bits clear and set,
//! and properties one by one.

use std::collections::HashSet;

use amqp_core::{
    Violation,
    frame::{ContentHeader, Decoder, Frame, FrameKind, FrameLimits},
    method::{AnyMethod, Properties, connection, queue},
    wire::{Malformed, Table},
};
use bytes::{Bytes, BytesMut};

const LIMITS: FrameLimits = FrameLimits { body: 131_072, other: 131_072 };

/// A row of the table.
struct Vector {
    kind: &'static str,
    name: &'static str,
    variant: &'static str,
    octets: Vec<u8>,
}

fn vectors() -> impl Iterator<Item = Vector> {
    include_str!("golden.tsv").lines().filter(|line| !line.starts_with('#')).map(|line| {
        let mut cells = line.split('\t');
        let mut cell = || cells.next().expect("five columns");
        Vector { kind: cell(), name: cell(), variant: cell(), octets: unhex(cell()) }
    })
}

fn unhex(digits: &str) -> Vec<u8> {
    let octet = |at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal");
    (0..digits.len()).step_by(2).map(octet).collect()
}

/// All frames in these octets.
fn decode(octets: &[u8]) -> Vec<Frame> {
    let mut decoder = Decoder::new(LIMITS);
    let mut input = BytesMut::from(octets);
    let frames = std::iter::from_fn(|| decoder.decode(&mut input).expect("a legal frame")).collect();
    assert!(input.is_empty(), "half a frame is left");
    frames
}

/// Decodes what the frame carries and builds the frame anew from that.
fn rebuild(frame: &Frame) -> Frame {
    match frame.kind {
        FrameKind::Method => Frame::method(frame.channel, &frame.decode_method().unwrap()).unwrap(),
        FrameKind::Header => {
            let header = frame.decode_header().unwrap();
            let properties = header.properties().unwrap();
            Frame::header(frame.channel, &ContentHeader::new(header.body_size, &properties).unwrap())
        }
        FrameKind::Body => Frame::body(frame.channel, frame.payload.clone()),
        FrameKind::Heartbeat => Frame::heartbeat(),
    }
}

fn only_method(vector: &Vector) -> (Frame, AnyMethod) {
    let frame = decode(&vector.octets).remove(0);
    let method = frame.decode_method().unwrap();
    (frame, method)
}

#[test]
fn every_frame_comes_back_octet_for_octet() {
    for vector in vectors().filter(|vector| !is_reserved(vector)) {
        let mut out = BytesMut::new();
        for frame in decode(&vector.octets) {
            rebuild(&frame).encode(&mut out);
        }
        assert_eq!(out, vector.octets, "{} {} {}", vector.kind, vector.name, vector.variant);
    }
}

/// The one vector with something in a reserved field: `insist` of connection.open.
fn is_reserved(vector: &Vector) -> bool {
    (vector.name, vector.variant) == ("connection.open", "ones")
}

#[test]
fn a_reserved_field_is_dropped() {
    let set = vectors().find(is_reserved).expect("a row with insist set");
    let clear = vectors().find(|vector| vector.name == "connection.open").expect("a row with insist clear");
    assert_ne!(set.octets, clear.octets);
    assert_eq!(rebuild(&decode(&set.octets)[0]), decode(&clear.octets)[0]);
}

#[test]
fn every_method_is_covered_and_named() {
    let mut names = HashSet::new();
    for vector in vectors().filter(|vector| vector.kind == "method") {
        let (_, method) = only_method(&vector);
        assert_eq!((method.name(), method.id().name()), (vector.name, Some(vector.name)));
        names.insert(vector.name);
    }
    assert_eq!(names.len(), 66);
}

#[test]
fn a_method_cut_short_or_followed_by_something_is_malformed() {
    for vector in vectors().filter(|vector| vector.kind == "method") {
        let (mut frame, _) = only_method(&vector);
        let whole = frame.payload.clone();
        let error = |frame: &Frame| match frame.decode_method() {
            Err(Violation::Malformed { error, .. }) => error,
            other => panic!("{}: {other:?}", vector.name),
        };
        for end in 0..whole.len() {
            frame.payload = whole.slice(..end);
            assert_eq!(error(&frame), Malformed::Truncated, "{} cut after {end}", vector.name);
        }
        frame.payload = [&whole[..], b"\0"].concat().into();
        assert_eq!(error(&frame), Malformed::TrailingOctets, "{}", vector.name);
    }
}

#[test]
fn only_messages_have_content() {
    let with_content: HashSet<_> = vectors()
        .filter(|vector| vector.kind == "method" && only_method(vector).1.has_content())
        .map(|vector| vector.name)
        .collect();
    assert_eq!(with_content, HashSet::from(["basic.publish", "basic.return", "basic.deliver", "basic.get-ok"]));
}

#[test]
fn every_method_has_a_sender_and_only_servers_answer_with_content() {
    for vector in vectors().filter(|vector| vector.kind == "method") {
        let (_, method) = only_method(&vector);
        assert!(method.sent_by_client() || method.sent_by_server(), "{}", vector.name);
        assert_eq!(method.is_reply(), vector.name.ends_with("-ok") || vector.name == "basic.get-empty");
        assert!(!(method.is_reply() && method.has_content() && method.sent_by_client()), "{}", vector.name);
    }
}

#[test]
fn each_property_stands_alone() {
    let header = |variant: &str| {
        let vector = vectors().find(|vector| vector.variant == variant).expect("a row of that name");
        decode(&vector.octets)[0].decode_header().unwrap().properties().unwrap()
    };
    let headers = Table::new().with("k", "v");
    assert_eq!(header("only-3").headers.expect("headers").table(), Ok(headers));
    assert_eq!(header("empty"), Properties::new());
    assert_eq!(header("only-1"), Properties::new().content_type("x"));
    assert_eq!(header("only-5"), Properties::new().priority(7));
    assert_eq!(header("only-7"), Properties::new().reply_to("x"));
    assert_eq!(header("only-9"), Properties::new().message_id("x"));
    assert_eq!(header("only-11"), Properties::new().kind("x"));
    assert_eq!(header("only-13"), Properties::new().app_id("x"));
}

#[test]
fn all_properties_survive_together() {
    let all = Properties::new()
        .content_type("text/plain")
        .content_encoding("gzip")
        .headers(Table::new().with("answer", 42))
        .persistent()
        .priority(9)
        .correlation_id("c")
        .reply_to("r")
        .expiration("60000")
        .message_id("m")
        .timestamp(u64::MAX)
        .kind("k")
        .user_id("guest")
        .app_id("a")
        .cluster_id("");
    let header = ContentHeader::new(7, &all).unwrap();
    assert_eq!(header.properties[..2], [0xff, 0xfc]);
    let mut decoded = header.properties().unwrap();
    assert_eq!(ContentHeader::new(7, &decoded), Ok(header));
    let headers = decoded.headers.expect("headers").table();
    assert_eq!(headers, Ok(Table::new().with("answer", 42)));
    decoded.headers = all.headers.clone();
    assert_eq!(decoded, all);
}

#[test]
fn the_unused_flag_is_ignored_and_a_second_word_is_malformed() {
    let mut header = ContentHeader::new(0, &Properties::new()).unwrap();
    header.properties = Bytes::from_static(b"\x00\x02");
    assert_eq!(header.properties(), Ok(Properties::new()));
    header.properties = Bytes::from_static(b"\x00\x01\x00\x00");
    assert_eq!(header.properties(), Err(Malformed::PropertyFlags));
}

#[test]
fn a_method_converts_to_any_and_back() {
    let declare = queue::Declare::new("q").transient().exclusive().arguments(Table::new().with("x-max-length", 1));
    let any = AnyMethod::from(declare.clone());
    assert_eq!(queue::Declare::try_from(any.clone()), Ok(declare));
    assert_eq!(queue::Delete::try_from(any.clone()), Err(any));
}

#[test]
fn debug_shows_no_secret() {
    let secrets = [
        format!("{:?}", connection::StartOk::new(Table::new(), "PLAIN", "\0guest\0hunter2", "en_US")),
        format!("{:?}", connection::SecureOk::new("hunter2")),
        format!("{:?}", AnyMethod::from(connection::UpdateSecret::new("hunter2", "expired"))),
    ];
    assert!(secrets.iter().all(|shown| !shown.contains("hunter2") && shown.contains("..")), "{secrets:?}");
}
