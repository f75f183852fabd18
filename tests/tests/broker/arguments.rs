//! Optional arguments: what is refused, and what makes two declarations differ.

use amqp_core::wire::{Table, Value};

use crate::support::own_with;

cases! {
    fn bad_arguments_are_refused(world) {
        let cases: [(&str, Value, &str); 15] = [
            ("x-message-ttl", "a".into(), "\"expected integer, got longstr\""),
            ("x-message-ttl", 1.5.into(), "\"expected integer, got double\""),
            ("x-message-ttl", (-1).into(), "{value_negative,-1}"),
            ("x-message-ttl", (1_i64 << 40).into(), "{value_too_large,1099511627776}"),
            ("x-expires", 0.into(), "{value_zero,0}"),
            ("x-max-length", (-5).into(), "{value_negative,-5}"),
            ("x-max-length-bytes", "a".into(), "\"expected integer, got longstr\""),
            ("x-overflow", "zzz".into(), "invalid_overflow"),
            ("x-overflow", 1.into(), "{unacceptable_type,signedint}"),
            ("x-max-priority", 256.into(), "{max_value_exceeded,256}"),
            ("x-dead-letter-routing-key", "a".into(), "routing_key_but_no_dlx_defined"),
            ("x-single-active-consumer", 5.into(), "{unacceptable_type,signedint}"),
            ("x-queue-type", "zzz".into(), "\"unsupported queue type 'zzz'\""),
            ("x-queue-type", 1.into(), "{unacceptable_type,signedint}"),
            ("x-queue-mode", "zzz".into(), "\"unsupported queue mode 'zzz'\""),
        ];
        for (key, value, reason) in cases {
            let error = format!("1 channel.close 406 queue.declare PRECONDITION_FAILED - invalid arg '{key}' for queue \
                                 'q' in vhost '/': {reason}");
            world.open().send(&[own_with("q", Table::new().with(key, value))], &[&error]);
        }
        let error = "1 channel.close 406 queue.declare PRECONDITION_FAILED - invalid type 'signedint' for arg \
                     'x-dead-letter-exchange' in queue 'q' in vhost '/'";
        world.open().send(&[own_with("q", Table::new().with("x-dead-letter-exchange", 5))], &[error]);
        let several = Table::new().with("x-overflow", "zzz").with("x-message-ttl", -1).with("x-expires", 0);
        let error = "1 channel.close 406 queue.declare PRECONDITION_FAILED - invalid arg 'x-expires' for queue 'q' in \
                     vhost '/': {value_zero,0}";
        world.open().send(&[own_with("q", several)], &[error]);
    }

    fn unknown_arguments_are_taken_and_do_not_matter(world) {
        let unknown = Table::new().with("x-foo", "bar");
        world.open().send(&[own_with("q", unknown), own_with("q", Table::new())], &["1 queue.declare-ok q 0 0"; 2]);
    }

    fn integers_are_the_same_whatever_their_width(world) {
        let arguments = [Value::I32(5), Value::I64(5), Value::U16(5)].map(|limit| Table::new().with("x-max-length", limit));
        let declares = arguments.map(|arguments| own_with("q", arguments));
        world.open().send(&declares, &["1 queue.declare-ok q 0 0"; 3]);
    }

    fn arguments_that_matter_have_to_be_the_same(world) {
        let differs = |key: &str, rest: &str| {
            format!("1 channel.close 406 queue.declare PRECONDITION_FAILED - inequivalent arg '{key}' for queue 'q' in \
                     vhost '/': {rest}")
        };
        let declared = "1 queue.declare-ok q 0 0";
        let limited = |limit: i32| own_with("q", Table::new().with("x-max-length", limit));
        let none = || own_with("q", Table::new());
        let error = differs("x-max-length", "received '6' but current is '5'");
        world.open().send(&[limited(5), limited(6)], &[declared, &error]);
        let error = differs("x-max-length", "received none but current is the value '5' of type 'signedint'");
        world.open().send(&[limited(5), none()], &[declared, &error]);
        let error = differs("x-max-length", "received the value '5' of type 'signedint' but current is none");
        world.open().send(&[none(), limited(5)], &[declared, &error]);
        let single = own_with("q", Table::new().with("x-single-active-consumer", true));
        let error = differs("x-single-active-consumer", "received the value 'true' of type 'bool' but current is none");
        world.open().send(&[none(), single], &[declared, &error]);
        let classic = own_with("q", Table::new().with("x-queue-type", "classic"));
        world.open().send(&[none(), classic], &[declared, declared]);
    }

    fn quorum_queues_are_durable_and_shared(world) {
        use amqp_core::method::queue;
        let quorum = || queue::Declare::new("q").arguments(Table::new().with("x-queue-type", "quorum"));
        let cases = [
            (quorum().transient(), "non-durable"),
            (quorum().auto_delete(), "auto-delete"),
        ];
        for (declare, property) in cases {
            let error = format!("1 channel.close 406 queue.declare PRECONDITION_FAILED - invalid property '{property}' \
                                 for queue 'q' in vhost '/'");
            world.open().send(&[crate::support::on(1, declare)], &[&error]);
        }
    }
}
