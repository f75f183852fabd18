//! What ends a connection, and how it ends.

use amqp_core::{
    frame::Frame,
    method::{AnyMethod, ReplyCode, basic, channel, connection, queue},
};

use crate::support::{body, capabilities, consume, encode, header, on, own, publish, raw_frame, to_queue};

cases! {
    fn a_close_is_answered_and_nothing_follows(world) {
        let mut client = world.open();
        client.send(&[own("q"), consume("q", "t")], &["1 queue.declare-ok q 0 0", "1 basic.consume-ok t"]);
        let close = connection::Close::new(ReplyCode::REPLY_SUCCESS, "bye");
        client.send(&[to_queue("q", "a"), to_queue("q", "b"), on(0, close)], &["0 connection.close-ok"]);
        client.send(&[on(1, basic::Qos::new(1))], &[]);
    }

    fn exclusive_queues_are_gone_when_the_close_is_answered(world) {
        let mut client = world.open();
        client.send(&[own("q")], &["1 queue.declare-ok q 0 0"]);
        let close = connection::Close::new(ReplyCode::REPLY_SUCCESS, "bye");
        client.send(&[on(0, close)], &["0 connection.close-ok"]);
        let missing = "1 channel.close 404 queue.declare NOT_FOUND - no queue 'q' in vhost '/'";
        world.open().send(&[on(1, queue::Declare::new("q").passive())], &[missing]);
    }

    fn methods_of_the_handshake_do_not_come_twice(world) {
        let methods: [AnyMethod; 4] = [
            connection::Open::new("/").into(),
            connection::TuneOk::new(1, 4096, 0).into(),
            connection::CloseOk::new().into(),
            connection::Blocked::new("no").into(),
        ];
        for method in methods {
            let expected = format!(
                "0 connection.close 504 {} CHANNEL_ERROR - unexpected method in connection state running",
                method.id()
            );
            world.open().send(&[on(0, method)], &[&expected]);
        }
    }

    fn methods_of_a_channel_do_not_come_on_channel_0(world) {
        let methods: [AnyMethod; 3] =
            [queue::Declare::new("q").into(), channel::Open::new().into(), channel::CloseOk::new().into()];
        for method in methods {
            let expected = format!(
                "0 connection.close 504 {} CHANNEL_ERROR - unexpected method in connection state running",
                method.id()
            );
            world.open().send(&[on(0, method)], &[&expected]);
        }
    }

    fn methods_of_the_connection_do_not_come_on_a_channel(world) {
        let expected = "0 connection.close 503 connection.open COMMAND_INVALID - unimplemented method";
        world.open().send(&[on(1, connection::Open::new("/"))], &[expected]);
    }

    fn a_secret_can_be_renewed(world) {
        let renewal = connection::UpdateSecret::new("secret", "a reason");
        world.open().send(&[on(0, renewal)], &["0 connection.update-secret-ok"]);
    }

    fn after_an_error_only_the_end_is_of_interest(world) {
        let mut client = world.open();
        let error = "0 connection.close 504 basic.qos CHANNEL_ERROR - expected 'channel.open'";
        client.send(&[on(9, basic::Qos::new(1))], &[error]);
        client.send(&[on(1, basic::Qos::new(1)), on(1, channel::Open::new())], &[]);
        let close = connection::Close::new(ReplyCode::REPLY_SUCCESS, "bye");
        client.send(&[on(0, close)], &["0 connection.close-ok"]);
        client.send(&[on(0, connection::CloseOk::new())], &["end"]);
    }

    fn heartbeats_are_taken_at_any_time(world) {
        let heartbeat = encode(&Frame::heartbeat());
        let mut client = world.open();
        client.send(std::slice::from_ref(&heartbeat), &[]);
        let message =
            [on(1, basic::Publish::new("", "nowhere")), heartbeat, header(1, 1, b"\0\0"), body(1, "x")];
        client.send(&message, &[]);
        client.send(&[on(1, basic::Qos::new(1))], &["1 basic.qos-ok"]);
    }

    fn the_frames_of_two_channels_may_be_mixed(world) {
        let mut client = world.open();
        client.open(2);
        client.send(&[own("q")], &["1 queue.declare-ok q 0 0"]);
        let [first, second] = [1, 2].map(|number| on(number, basic::Publish::new("", "q")));
        let mixed = [first, second, header(1, 4, b"\0\0"), header(2, 2, b"\0\0"), body(1, "ab"), body(2, "xy")];
        client.send(&mixed, &[]);
        client.send(&[body(1, ""), body(1, "cd")], &[]);
        client.send(&[on(1, basic::Get::new("q"))], &["1 basic.get-ok 1, 1 left 'xy'"]);
        client.send(&[on(1, basic::Get::new("q"))], &["1 basic.get-ok 2, 0 left 'abcd'"]);
    }

    fn a_close_in_the_middle_of_a_message_is_a_close(world) {
        let close = connection::Close::new(ReplyCode::REPLY_SUCCESS, "bye");
        let frames = [on(1, basic::Publish::new("", "q")), header(1, 3, b"\0\0"), on(0, close)];
        world.open().send(&frames, &["0 connection.close-ok"]);
    }

    fn as_many_channels_as_agreed_are_open_whatever_their_numbers(world) {
        let mut client = world.connect_with(capabilities(), connection::TuneOk::new(2, 131_072, 0));
        client.open(65_535);
        client.open(7);
        let refusal = "0 connection.close 530 - NOT_ALLOWED - number of channels opened (2) has reached the \
                       negotiated channel_max (2)";
        client.send(&[on(3, channel::Open::new())], &[refusal]);
    }

    fn a_message_in_parts_of_any_size_comes_back_in_the_largest(world) {
        let mut client = world.connect_with(capabilities(), connection::TuneOk::new(2047, 4096, 0));
        client.open(1);
        client.send(&[own("q")], &["1 queue.declare-ok q 0 0"]);
        let parts = "x".repeat(10);
        let frames: Vec<_> = [on(1, basic::Publish::new("", "q")), header(1, 10_000, b"\0\0")]
            .into_iter()
            .chain((0..1000).map(|_| raw_frame(3, 1, parts.as_bytes())))
            .collect();
        client.send(&frames, &[]);
        client.raw(&on(1, basic::Get::new("q")));
        let sizes: Vec<usize> = client.frames(5).iter().skip(2).map(|frame| frame.payload.len()).collect();
        assert_eq!(sizes, [4088, 4088, 1824]);
    }

    fn what_was_published_before_a_close_is_routed(world) {
        let mut reader = world.open();
        let declare = queue::Declare::new("amqp-test.shared").transient();
        reader.send(&[on(1, declare)], &["1 queue.declare-ok amqp-test.shared 0 0"]);
        let mut writer = world.open();
        let close = connection::Close::new(ReplyCode::REPLY_SUCCESS, "bye");
        let message = publish(1, basic::Publish::new("", "amqp-test.shared"), "a");
        writer.send(&[message, on(0, close)], &["0 connection.close-ok"]);
        let delete = queue::Delete::new("amqp-test.shared");
        reader.send(&[on(1, delete)], &["1 queue.delete-ok 1"]);
    }
}
