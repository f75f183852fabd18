//! Returns and publisher confirms.

use amqp_core::{
    method::{Properties, basic, channel, confirm, queue, tx},
    wire::{Table, Value},
};
use bytes::BytesMut;

use crate::support::{consume, get, on, own, own_with, publish, publish_with, to_queue};

fn select() -> BytesMut {
    on(1, confirm::Select::new())
}

fn lost(body: &str) -> BytesMut {
    publish(1, basic::Publish::new("amq.fanout", "k").mandatory(), body)
}

cases! {
    fn a_mandatory_message_returns_before_it_is_acknowledged(world) {
        let mut client = world.open();
        client.send(&[select()], &["1 confirm.select-ok"]);
        client.send(&[lost("a"), publish(1, basic::Publish::new("amq.fanout", "k"), "b"), lost("")], &[
            "1 basic.return 312 NO_ROUTE 'amq.fanout' 'k' 'a'",
            "1 basic.ack 1",
            "1 basic.ack 2",
            "1 basic.return 312 NO_ROUTE 'amq.fanout' 'k' ''",
            "1 basic.ack 3",
        ]);
    }

    fn a_return_shows_what_was_published_without_blind_copies(world) {
        let headers = Table::new().with("z", 1).with("BCC", vec![Value::from("nowhere")]).with("CC", vec![Value::from("y")]);
        let properties = Properties::new().headers(headers);
        let message = publish_with(1, basic::Publish::new("", "nowhere.at.all").mandatory(), &properties, "x");
        world.open().send(&[message], &["1 basic.return 312 NO_ROUTE '' 'nowhere.at.all' 'x' {z=1, CC=[y]}"]);
    }

    fn only_what_comes_behind_the_select_is_counted(world) {
        let mut client = world.open();
        client.send(&[own("q"), to_queue("q", "a"), select()], &["1 queue.declare-ok q 0 0", "1 confirm.select-ok"]);
        client.send(&[to_queue("q", "b")], &["1 basic.ack 1"]);
        client.send(&[select(), on(1, confirm::Select::new().nowait())], &["1 confirm.select-ok"]);
        client.send(&[to_queue("q", "c")], &["1 basic.ack 2"]);
    }

    fn a_full_queue_refuses(world) {
        let mut client = world.open();
        let arguments = Table::new().with("x-max-length", 1).with("x-overflow", "reject-publish");
        client.send(&[select(), own_with("q", arguments)], &["1 confirm.select-ok", "1 queue.declare-ok q 0 0"]);
        client.send(&[to_queue("q", "a")], &["1 basic.ack 1"]);
        client.send(&[to_queue("q", "b")], &["1 basic.nack 2 multiple"]);
        client.send(&[get("q")], &["1 basic.get-ok 1, 0 left 'a'"]);
        client.send(&[to_queue("q", "c")], &["1 basic.ack 3"]);
    }

    fn one_queue_that_refuses_is_enough(world) {
        let mut client = world.open();
        let arguments = Table::new().with("x-max-length", 0).with("x-overflow", "reject-publish");
        client.send(&[select(), own_with("p", arguments), own("q")],
            &["1 confirm.select-ok", "1 queue.declare-ok p 0 0", "1 queue.declare-ok q 0 0"]);
        let bind = |queue| on(1, queue::Bind::new(queue, "amq.fanout", ""));
        client.send(&[bind("p"), bind("q")], &["1 queue.bind-ok"; 2]);
        client.send(&[publish(1, basic::Publish::new("amq.fanout", ""), "x")], &["1 basic.nack 1 multiple"]);
        client.send(&[get("q")], &["1 basic.get-ok 1, 0 left 'x'"]);
    }

    fn nothing_is_confirmed_behind_an_error_nor_in_front_of_it(world) {
        let mut client = world.open();
        client.send(&[select(), own("q")], &["1 confirm.select-ok", "1 queue.declare-ok q 0 0"]);
        let good = || to_queue("q", "x");
        let bad = publish(1, basic::Publish::new("nope", "k"), "x");
        let error = "1 channel.close 404 basic.publish NOT_FOUND - no exchange 'nope' in vhost '/'";
        client.send(&[good(), good(), good(), bad, good(), good()], &[error]);
        client.send(&[on(1, channel::CloseOk::new()), on(1, channel::Open::new())], &["1 channel.open-ok"]);
        client.send(&[on(1, queue::Declare::new("q").passive())], &["1 queue.declare-ok q 3 0"]);
    }

    fn what_a_consumer_has_is_confirmed(world) {
        let mut client = world.open();
        client.open(2);
        client.send(&[own("q"), consume("q", "t")], &["1 queue.declare-ok q 0 0", "1 basic.consume-ok t"]);
        client.send(&[on(2, confirm::Select::new())], &["2 confirm.select-ok"]);
        client.raw(&publish(2, basic::Publish::new("", "q"), "x"));
        // Two channels: RabbitMQ writes their frames in any order.
        let mut seen = client.collect(2);
        seen.sort();
        assert_eq!(seen, ["1 basic.deliver t 1 'x'", "2 basic.ack 1"]);
    }

    fn a_channel_has_confirms_or_transactions(world) {
        let error = "1 channel.close 406 tx.select PRECONDITION_FAILED - cannot switch from confirm to tx mode";
        world.open().send(&[select(), on(1, tx::Select::new())], &["1 confirm.select-ok", error]);
        let error = "1 channel.close 406 confirm.select PRECONDITION_FAILED - cannot switch from tx to confirm mode";
        world.open().send(&[on(1, tx::Select::new()), select()], &["1 tx.select-ok", error]);
    }

    fn what_a_message_says_of_itself_is_checked(world) {
        let error = |words: &str| format!("1 channel.close 406 basic.publish PRECONDITION_FAILED - {words}");
        let cases = [
            (Properties::new().expiration("abc"), "invalid expiration 'abc': no_integer"),
            (Properties::new().expiration("-1"), "invalid expiration '-1': {value_negative,-1}"),
            (Properties::new().expiration("10s"), "invalid expiration '10s': {leftover_string,\"s\"}"),
            (Properties::new().user_id("bob"), "user_id property set to 'bob' but authenticated user was 'guest'"),
            (Properties::new().delivery_mode(3), "invalid message: {delivery_mode_unknown,3}"),
            (Properties::new().headers(Table::new().with("CC", "x")), "invalid message: {unacceptable_type_in_header,\"CC\",longstr}"),
        ];
        for (properties, words) in cases {
            let message = publish_with(1, basic::Publish::new("", "nowhere"), &properties, "x");
            world.open().send(&[message], &[&error(words)]);
        }
        let missing = "1 channel.close 404 basic.publish NOT_FOUND - no exchange 'nope' in vhost '/'";
        let message = publish_with(1, basic::Publish::new("nope", ""), &Properties::new().expiration("abc"), "x");
        world.open().send(&[message], &[missing]);
        let internal = "1 channel.close 403 basic.publish ACCESS_REFUSED - cannot publish to internal exchange \
                        'amq.rabbitmq.trace' in vhost '/'";
        world.open().send(&[publish(1, basic::Publish::new("amq.rabbitmq.trace", ""), "x")], &[internal]);
    }
}

/// RabbitMQ groups its acknowledgements by chance; the embedded broker takes what it was given together.
#[test]
fn what_comes_together_is_confirmed_together() {
    let world = crate::support::World::embedded();
    let mut client = world.open();
    client.send(&[select(), own("q")], &["1 confirm.select-ok", "1 queue.declare-ok q 0 0"]);
    client.send(&vec![to_queue("q", "x"); 20], &["1 basic.ack 20 multiple"]);
    let mixed: Vec<BytesMut> =
        (0..6).map(|number| if number % 3 == 0 { lost("y") } else { to_queue("q", "x") }).collect();
    client.send(
        &mixed,
        &[
            "1 basic.return 312 NO_ROUTE 'amq.fanout' 'k' 'y'",
            "1 basic.ack 21",
            "1 basic.return 312 NO_ROUTE 'amq.fanout' 'k' 'y'",
            "1 basic.ack 24",
            "1 basic.ack 26 multiple",
        ],
    );
}
