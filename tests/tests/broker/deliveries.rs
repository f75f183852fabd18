//! What clients do with messages: acknowledge them, give them back, hold more or fewer of them.

use amqp_core::method::{ReplyCode, basic, channel};
use bytes::BytesMut;

use crate::support::{Client, World, consume, get, on, own, to_queue};

fn qos(count: u16) -> BytesMut {
    on(1, basic::Qos::new(count))
}

fn ack(tag: u64) -> BytesMut {
    on(1, basic::Ack::new(tag))
}

/// A channel with a queue of some messages, each named for its place.
fn filled(world: &World, messages: usize) -> Client {
    let mut client = world.open();
    client.send(&[own("q")], &["1 queue.declare-ok q 0 0"]);
    let messages: Vec<BytesMut> = (1..=messages).map(|number| to_queue("q", &format!("m{number}"))).collect();
    client.send(&messages, &[]);
    client
}

cases! {
    fn messages_are_fetched_in_order(world) {
        let mut client = filled(world, 2);
        client.send(&[get("q"), on(1, basic::Get::new("q").no_ack()), get("q")],
            &["1 basic.get-ok 1, 1 left 'm1'", "1 basic.get-ok 2, 0 left 'm2'", "1 basic.get-empty"]);
    }

    fn what_is_given_back_stands_where_it_stood(world) {
        let mut client = filled(world, 4);
        client.send(&[get("q"), get("q"), get("q")],
            &["1 basic.get-ok 1, 3 left 'm1'", "1 basic.get-ok 2, 2 left 'm2'", "1 basic.get-ok 3, 1 left 'm3'"]);
        client.send(&[on(1, basic::Nack::new(3)), on(1, basic::Reject::new(1).requeue())], &[]);
        client.send(&[get("q"), get("q"), get("q")], &[
            "1 basic.get-ok 4 again, 2 left 'm1'", "1 basic.get-ok 5 again, 1 left 'm3'", "1 basic.get-ok 6, 0 left 'm4'",
        ]);
    }

    fn unacknowledged_messages_return_when_their_channel_closes(world) {
        let mut client = filled(world, 3);
        client.open(2);
        client.send(&[consume("q", "t")],
            &["1 basic.consume-ok t", "1 basic.deliver t 1 'm1'", "1 basic.deliver t 2 'm2'", "1 basic.deliver t 3 'm3'"]);
        client.send(&[ack(2)], &[]);
        client.send(&[on(1, channel::Close::new(ReplyCode::REPLY_SUCCESS, ""))], &["1 channel.close-ok"]);
        let fetch = || on(2, basic::Get::new("q"));
        client.send(&[fetch(), fetch(), fetch()], &[
            "2 basic.get-ok 1 again, 1 left 'm1'", "2 basic.get-ok 2 again, 0 left 'm3'", "2 basic.get-empty",
        ]);
    }

    fn recover_brings_everything_back_under_new_tags(world) {
        let mut client = filled(world, 2);
        client.send(&[consume("q", "t")],
            &["1 basic.consume-ok t", "1 basic.deliver t 1 'm1'", "1 basic.deliver t 2 'm2'"]);
        client.send(&[on(1, basic::Recover::new()), qos(0)], &[
            "1 basic.recover-ok", "1 basic.qos-ok", "1 basic.deliver t 3 again 'm1'", "1 basic.deliver t 4 again 'm2'",
        ]);
        client.send(&[on(1, basic::RecoverAsync::new())],
            &["1 basic.deliver t 5 again 'm1'", "1 basic.deliver t 6 again 'm2'"]);
        client.send(&[ack(1)], &["1 channel.close 406 basic.ack PRECONDITION_FAILED - unknown delivery tag 1"]);
    }

    fn tags_that_are_not_outstanding_are_unknown(world) {
        let error = |method: &str, tag: u64| {
            format!("1 channel.close 406 {method} PRECONDITION_FAILED - unknown delivery tag {tag}")
        };
        filled(world, 0).send(&[ack(1)], &[&error("basic.ack", 1)]);
        filled(world, 0).send(&[ack(0)], &[&error("basic.ack", 0)]);
        filled(world, 0).send(&[on(1, basic::Ack::new(999).multiple())], &[&error("basic.ack", 999)]);
        filled(world, 0).send(&[on(1, basic::Nack::new(0))], &[&error("basic.nack", 0)]);
        filled(world, 0).send(&[on(1, basic::Reject::new(5))], &[&error("basic.reject", 5)]);
    }

    fn a_tag_is_known_until_it_is_settled(world) {
        let error = "1 channel.close 406 basic.ack PRECONDITION_FAILED - unknown delivery tag 2";
        let mut client = filled(world, 2);
        client.send(&[get("q"), get("q")], &["1 basic.get-ok 1, 1 left 'm1'", "1 basic.get-ok 2, 0 left 'm2'"]);
        client.send(&[ack(2), on(1, basic::Ack::new(2).multiple())], &[error]);
    }

    fn the_tag_of_a_message_that_needs_no_acknowledgement_is_unknown(world) {
        let error = "1 channel.close 406 basic.ack PRECONDITION_FAILED - unknown delivery tag 1";
        let mut client = filled(world, 1);
        client.send(&[on(1, basic::Get::new("q").no_ack())], &["1 basic.get-ok 1, 0 left 'm1'"]);
        client.send(&[ack(1)], &[error]);
    }

    fn all_means_all_even_if_there_is_nothing(world) {
        let mut client = filled(world, 3);
        client.send(&[on(1, basic::Ack::new(0).multiple()), on(1, basic::Nack::new(0).multiple()), qos(0)], &["1 basic.qos-ok"]);
        client.send(&[consume("q", "t")],
            &["1 basic.consume-ok t", "1 basic.deliver t 1 'm1'", "1 basic.deliver t 2 'm2'", "1 basic.deliver t 3 'm3'"]);
        client.send(&[on(1, basic::Nack::new(2).multiple())],
            &["1 basic.deliver t 4 again 'm1'", "1 basic.deliver t 5 again 'm2'"]);
        client.send(&[on(1, basic::Nack::new(0).multiple().discard()), on(1, basic::Cancel::new("t"))], &["1 basic.cancel-ok t"]);
        client.send(&[get("q")], &["1 basic.get-empty"]);
    }

    fn prefetch_limits_later_consumers_each(world) {
        let mut client = filled(world, 0);
        client.send(&[qos(1)], &["1 basic.qos-ok"]);
        client.send(&[consume("q", "a")], &["1 basic.consume-ok a"]);
        client.send(&[qos(2)], &["1 basic.qos-ok"]);
        client.send(&[consume("q", "b")], &["1 basic.consume-ok b"]);
        let messages: Vec<BytesMut> = (1..=5).map(|number| to_queue("q", &number.to_string())).collect();
        client.send(&messages, &["1 basic.deliver a 1 '1'", "1 basic.deliver b 2 '2'", "1 basic.deliver b 3 '3'"]);
        client.send(&[ack(1)], &["1 basic.deliver a 4 '4'"]);
        client.send(&[on(1, basic::Ack::new(3).multiple())], &["1 basic.deliver b 5 '5'"]);
    }

    fn prefetch_can_limit_the_whole_channel(world) {
        let mut client = filled(world, 0);
        let global = |count| on(1, basic::Qos::new(count).global());
        client.send(&[global(2)], &["1 basic.qos-ok"]);
        client.send(&[consume("q", "a")], &["1 basic.consume-ok a"]);
        client.send(&[consume("q", "b")], &["1 basic.consume-ok b"]);
        let messages: Vec<BytesMut> = (1..=6).map(|number| to_queue("q", &number.to_string())).collect();
        client.send(&messages, &["1 basic.deliver a 1 '1'", "1 basic.deliver b 2 '2'"]);
        client.send(&[ack(1)], &["1 basic.deliver a 3 '3'"]);
        client.send(&[global(3)], &["1 basic.qos-ok", "1 basic.deliver b 4 '4'"]);
        client.send(&[global(0)], &["1 basic.qos-ok", "1 basic.deliver a 5 '5'", "1 basic.deliver b 6 '6'"]);
    }

    fn what_is_fetched_does_not_count_for_the_prefetch(world) {
        let mut client = filled(world, 3);
        client.send(&[on(1, basic::Qos::new(1).global()), get("q")], &["1 basic.qos-ok", "1 basic.get-ok 1, 2 left 'm1'"]);
        client.send(&[consume("q", "t")], &["1 basic.consume-ok t", "1 basic.deliver t 2 'm2'"]);
        client.send(&[ack(1)], &[]);
        client.send(&[ack(2)], &["1 basic.deliver t 3 'm3'"]);
    }

    fn a_limit_for_consumers_lifts_the_channels(world) {
        let mut client = filled(world, 0);
        client.send(&[on(1, basic::Qos::new(1).global()), qos(2)], &["1 basic.qos-ok"; 2]);
        client.send(&[consume("q", "t")], &["1 basic.consume-ok t"]);
        client.send(&[to_queue("q", "1"), to_queue("q", "2"), to_queue("q", "3")],
            &["1 basic.deliver t 1 '1'", "1 basic.deliver t 2 '2'"]);
    }

    fn consumers_that_do_not_acknowledge_have_no_limit(world) {
        let mut client = filled(world, 2);
        client.send(&[qos(1)], &["1 basic.qos-ok"]);
        client.send(&[on(1, basic::Consume::new("q").consumer_tag("t").no_ack())],
            &["1 basic.consume-ok t", "1 basic.deliver t 1 'm1'", "1 basic.deliver t 2 'm2'"]);
    }

    fn a_cancelled_consumer_keeps_what_it_holds(world) {
        let mut client = filled(world, 2);
        client.send(&[qos(1)], &["1 basic.qos-ok"]);
        client.send(&[consume("q", "t")], &["1 basic.consume-ok t", "1 basic.deliver t 1 'm1'"]);
        client.send(&[on(1, basic::Cancel::new("t"))], &["1 basic.cancel-ok t"]);
        client.send(&[get("q")], &["1 basic.get-ok 2, 0 left 'm2'"]);
        client.send(&[on(1, basic::Reject::new(1).requeue()), get("q")], &["1 basic.get-ok 3 again, 0 left 'm1'"]);
    }

    fn what_is_given_back_goes_to_whoever_has_room(world) {
        let mut client = filled(world, 0);
        client.send(&[qos(1)], &["1 basic.qos-ok"]);
        client.send(&[consume("q", "a")], &["1 basic.consume-ok a"]);
        client.send(&[consume("q", "b")], &["1 basic.consume-ok b"]);
        client.send(&[to_queue("q", "x")], &["1 basic.deliver a 1 'x'"]);
        client.send(&[on(1, basic::Reject::new(1).requeue())], &["1 basic.deliver b 2 again 'x'"]);
        client.send(&[on(1, basic::Reject::new(2).requeue())], &["1 basic.deliver a 3 again 'x'"]);
    }
}
