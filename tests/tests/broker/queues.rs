//! Declaring, deleting and purging queues, and whose they are.

use amqp_core::method::{AnyMethod, basic, queue};

use crate::support::{consume, get, locked, on, own, to_queue};

fn passive(name: &str) -> bytes::BytesMut {
    on(1, queue::Declare::new(name).passive())
}

cases! {
    fn a_queue_tells_its_name_and_how_full_it_is(world) {
        let mut client = world.open();
        client.send(&[own("q"), to_queue("q", "a"), to_queue("q", "b")], &["1 queue.declare-ok q 0 0"]);
        client.send(&[passive("q")], &["1 queue.declare-ok q 2 0"]);
        client.send(&[get("q")], &["1 basic.get-ok 1, 1 left 'a'"]);
        client.send(&[own("q")], &["1 queue.declare-ok q 1 0"]);
        client.send(&[consume("q", "t")], &["1 basic.consume-ok t", "1 basic.deliver t 2 'b'"]);
        client.send(&[passive("q")], &["1 queue.declare-ok q 0 1"]);
    }

    fn a_queue_without_a_name_is_given_one(world) {
        let mut client = world.open();
        let nameless = || on(1, queue::Declare::server_named());
        client.send(&[nameless(), nameless()], &["1 queue.declare-ok amq.gen-* 0 0"; 2]);
        let nobody = "1 channel.close 404 queue.declare NOT_FOUND - no queue '' in vhost '/'";
        client.send(&[passive("")], &[nobody]);
    }

    fn an_empty_name_stands_for_the_queue_declared_last(world) {
        let mut client = world.open();
        client.send(&[own("p"), own("q")], &["1 queue.declare-ok p 0 0", "1 queue.declare-ok q 0 0"]);
        client.send(&[on(1, queue::Bind::new("", "amq.direct", ""))], &["1 queue.bind-ok"]);
        client.send(&[crate::support::publish(1, basic::Publish::new("amq.direct", "q"), "by its name")], &[]);
        client.send(&[get("")], &["1 basic.get-ok 1, 0 left 'by its name'"]);
        client.send(&[on(1, queue::Unbind::new("", "amq.direct", ""))], &["1 queue.unbind-ok"]);
        client.send(&[on(1, queue::Purge::new(""))], &["1 queue.purge-ok 0"]);
        client.send(&[on(1, queue::Delete::new(""))], &["1 queue.delete-ok 0"]);
    }

    fn an_empty_name_stands_for_nothing_where_none_was_declared(world) {
        let methods: [AnyMethod; 6] = [
            queue::Bind::new("", "amq.direct", "k").into(),
            queue::Unbind::new("", "amq.direct", "k").into(),
            queue::Purge::new("").into(),
            queue::Delete::new("").into(),
            basic::Get::new("").into(),
            basic::Consume::new("").into(),
        ];
        for method in methods {
            let error = format!("1 channel.close 404 {} NOT_FOUND - no previously declared queue", method.id());
            world.open().send(&[on(1, method)], &[&error]);
        }
    }

    fn missing_queues_are_missed_except_by_delete(world) {
        let methods: [AnyMethod; 4] = [
            queue::Purge::new("nope").into(),
            basic::Get::new("nope").into(),
            basic::Consume::new("nope").into(),
            queue::Declare::new("nope").passive().into(),
        ];
        for method in methods {
            let error = format!("1 channel.close 404 {} NOT_FOUND - no queue 'nope' in vhost '/'", method.id());
            world.open().send(&[on(1, method)], &[&error]);
        }
        world.open().send(&[on(1, queue::Delete::new("nope"))], &["1 queue.delete-ok 0"]);
    }

    fn a_queue_declared_again_has_to_be_the_same(world) {
        let mut client = world.open();
        let declare = || queue::Declare::new("amqp-test.same").transient();
        client.send(&[on(1, declare()), on(1, declare())], &["1 queue.declare-ok amqp-test.same 0 0"; 2]);
        let differs = |what: &str| {
            format!("1 channel.close 406 queue.declare PRECONDITION_FAILED - inequivalent arg '{what}' for queue \
                     'amqp-test.same' in vhost '/': received 'true' but current is 'false'")
        };
        world.open().send(&[on(1, queue::Declare::new("amqp-test.same"))], &[&differs("durable")]);
        world.open().send(&[on(1, declare().auto_delete())], &[&differs("auto_delete")]);
        world.open().send(&[on(1, declare().exclusive())], &[&locked("queue.declare", "amqp-test.same")]);
        client.send(&[on(1, queue::Delete::new("amqp-test.same"))], &["1 queue.delete-ok 0"]);
    }

    fn an_exclusive_queue_is_never_durable(world) {
        let transient = on(1, queue::Declare::new("q").transient().exclusive());
        world.open().send(&[own("q"), transient], &["1 queue.declare-ok q 0 0"; 2]);
    }

    fn an_exclusive_queue_is_locked_to_other_connections(world) {
        let mut owner = world.open();
        owner.send(&[own("q")], &["1 queue.declare-ok q 0 0"]);
        let methods: [AnyMethod; 7] = [
            queue::Declare::new("q").exclusive().into(),
            queue::Declare::new("q").passive().into(),
            queue::Bind::new("q", "amq.direct", "k").into(),
            queue::Purge::new("q").into(),
            queue::Delete::new("q").into(),
            basic::Get::new("q").into(),
            basic::Consume::new("q").into(),
        ];
        for method in methods {
            let expected = locked(&method.id().to_string(), "q");
            world.open().send(&[on(1, method)], &[&expected]);
        }
        let mut other = world.open();
        other.send(&[to_queue("q", "anybody may send")], &[]);
        other.send(&[on(1, basic::Qos::new(0))], &["1 basic.qos-ok"]);
        owner.send(&[get("q")], &["1 basic.get-ok 1, 0 left 'anybody may send'"]);
        owner.send(&[on(1, queue::Declare::new("q"))], &[&locked("queue.declare", "q")]);
    }

    fn the_brokers_own_names_are_reserved(world) {
        let error = "1 channel.close 403 queue.declare ACCESS_REFUSED - queue name 'amq.foo' contains reserved prefix \
                     'amq.*'";
        world.open().send(&[own("amq.foo")], &[error]);
        let missing = "1 channel.close 404 queue.declare NOT_FOUND - no queue 'amq.foo' in vhost '/'";
        world.open().send(&[passive("amq.foo")], &[missing]);
    }

    fn a_queue_can_be_deleted_only_if_nobody_minds(world) {
        let mut client = world.open();
        client.send(&[own("q"), to_queue("q", "a")], &["1 queue.declare-ok q 0 0"]);
        client.open(2);
        let full = "2 channel.close 406 queue.delete PRECONDITION_FAILED - queue 'q' in vhost '/' not empty";
        client.send(&[on(2, queue::Delete::new("q").if_empty())], &[full]);
        client.send(&[consume("q", "t")], &["1 basic.consume-ok t", "1 basic.deliver t 1 'a'"]);
        client.open(3);
        let used = "3 channel.close 406 queue.delete PRECONDITION_FAILED - queue 'q' in vhost '/' in use";
        client.send(&[on(3, queue::Delete::new("q").if_unused())], &[used]);
        client.send(&[on(1, queue::Delete::new("q").if_empty())], &["1 queue.delete-ok 0", "1 basic.cancel t"]);
    }

    fn purging_leaves_what_is_unacknowledged(world) {
        let mut client = world.open();
        client.send(&[own("q"), to_queue("q", "a"), to_queue("q", "b")], &["1 queue.declare-ok q 0 0"]);
        client.send(&[get("q")], &["1 basic.get-ok 1, 1 left 'a'"]);
        client.send(&[on(1, queue::Purge::new("q"))], &["1 queue.purge-ok 1"]);
        client.send(&[on(1, basic::Nack::new(1))], &[]);
        client.send(&[get("q")], &["1 basic.get-ok 2 again, 0 left 'a'"]);
    }

    fn an_auto_delete_queue_goes_with_its_last_consumer(world) {
        let missing = "1 channel.close 404 queue.declare NOT_FOUND - no queue 'amqp-test.auto' in vhost '/'";
        let mut client = world.open();
        client.open(2);
        client.open(3);
        let declare = || on(1, queue::Declare::new("amqp-test.auto").transient().auto_delete());
        let on_2 = || on(2, basic::Consume::new("amqp-test.auto").consumer_tag("u"));
        client.send(&[declare(), consume("amqp-test.auto", "t")],
            &["1 queue.declare-ok amqp-test.auto 0 0", "1 basic.consume-ok t"]);
        client.send(&[on_2()], &["2 basic.consume-ok u"]);
        client.send(&[on(1, basic::Cancel::new("t"))], &["1 basic.cancel-ok t"]);
        client.send(&[passive("amqp-test.auto")], &["1 queue.declare-ok amqp-test.auto 0 1"]);
        let close = amqp_core::method::channel::Close::new(amqp_core::method::ReplyCode::REPLY_SUCCESS, "");
        client.send(&[on(2, close)], &["2 channel.close-ok"]);
        client.send(&[passive("amqp-test.auto")], &[missing]);
    }

    fn line_breaks_vanish_from_names_but_not_everywhere(world) {
        let mut client = world.open();
        client.send(&[own("q\r\nz")], &["1 queue.declare-ok qz 0 0"]);
        client.send(&[on(1, queue::Bind::new("q\nz", "amq.direct", ""))], &["1 queue.bind-ok"]);
        let missing = "1 channel.close 404 basic.get NOT_FOUND - no queue 'q\nz' in vhost '/'";
        client.send(&[get("q\nz")], &[missing]);
    }
}
