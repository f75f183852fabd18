//! Bindings, and the ways that messages take along them.

use amqp_core::{
    method::{Properties, basic, exchange, queue},
    wire::{Table, Value},
};
use bytes::BytesMut;

use crate::support::{Client, get, on, own, publish, publish_with};

fn bind(queue: &str, exchange: &str, key: &str) -> BytesMut {
    on(1, queue::Bind::new(queue, exchange, key))
}

/// Publishes a message and says which of the queues it reaches.
#[track_caller]
fn reaches(client: &mut Client, message: BytesMut, queues: &[&str]) -> Vec<String> {
    client.send(&[message], &[]);
    queues
        .iter()
        .filter(|queue| {
            client.raw(&on(1, basic::Get::new(**queue).no_ack()));
            let seen = client.collect(1);
            assert_eq!(seen.len(), 1, "one answer to one question");
            seen[0].contains("get-ok")
        })
        .map(|queue| (*queue).to_owned())
        .collect()
}

fn with_headers(headers: Table) -> BytesMut {
    publish_with(1, basic::Publish::new("amq.headers", ""), &Properties::new().headers(headers), "x")
}

cases! {
    fn missing_ends_are_missed_by_bind(world) {
        let error = |method: &str, what: &str| format!("1 channel.close 404 {method} NOT_FOUND - no {what} in vhost '/'");
        world.open().send(&[bind("nope", "amq.direct", "")], &[&error("queue.bind", "queue 'nope'")]);
        world.open().send(&[bind("nope", "nowhere", "")], &[&error("queue.bind", "exchange 'nowhere'")]);
        world.open().send(&[own("q"), bind("q", "nope", "")], &["1 queue.declare-ok q 0 0", &error("queue.bind", "exchange 'nope'")]);
        world.open().send(&[on(1, exchange::Bind::new("nope", "amq.direct", ""))], &[&error("exchange.bind", "exchange 'nope'")]);
        world.open().send(&[on(1, exchange::Bind::new("amq.direct", "nope", ""))], &[&error("exchange.bind", "exchange 'nope'")]);
    }

    fn what_is_not_bound_can_be_unbound(world) {
        let unbinds = [
            on(1, queue::Unbind::new("nope", "amq.direct", "k")),
            on(1, queue::Unbind::new("nope", "nowhere", "k")),
        ];
        world.open().send(&unbinds, &["1 queue.unbind-ok"; 2]);
        let unbinds = [
            on(1, exchange::Unbind::new("nope", "amq.direct", "k")),
            on(1, exchange::Unbind::new("amq.direct", "nope", "k")),
        ];
        world.open().send(&unbinds, &["1 exchange.unbind-ok"; 2]);
    }

    fn a_message_arrives_once_however_many_bindings_match(world) {
        let mut client = world.open();
        client.send(&[own("q"), bind("q", "amq.direct", "k"), bind("q", "amq.direct", "k")],
            &["1 queue.declare-ok q 0 0", "1 queue.bind-ok", "1 queue.bind-ok"]);
        let other = queue::Bind::new("q", "amq.direct", "k").arguments(Table::new().with("a", 1));
        client.send(&[on(1, other)], &["1 queue.bind-ok"]);
        client.send(&[publish(1, basic::Publish::new("amq.direct", "k"), "once")], &[]);
        client.send(&[get("q"), get("q")], &["1 basic.get-ok 1, 0 left 'once'", "1 basic.get-empty"]);
    }

    fn a_binding_is_undone_by_the_same_arguments_only(world) {
        let mut client = world.open();
        client.send(&[own("q"), bind("q", "amq.direct", "k")], &["1 queue.declare-ok q 0 0", "1 queue.bind-ok"]);
        let message = || publish(1, basic::Publish::new("amq.direct", "k"), "x");
        let other = queue::Unbind::new("q", "amq.direct", "k").arguments(Table::new().with("a", 1));
        client.send(&[on(1, other)], &["1 queue.unbind-ok"]);
        assert_eq!(reaches(&mut client, message(), &["q"]), ["q"]);
        client.send(&[on(1, queue::Unbind::new("q", "amq.direct", "k"))], &["1 queue.unbind-ok"]);
        assert!(reaches(&mut client, message(), &["q"]).is_empty());
    }

    fn exchanges_of_each_type_pick_their_bindings(world) {
        let mut client = world.open();
        let queues = ["direct", "fanout", "topic"];
        client.send(&queues.map(own), &["1 queue.declare-ok direct 0 0", "1 queue.declare-ok fanout 0 0", "1 queue.declare-ok topic 0 0"]);
        let binds = [bind("direct", "amq.direct", "a.b"), bind("fanout", "amq.fanout", "no matter"), bind("topic", "amq.topic", "a.*")];
        client.send(&binds, &["1 queue.bind-ok"; 3]);
        let mut to = |exchange: &str, key: &str| {
            reaches(&mut client, publish(1, basic::Publish::new(exchange, key), "x"), &queues)
        };
        assert_eq!(to("amq.direct", "a.b"), ["direct"]);
        assert!(to("amq.direct", "a").is_empty());
        assert_eq!(to("amq.fanout", "a"), ["fanout"]);
        assert_eq!(to("amq.topic", "a.c"), ["topic"]);
        assert!(to("amq.topic", "a.c.d").is_empty());
        assert_eq!(to("", "direct"), ["direct"]);
    }

    fn headers_are_matched_by_value(world) {
        let mut client = world.open();
        let rules = [
            ("all", Table::new().with("x-match", "all").with("a", 1).with("b", "s")),
            ("any", Table::new().with("x-match", "any").with("a", 1).with("b", "s")),
            ("any-with-x", Table::new().with("x-match", "any-with-x").with("x-c", "y")),
            ("void", Table::new().with("a", Value::Void)),
        ];
        let queues = ["all", "any", "any-with-x", "void"];
        for (queue, rule) in rules {
            let rule = queue::Bind::new(queue, "amq.headers", "").arguments(rule);
            client.send(&[own(queue), on(1, rule)], &[&format!("1 queue.declare-ok {queue} 0 0"), "1 queue.bind-ok"]);
        }
        let mut with = |headers: Table| reaches(&mut client, with_headers(headers), &queues);
        assert!(with(Table::new()).is_empty());
        assert_eq!(with(Table::new().with("a", 1).with("b", "s")), ["all", "any", "void"]);
        assert_eq!(with(Table::new().with("a", 1.0)), ["any", "void"]);
        assert_eq!(with(Table::new().with("a", 2)), ["void"]);
        assert_eq!(with(Table::new().with("x-c", "y")), ["any-with-x"]);
    }

    fn a_binding_to_a_headers_exchange_says_how_to_match(world) {
        let error = |words: &str| format!("1 channel.close 406 queue.bind PRECONDITION_FAILED - {words}");
        let bind = |how: Value| on(1, queue::Bind::new("q", "amq.headers", "").arguments(Table::new().with("x-match", how)));
        let words = "Invalid x-match field value <<\"zzz\">>; expected all, any, all-with-x, or any-with-x";
        world.open().send(&[own("q"), bind("zzz".into())], &["1 queue.declare-ok q 0 0", &error(words)]);
        let words = "Invalid x-match field type signedint (value 5); expected longstr";
        world.open().send(&[own("q"), bind(5.into())], &["1 queue.declare-ok q 0 0", &error(words)]);
    }

    fn exchanges_pass_messages_on_even_in_circles(world) {
        let mut client = world.open();
        let fanout = |name: &str| on(1, exchange::Declare::new(name, "fanout").transient().auto_delete());
        client.send(&[fanout("x"), fanout("y")], &["1 exchange.declare-ok"; 2]);
        let circle = [on(1, exchange::Bind::new("y", "x", "")), on(1, exchange::Bind::new("x", "y", ""))];
        client.send(&circle, &["1 exchange.bind-ok"; 2]);
        client.send(&[own("q"), bind("q", "y", "")], &["1 queue.declare-ok q 0 0", "1 queue.bind-ok"]);
        assert_eq!(reaches(&mut client, publish(1, basic::Publish::new("x", ""), "a"), &["q", "q"]), ["q"]);
        client.send(&[on(1, exchange::Unbind::new("y", "x", ""))], &["1 exchange.unbind-ok"]);
        client.send(&[on(1, exchange::Delete::new("y"))], &["1 exchange.delete-ok"]);
    }

    fn an_alternate_exchange_takes_what_follows_no_binding(world) {
        let mut client = world.open();
        let declare = |name: &str, kind: &str| exchange::Declare::new(name, kind).transient();
        let with_alternate = declare("x", "direct").arguments(Table::new().with("alternate-exchange", "ae"));
        client.send(&[on(1, with_alternate), on(1, declare("ae", "fanout"))], &["1 exchange.declare-ok"; 2]);
        client.send(&[own("q"), bind("q", "ae", "")], &["1 queue.declare-ok q 0 0", "1 queue.bind-ok"]);
        let message = || publish(1, basic::Publish::new("x", "k").mandatory(), "lost");
        assert_eq!(reaches(&mut client, message(), &["q"]), ["q"]);
        client.send(&[on(1, exchange::Delete::new("ae"))], &["1 exchange.delete-ok"]);
        client.send(&[message()], &["1 basic.return 312 NO_ROUTE 'x' 'k' 'lost'"]);
        client.send(&[on(1, exchange::Delete::new("x"))], &["1 exchange.delete-ok"]);
    }

    fn copies_go_to_more_queues_and_blind_ones_are_not_told(world) {
        let mut client = world.open();
        client.send(&[own("p"), own("q")], &["1 queue.declare-ok p 0 0", "1 queue.declare-ok q 0 0"]);
        let headers = Table::new().with("CC", vec![Value::from("q")]).with("BCC", vec![Value::from("q")]).with("h", 1);
        let message = publish_with(1, basic::Publish::new("", "p"), &Properties::new().headers(headers), "x");
        client.send(&[message], &[]);
        client.send(&[get("p")], &["1 basic.get-ok 1, 0 left 'x' {CC=[q], h=1}"]);
        client.send(&[get("q"), get("q")], &["1 basic.get-ok 2, 0 left 'x' {CC=[q], h=1}", "1 basic.get-empty"]);
    }
}
