//! Opening, closing and failing of channels.

use amqp_core::method::{AnyMethod, ReplyCode, basic, channel, exchange, queue};

use crate::support::{body, on, own, publish, raw_frame};

const NO_EXCHANGE: &str = "1 channel.close 404 basic.publish NOT_FOUND - no exchange 'nope' in vhost '/'";

fn bad_publish() -> bytes::BytesMut {
    publish(1, basic::Publish::new("nope", "k"), "x")
}

fn close() -> bytes::BytesMut {
    on(1, channel::Close::new(ReplyCode::REPLY_SUCCESS, ""))
}

cases! {
    fn a_channel_has_to_be_opened_first_and_once(world) {
        let error = |method: &str, words: &str| format!("0 connection.close 504 {method} CHANNEL_ERROR - {words}");
        let unopened: [AnyMethod; 4] = [
            basic::Qos::new(1).into(),
            basic::Ack::new(1).into(),
            channel::Close::new(ReplyCode::REPLY_SUCCESS, "").into(),
            channel::CloseOk::new().into(),
        ];
        for method in unopened {
            let expected = error(&method.id().to_string(), "expected 'channel.open'");
            world.open().send(&[on(9, method)], &[&expected]);
        }
        let expected = error("basic.publish", "expected 'channel.open'");
        world.open().send(&[publish(9, basic::Publish::new("", "q"), "x")], &[&expected]);
        let expected = error("channel.open", "second 'channel.open' seen");
        world.open().send(&[on(1, channel::Open::new())], &[&expected]);
    }

    fn a_number_is_free_when_its_close_is_answered(world) {
        let mut client = world.open();
        client.send(&[close()], &["1 channel.close-ok"]);
        client.send(&[on(1, channel::Open::new())], &["1 channel.open-ok"]);
        client.send(&[close()], &["1 channel.close-ok"]);
        let error = "0 connection.close 504 basic.ack CHANNEL_ERROR - expected 'channel.open'";
        client.send(&[on(1, basic::Ack::new(1))], &[error]);
    }

    fn after_an_error_a_channel_ignores_everything_until_it_is_answered(world) {
        let mut client = world.open();
        client.open(2);
        client.send(&[bad_publish(), on(1, basic::Qos::new(1)), own("never")], &[NO_EXCHANGE]);
        client.send(&[on(1, basic::Qos::new(1)), bad_publish()], &[]);
        client.send(&[on(2, basic::Qos::new(1))], &["2 basic.qos-ok"]);
        client.send(&[on(1, channel::CloseOk::new()), on(1, channel::Open::new())], &["1 channel.open-ok"]);
        let missing = "1 channel.close 404 queue.declare NOT_FOUND - no queue 'never' in vhost '/'";
        client.send(&[on(1, queue::Declare::new("never").passive())], &[missing]);
    }

    fn the_answer_to_an_error_is_due_before_a_new_start(world) {
        let mut client = world.open();
        client.send(&[bad_publish()], &[NO_EXCHANGE]);
        let error = "0 connection.close 504 channel.open CHANNEL_ERROR - second 'channel.open' seen";
        client.send(&[on(1, channel::Open::new())], &[error]);
    }

    fn after_the_answer_to_an_error_the_number_is_closed(world) {
        for method in [AnyMethod::from(basic::Qos::new(1)), channel::CloseOk::new().into()] {
            let mut client = world.open();
            client.send(&[bad_publish()], &[NO_EXCHANGE]);
            let error = format!("0 connection.close 504 {} CHANNEL_ERROR - expected 'channel.open'", method.id());
            client.send(&[on(1, channel::CloseOk::new()), on(1, method)], &[&error]);
        }
    }

    fn closes_that_cross_are_both_answered(world) {
        let mut client = world.open();
        client.send(&[bad_publish(), close()], &[NO_EXCHANGE, "1 channel.close-ok"]);
        client.send(&[close()], &["1 channel.close-ok"]);
        client.send(&[on(1, channel::CloseOk::new()), on(1, channel::Open::new())], &["1 channel.open-ok"]);
    }

    fn frames_of_a_failed_channel_are_still_put_together(world) {
        let mut client = world.open();
        client.send(&[bad_publish()], &[NO_EXCHANGE]);
        let error = "0 connection.close 505 - UNEXPECTED_FRAME - expected method frame, got non method frame instead";
        client.send(&[body(1, "x")], &[error]);
    }

    fn methods_that_are_not_a_clients_are_unimplemented(world) {
        let methods: [AnyMethod; 5] = [
            channel::FlowOk::new(true).into(),
            channel::CloseOk::new().into(),
            basic::CancelOk::new("t").into(),
            queue::DeclareOk::new("q", 0, 0).into(),
            channel::OpenOk::new().into(),
        ];
        for method in methods {
            let expected = format!("0 connection.close 503 {} COMMAND_INVALID - unimplemented method", method.id());
            world.open().send(&[on(1, method)], &[&expected]);
        }
    }

    fn flow_can_be_asked_for_and_not_stopped(world) {
        world.open().send(&[on(1, channel::Flow::new(true))], &["1 channel.flow-ok true"]);
        let error = "0 connection.close 540 channel.flow NOT_IMPLEMENTED - active=false";
        world.open().send(&[on(1, channel::Flow::new(false))], &[error]);
    }

    fn what_rabbitmq_does_not_implement_ends_the_connection(world) {
        let mut qos = basic::Qos::new(0);
        qos.prefetch_size = 1;
        let error = "0 connection.close 540 basic.qos NOT_IMPLEMENTED - prefetch_size!=0 (1)";
        world.open().send(&[on(1, qos)], &[error]);
        let mut recover = basic::Recover::new();
        recover.requeue = false;
        let error = "0 connection.close 540 basic.recover NOT_IMPLEMENTED - requeue=false";
        world.open().send(&[on(1, recover)], &[error]);
        let mut immediate = basic::Publish::new("", "q");
        immediate.immediate = true;
        let error = "0 connection.close 540 basic.publish NOT_IMPLEMENTED - immediate=true";
        world.open().send(&[publish(1, immediate, "x")], &[error]);
    }

    fn a_relic_is_answered(world) {
        world.open().send(&[raw_frame(1, 1, b"\0\x1e\0\x0a\x05/data\0")], &["1 access.request-ok"]);
    }

    fn an_error_is_raised_by_methods_without_an_answer_too(world) {
        let mut client = world.open();
        let error = "1 channel.close 403 exchange.declare ACCESS_REFUSED - exchange name 'amq.foo' contains reserved \
                     prefix 'amq.*'";
        client.send(&[on(1, exchange::Declare::new("amq.foo", "direct").nowait())], &[error]);
    }

    fn long_texts_are_cut(world) {
        let name = "q".repeat(250);
        let expected = format!("1 channel.close 404 basic.get NOT_FOUND - no queue '{}...", "q".repeat(230));
        world.open().send(&[on(1, basic::Get::new(name))], &[&expected]);
    }
}
