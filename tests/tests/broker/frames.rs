//! Frames that are none, and frames out of order: the errors that end the connection.

use amqp_core::method::basic;

use crate::support::{body, header, on, raw_frame};

/// A content header for a body of `size` octets, with any class and weight and no properties.
fn odd_header(class: u8, weight: u8, size: u8) -> bytes::BytesMut {
    raw_frame(2, 1, &[0, class, 0, weight, 0, 0, 0, 0, 0, 0, 0, size, 0, 0])
}

cases! {
    fn frames_that_are_none_are_shown_to_their_sender(world) {
        let cases: [(&[u8], &str); 7] = [
            (&raw_frame(9, 1, b""), "type 9, all octets = <<>>: unknown_frame"),
            (&raw_frame(0, 1, b"x"), "type 0, all octets = <<\"x\">>: unknown_frame"),
            (&raw_frame(1, 1, b"\0\x14"), "type 1, all octets = <<0,20>>: unknown_frame"),
            (&raw_frame(2, 1, b""), "type 2, all octets = <<>>: unknown_frame"),
            (&raw_frame(8, 0, b"x"), "type 8, all octets = <<\"x\">>: unknown_frame"),
            (b"\x01\0\x01\0\0\0\x05\0\x14\0\x0a\0\0", "type 1, all octets = <<0,20,0,10,0>>: {invalid_frame_end_marker,0}"),
            (b"\x01\0\x01\xff\xff\xff\xff", "type 1, all octets = <<>>: {frame_too_large,4294967295,131064}"),
        ];
        for (octets, words) in cases {
            let mut client = world.open();
            client.raw(octets);
            client.sees(&[&format!("0 connection.close 501 - FRAME_ERROR - {words}")]);
        }
    }

    fn frames_on_the_wrong_channel_are_unexpected(world) {
        let cases = [
            (raw_frame(8, 1, b""), "type 8, all octets = <<>>"),
            (raw_frame(3, 0, b"a"), "type 3, all octets = <<\"a\">>"),
            (header(9, 0, b"\0\0"), "expected method frame, got non method frame instead"),
            (body(1, "x"), "expected method frame, got non method frame instead"),
        ];
        for (frame, words) in cases {
            world.open().send(&[frame], &[&format!("0 connection.close 505 - UNEXPECTED_FRAME - {words}")]);
        }
    }

    fn arguments_must_fit_their_method_exactly(world) {
        let whole = on(1, amqp_core::method::queue::Declare::new("q").transient().passive());
        let payload = &whole[7..whole.len() - 1];
        let error = |arguments: &str| format!("0 connection.close 501 queue.declare FRAME_ERROR - cannot decode <<{arguments}>>");
        let longer = [payload, b"\0"].concat();
        world.open().send(&[raw_frame(1, 1, &longer)], &[&error("0,0,1,113,1,0,0,0,0,0")]);
        let shorter = &payload[..payload.len() - 1];
        world.open().send(&[raw_frame(1, 1, shorter)], &[&error("0,0,1,113,1,0,0,0")]);
        world.open().send(&[raw_frame(1, 9, shorter)], &[&error("0,0,1,113,1,0,0,0")]);
        let internal = "0 connection.close 541 - INTERNAL_ERROR";
        world.open().send(&[raw_frame(1, 0, b"\0\x0a\0\x33\0")], &[internal]);
    }

    fn names_have_to_be_utf8_unless_a_message_goes_with_them(world) {
        let mut declare = on(1, amqp_core::method::queue::Declare::new("ab").exclusive());
        let at = declare.windows(2).position(|pair| pair == b"ab").expect("the name");
        declare[at..at + 2].copy_from_slice(b"\xff\xfe");
        let error = "0 connection.close 501 - FRAME_ERROR - Malformed UTF-8 in shortstr";
        world.open().send(&[declare], &[error]);
        let key = amqp_core::wire::ShortString::from(bytes::Bytes::from_static(b"\xff\xfe"));
        let mut client = world.open();
        client.send(&[on(1, basic::Publish::new("", key)), header(1, 0, b"\0\0")], &[]);
        client.send(&[on(1, basic::Qos::new(1))], &["1 basic.qos-ok"]);
    }

    fn what_no_process_survives_ends_without_a_word(world) {
        let unknown_type = b"\0\x32\0\x0a\0\0\x01q\0\0\0\0\x03\x01aZ";
        for payload in [&b"\0\x3c\0\x63"[..], b"\x03\xe7\0\x63", unknown_type] {
            world.open().send(&[raw_frame(1, 1, payload)], &["end"]);
        }
    }

    fn a_message_is_a_method_a_header_and_a_body(world) {
        let method = || on(1, basic::Publish::new("", "nowhere"));
        let qos = || on(1, basic::Qos::new(1));
        let no_header = "expected content header for class 60, got non content header frame instead";
        let no_body = "expected content body, got non content body frame instead";
        let cases: [(&[bytes::BytesMut], &str); 9] = [
            (&[method(), method()], no_header),
            (&[method(), on(1, amqp_core::method::channel::Open::new())], no_header),
            (&[method(), body(1, "x")], no_header),
            (&[method(), odd_header(60, 1, 1)], no_header),
            (&[method(), odd_header(50, 0, 1)], "expected content header for class 60, got one for class 50 instead"),
            (&[method(), header(1, 3, b"\0\0"), qos()], no_body),
            (&[method(), header(1, 3, b"\0\0"), header(1, 3, b"\0\0")], no_body),
            (&[method(), header(1, 3, b"\0\0"), body(1, "x"), qos()], no_body),
            (&[method(), header(1, u64::MAX / 2 + 1, b"\0\0"), body(1, "x"), qos()], no_body),
        ];
        for (frames, words) in cases {
            let error = format!("0 connection.close 505 basic.publish UNEXPECTED_FRAME - {words}");
            world.open().send(frames, &[&error]);
        }
        let error = "0 connection.close 505 - UNEXPECTED_FRAME - expected method frame, got non method frame instead";
        world.open().send(&[method(), header(1, 0, b"\0\0"), body(1, "")], &[error]);
    }

    fn a_body_that_is_too_long_is_noticed_at_the_next_method(world) {
        let mut client = world.open();
        client.send(&[on(1, basic::Publish::new("", "nowhere")), header(1, 1, b"\0\0"), body(1, "xy")], &[]);
        client.send(&[body(1, "z")], &[]);
        let error = "0 connection.close 505 basic.publish UNEXPECTED_FRAME - expected content body, got non content \
                     body frame instead";
        client.send(&[on(1, basic::Qos::new(1))], &[error]);
    }

    fn properties_that_cannot_be_read_are_an_internal_error(world) {
        for properties in [
            &b"\x80\0\x05ab"[..],
            b"\0\0zz",
            b"\0\x01\0\0",
            b"\x20\0\0\0\0\x03\x01aZ",
            b"\x20\0\0\0\0\x0b\x01ad\x7f\xf8\0\0\0\0\0\0",
        ] {
            let frames = [on(1, basic::Publish::new("", "nowhere")), header(1, 0, properties)];
            world.open().send(&frames, &["0 connection.close 541 - INTERNAL_ERROR"]);
        }
    }

    fn the_lowest_property_flags_are_ignored(world) {
        for properties in [&b"\0\x01"[..], b"\0\x02", b"\0\x03"] {
            let mut client = world.open();
            client.send(&[on(1, basic::Publish::new("", "nowhere")), header(1, 0, properties)], &[]);
            client.send(&[on(1, basic::Qos::new(1))], &["1 basic.qos-ok"]);
        }
    }

    fn the_payload_may_be_as_large_as_the_frame(world) {
        let mut client = world.open();
        let large = vec![b'x'; 131_072];
        let message = [on(1, basic::Publish::new("", "nowhere")), header(1, 131_072, b"\0\0"), raw_frame(3, 1, &large)];
        client.send(&message, &[]);
        client.send(&[on(1, basic::Qos::new(1))], &["1 basic.qos-ok"]);
    }
}
