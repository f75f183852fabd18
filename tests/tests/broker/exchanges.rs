//! Declaring and deleting exchanges.

use amqp_core::{
    method::{exchange, queue},
    wire::Table,
};

use crate::support::{World, on, own};

fn declare(name: &str, kind: &str) -> exchange::Declare {
    exchange::Declare::new(name, kind).transient()
}

fn delete(name: &str) -> bytes::BytesMut {
    on(1, exchange::Delete::new(name))
}

fn refused(world: &World, declare: exchange::Declare, error: &str) {
    world.open().send(&[on(1, declare)], &[&format!("1 channel.close {error}")]);
}

cases! {
    fn an_exchange_declared_again_has_to_be_the_same(world) {
        let mut client = world.open();
        client.send(&[on(1, declare("x", "direct")), on(1, declare("x", "direct"))], &["1 exchange.declare-ok"; 2]);
        let differs = |what: &str| {
            format!("406 exchange.declare PRECONDITION_FAILED - inequivalent arg {what}")
        };
        refused(world, declare("x", "fanout"), &differs("'type' for exchange 'x' in vhost '/': received 'fanout' but current is 'direct'"));
        let durable = exchange::Declare::new("x", "direct");
        refused(world, durable, &differs("'durable' for exchange 'x' in vhost '/': received 'true' but current is 'false'"));
        let auto_delete = declare("x", "direct").auto_delete();
        refused(world, auto_delete, &differs("'auto_delete' for exchange 'x' in vhost '/': received 'true' but current is 'false'"));
        let internal = declare("x", "direct").internal();
        refused(world, internal, &differs("'internal' for exchange 'x' in vhost '/': received 'true' but current is 'false'"));
        let alternate = |name: &str| declare("x", "direct").arguments(Table::new().with("alternate-exchange", name));
        refused(world, alternate("ae"), &differs(
            "'alternate-exchange' for exchange 'x' in vhost '/': received the value 'ae' of type 'longstr' but current is none"));
        client.send(&[delete("x")], &["1 exchange.delete-ok"]);
        client.send(&[on(1, alternate("ae"))], &["1 exchange.declare-ok"]);
        refused(world, alternate("be"), &differs(
            "'alternate-exchange' for exchange 'x' in vhost '/': received 'be' but current is 'ae'"));
        let unknown = alternate("ae").arguments(Table::new().with("alternate-exchange", "ae").with("foo", "bar"));
        client.send(&[on(1, unknown)], &["1 exchange.declare-ok"]);
        client.send(&[delete("x")], &["1 exchange.delete-ok"]);
    }

    fn passive_only_looks_whether_it_is_there(world) {
        let passive = |name: &str, kind: &str| on(1, declare(name, kind).passive());
        let mut client = world.open();
        client.send(&[passive("amq.direct", "fanout"), passive("amq.topic", "nonsense")], &["1 exchange.declare-ok"; 2]);
        let missing = "1 channel.close 404 exchange.declare NOT_FOUND - no exchange 'nope' in vhost '/'";
        client.send(&[passive("nope", "direct")], &[missing]);
    }

    fn unknown_types_end_the_connection(world) {
        for (kind, words) in [("nonsense", "unknown exchange type 'nonsense'"), ("", "invalid exchange type ''")] {
            let error = format!("0 connection.close 503 exchange.declare COMMAND_INVALID - {words}");
            world.open().send(&[on(1, declare("y", kind))], &[&error]);
        }
    }

    fn the_brokers_own_names_are_reserved(world) {
        let reserved = "403 exchange.declare ACCESS_REFUSED - exchange name 'amq.foo' contains reserved prefix 'amq.*'";
        refused(world, declare("amq.foo", "direct"), reserved);
        world.open().send(&[on(1, exchange::Declare::new("amq.direct", "direct"))], &["1 exchange.declare-ok"]);
        for name in ["amq.direct", "amq.nope"] {
            let error = format!(
                "1 channel.close 403 exchange.delete ACCESS_REFUSED - deletion of system exchange '{name}' in vhost '/' not allowed"
            );
            world.open().send(&[delete(name)], &[&error]);
        }
    }

    fn the_exchange_without_a_name_is_left_alone(world) {
        let error = |method: &str| {
            format!("1 channel.close 403 {method} ACCESS_REFUSED - operation not permitted on the default exchange")
        };
        world.open().send(&[on(1, declare("", "direct"))], &[&error("exchange.declare")]);
        world.open().send(&[on(1, declare("", "direct").passive())], &[&error("exchange.declare")]);
        world.open().send(&[delete("")], &[&error("exchange.delete")]);
        world.open().send(&[on(1, exchange::Bind::new("", "amq.direct", ""))], &[&error("exchange.bind")]);
        world.open().send(&[on(1, exchange::Bind::new("amq.direct", "", ""))], &[&error("exchange.bind")]);
        world.open().send(&[on(1, exchange::Unbind::new("", "amq.direct", ""))], &[&error("exchange.unbind")]);
        world.open().send(&[own("q"), on(1, queue::Bind::new("q", "", ""))], &["1 queue.declare-ok q 0 0", &error("queue.bind")]);
        world.open().send(&[own("q"), on(1, queue::Unbind::new("q", "", ""))], &["1 queue.declare-ok q 0 0", &error("queue.unbind")]);
    }

    fn deleting_what_is_not_there_is_fine(world) {
        world.open().send(&[delete("nope"), on(1, exchange::Delete::new("nope").if_unused())], &["1 exchange.delete-ok"; 2]);
    }

    fn an_exchange_in_use_is_the_start_of_a_binding(world) {
        let mut client = world.open();
        client.send(&[on(1, declare("x", "direct")), on(1, declare("y", "direct"))], &["1 exchange.declare-ok"; 2]);
        client.send(&[on(1, exchange::Bind::new("y", "x", "k"))], &["1 exchange.bind-ok"]);
        let used = "1 channel.close 406 exchange.delete PRECONDITION_FAILED - exchange 'x' in vhost '/' in use";
        world.open().send(&[on(1, exchange::Delete::new("x").if_unused())], &[used]);
        client.send(&[on(1, exchange::Delete::new("y").if_unused())], &["1 exchange.delete-ok"]);
        client.send(&[on(1, exchange::Delete::new("x").if_unused())], &["1 exchange.delete-ok"]);
    }

    fn an_auto_delete_exchange_goes_with_its_last_binding(world) {
        let missing = |name: &str| {
            format!("1 channel.close 404 exchange.declare NOT_FOUND - no exchange '{name}' in vhost '/'")
        };
        let mut client = world.open();
        let chain = [on(1, declare("x", "direct").auto_delete()), on(1, declare("y", "direct").auto_delete())];
        client.send(&chain, &["1 exchange.declare-ok"; 2]);
        client.send(&[on(1, exchange::Bind::new("y", "x", "")), own("q")], &["1 exchange.bind-ok", "1 queue.declare-ok q 0 0"]);
        client.send(&[on(1, queue::Bind::new("q", "y", ""))], &["1 queue.bind-ok"]);
        client.send(&[on(1, queue::Delete::new("q"))], &["1 queue.delete-ok 0"]);
        world.open().send(&[on(1, declare("y", "direct").passive())], &[&missing("y")]);
        world.open().send(&[on(1, declare("x", "direct").passive())], &[&missing("x")]);
    }

    fn line_breaks_vanish_from_names(world) {
        let mut client = world.open();
        client.send(&[on(1, declare("a\r\nb", "direct")), on(1, declare("ab", "direct").passive())], &["1 exchange.declare-ok"; 2]);
        client.send(&[delete("a\nb")], &["1 exchange.delete-ok"]);
    }
}
