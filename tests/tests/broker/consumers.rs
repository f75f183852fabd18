//! Consumers: how they come and go, and whose turn it is.

use amqp_core::{
    method::{basic, queue},
    wire::Table,
};

use crate::support::{capabilities, consume, get, on, own, own_with, publish, to_queue};

fn cancel(tag: &str) -> bytes::BytesMut {
    on(1, basic::Cancel::new(tag))
}

fn qos(count: u16) -> bytes::BytesMut {
    on(1, basic::Qos::new(count))
}

cases! {
    fn the_queue_answers_behind_what_was_sent_with_the_question(world) {
        let mut client = world.open();
        client.send(&[own("q")], &["1 queue.declare-ok q 0 0"]);
        client.send(&[consume("q", "t"), qos(0), own("q")],
            &["1 basic.qos-ok", "1 queue.declare-ok q 0 1", "1 basic.consume-ok t"]);
        client.send(&[cancel("t"), qos(0), own("q")],
            &["1 basic.qos-ok", "1 queue.declare-ok q 0 0", "1 basic.cancel-ok t"]);
    }

    fn three_consumers_are_answered_in_order(world) {
        let mut client = world.open();
        client.send(&[own("q")], &["1 queue.declare-ok q 0 0"]);
        client.send(&[consume("q", "a"), consume("q", "b"), consume("q", "c")],
            &["1 basic.consume-ok a", "1 basic.consume-ok b", "1 basic.consume-ok c"]);
    }

    fn a_consumer_is_answered_before_its_first_message(world) {
        let mut client = world.open();
        client.send(&[own("q"), to_queue("q", "a"), to_queue("q", "b")], &["1 queue.declare-ok q 0 0"]);
        client.send(&[consume("q", "t"), qos(0)],
            &["1 basic.qos-ok", "1 basic.consume-ok t", "1 basic.deliver t 1 'a'", "1 basic.deliver t 2 'b'"]);
    }

    fn messages_are_handed_out_before_the_next_method_gets_them(world) {
        let mut client = world.open();
        client.send(&[own("q"), to_queue("q", "a")], &["1 queue.declare-ok q 0 0"]);
        client.send(&[consume("q", "t"), get("q")],
            &["1 basic.get-empty", "1 basic.consume-ok t", "1 basic.deliver t 1 'a'"]);
    }

    fn a_tag_is_made_up_if_none_is_given(world) {
        let mut client = world.open();
        client.send(&[own("q")], &["1 queue.declare-ok q 0 0"]);
        client.send(&[consume("q", "")], &["1 basic.consume-ok amq.ctag-*"]);
    }

    fn a_tag_in_use_ends_the_connection(world) {
        let error = "0 connection.close 530 basic.consume NOT_ALLOWED - attempt to reuse consumer tag 't'";
        let mut client = world.open();
        client.open(2);
        client.send(&[own("q"), consume("q", "t")], &["1 queue.declare-ok q 0 0", "1 basic.consume-ok t"]);
        client.send(&[on(2, basic::Consume::new("q").consumer_tag("t"))], &["2 basic.consume-ok t"]);
        client.send(&[consume("q", "t")], &[error]);
        let mut client = world.open();
        client.send(&[own("q")], &["1 queue.declare-ok q 0 0"]);
        client.send(&[consume("q", "t"), consume("q", "t")], &[error]);
    }

    fn exclusive_consumers_are_alone(world) {
        let refusal = "1 channel.close 403 basic.consume ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use";
        let exclusive = || on(2, basic::Consume::new("q").consumer_tag("x").exclusive());
        let mut client = world.open();
        client.open(2);
        client.send(&[own("q")], &["1 queue.declare-ok q 0 0"]);
        client.send(&[exclusive()], &["2 basic.consume-ok x"]);
        client.send(&[get("q")], &["1 basic.get-empty"]);
        client.send(&[consume("q", "t")], &[refusal]);
        client.open(3);
        let second = on(3, basic::Consume::new("q").exclusive());
        client.send(&[second], &[&refusal.replacen('1', "3", 1)]);
    }

    fn a_consumer_nobody_knows_can_be_cancelled(world) {
        let mut client = world.open();
        client.send(&[cancel("nobody"), qos(0)], &["1 basic.cancel-ok nobody", "1 basic.qos-ok"]);
        client.send(&[on(1, basic::Cancel::new("nobody").nowait()), qos(0)], &["1 basic.qos-ok"]);
    }

    fn a_cancel_that_overtakes_the_answer_to_consume_is_fatal(world) {
        let mut client = world.open();
        client.send(&[own("q")], &["1 queue.declare-ok q 0 0"]);
        client.send(&[consume("q", "t"), cancel("t"), qos(0)],
            &["1 basic.qos-ok", "1 basic.consume-ok t", "0 connection.close 541 - INTERNAL_ERROR"]);
        let mut client = world.open();
        client.send(&[own("q")], &["1 queue.declare-ok q 0 0"]);
        let silent = on(1, basic::Consume::new("q").consumer_tag("t").nowait());
        client.send(&[silent, cancel("t"), qos(0)], &["1 basic.qos-ok", "1 basic.cancel-ok t"]);
    }

    fn a_tag_is_free_as_soon_as_it_is_cancelled(world) {
        let mut client = world.open();
        client.send(&[own("q")], &["1 queue.declare-ok q 0 0"]);
        client.send(&[consume("q", "t")], &["1 basic.consume-ok t"]);
        client.send(&[cancel("t"), consume("q", "t"), qos(0)],
            &["1 basic.qos-ok", "1 basic.cancel-ok t", "1 basic.consume-ok t"]);
    }

    fn what_was_handed_out_comes_before_the_end(world) {
        let mut client = world.open();
        client.send(&[own("q")], &["1 queue.declare-ok q 0 0"]);
        client.send(&[on(1, basic::Consume::new("q").consumer_tag("t").no_ack())], &["1 basic.consume-ok t"]);
        client.send(&[to_queue("q", "a"), cancel("t"), to_queue("q", "b")],
            &["1 basic.deliver t 1 'a'", "1 basic.cancel-ok t"]);
        client.send(&[get("q")], &["1 basic.get-ok 2, 0 left 'b'"]);
    }

    fn consumers_are_told_when_their_queue_is_deleted(world) {
        let mut client = world.open();
        client.open(2);
        client.send(&[own("q"), consume("q", "t"), to_queue("q", "a")],
            &["1 queue.declare-ok q 0 0", "1 basic.consume-ok t", "1 basic.deliver t 1 'a'"]);
        client.send(&[on(1, queue::Delete::new("q")), qos(0)],
            &["1 queue.delete-ok 0", "1 basic.qos-ok", "1 basic.cancel t"]);
        client.send(&[on(1, basic::Ack::new(1)), qos(0)], &["1 basic.qos-ok"]);
        client.send(&[cancel("t")], &["1 basic.cancel-ok t"]);
    }

    fn a_cancel_behind_the_delete_is_answered_and_not_announced(world) {
        let mut client = world.open();
        client.send(&[own("q")], &["1 queue.declare-ok q 0 0"]);
        client.send(&[consume("q", "t"), consume("q", "u")], &["1 basic.consume-ok t", "1 basic.consume-ok u"]);
        client.send(&[on(1, queue::Delete::new("q")), cancel("t"), qos(0)],
            &["1 queue.delete-ok 0", "1 basic.cancel-ok t", "1 basic.qos-ok", "1 basic.cancel u"]);
    }

    fn clients_that_cannot_be_told_are_not(world) {
        let tune = amqp_core::method::connection::TuneOk::new(2047, 131_072, 0);
        let mut capabilities = capabilities();
        capabilities.remove("consumer_cancel_notify");
        let mut client = world.connect_with(capabilities, tune);
        client.open(1);
        client.send(&[own("q")], &["1 queue.declare-ok q 0 0"]);
        client.send(&[consume("q", "t")], &["1 basic.consume-ok t"]);
        client.send(&[on(1, queue::Delete::new("q")), qos(0)], &["1 queue.delete-ok 0", "1 basic.qos-ok"]);
    }

    fn an_error_silences_the_queue(world) {
        let error = "1 channel.close 404 basic.publish NOT_FOUND - no exchange 'nope' in vhost '/'";
        let bad = || publish(1, basic::Publish::new("nope", ""), "x");
        let mut client = world.open();
        client.send(&[own("q")], &["1 queue.declare-ok q 0 0"]);
        client.send(&[consume("q", "t"), bad()], &[error]);
    }

    fn consumers_take_turns(world) {
        let mut client = world.open();
        client.send(&[own("q")], &["1 queue.declare-ok q 0 0"]);
        client.send(&[consume("q", "a")], &["1 basic.consume-ok a"]);
        client.send(&[consume("q", "b")], &["1 basic.consume-ok b"]);
        client.send(&[to_queue("q", "1"), to_queue("q", "2"), to_queue("q", "3")],
            &["1 basic.deliver a 1 '1'", "1 basic.deliver b 2 '2'", "1 basic.deliver a 3 '3'"]);
        client.send(&[to_queue("q", "4")], &["1 basic.deliver b 4 '4'"]);
    }

    fn higher_priorities_are_served_first(world) {
        let mut client = world.open();
        client.send(&[own("q"), qos(1)], &["1 queue.declare-ok q 0 0", "1 basic.qos-ok"]);
        for (tag, priority) in [("low", -1), ("high", 5), ("none", 0)] {
            let consume = basic::Consume::new("q").consumer_tag(tag).arguments(Table::new().with("x-priority", priority));
            client.send(&[on(1, consume)], &[&format!("1 basic.consume-ok {tag}")]);
        }
        client.send(&[to_queue("q", "1"), to_queue("q", "2"), to_queue("q", "3")],
            &["1 basic.deliver high 1 '1'", "1 basic.deliver none 2 '2'", "1 basic.deliver low 3 '3'"]);
        let error = "1 channel.close 406 basic.consume PRECONDITION_FAILED - invalid arg 'x-priority' for queue 'q' in \
                     vhost '/': \"expected integer, got longstr\"";
        let consume = basic::Consume::new("q").arguments(Table::new().with("x-priority", "a"));
        client.send(&[on(1, consume)], &[error]);
    }

    fn a_single_active_consumer_is_succeeded_by_the_next(world) {
        let mut client = world.open();
        let single = Table::new().with("x-single-active-consumer", true);
        client.send(&[own_with("q", single)], &["1 queue.declare-ok q 0 0"]);
        client.send(&[consume("q", "a")], &["1 basic.consume-ok a"]);
        client.send(&[consume("q", "b")], &["1 basic.consume-ok b"]);
        client.send(&[to_queue("q", "1"), to_queue("q", "2")], &["1 basic.deliver a 1 '1'", "1 basic.deliver a 2 '2'"]);
        client.send(&[cancel("a")], &["1 basic.cancel-ok a"]);
        client.send(&[to_queue("q", "3")], &["1 basic.deliver b 3 '3'"]);
        let refusal = "1 channel.close 403 basic.consume ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use";
        client.send(&[on(1, basic::Consume::new("q").exclusive())], &[refusal]);
    }

    fn replies_come_without_a_queue(world) {
        let mut client = world.open();
        client.open(2);
        let replies = basic::Consume::new("amq.rabbitmq.reply-to").consumer_tag("r");
        client.send(&[on(1, replies.clone().no_ack()), own("q")], &["1 basic.consume-ok r", "1 queue.declare-ok q 0 0"]);
        let properties = amqp_core::method::Properties::new().reply_to("amq.rabbitmq.reply-to");
        let request = crate::support::publish_with(1, basic::Publish::new("", "q"), &properties, "how much?");
        client.raw(&[request, get("q")].concat());
        let header = client.frames(3)[1].decode_header().expect("a content header");
        let address = header.properties().expect("properties").reply_to.expect("an address");
        client.send(&[publish(2, basic::Publish::new("", address), "42")], &["1 basic.deliver r 2 '42'"]);
        let error = "2 channel.close 406 basic.publish PRECONDITION_FAILED - fast reply consumer does not exist";
        let request = crate::support::publish_with(2, basic::Publish::new("", "q"), &properties, "and here?");
        client.send(&[request], &[error]);
        client.open(3);
        let error = "3 channel.close 406 basic.consume PRECONDITION_FAILED - reply consumer cannot acknowledge";
        client.send(&[on(3, replies)], &[error]);
    }
}
