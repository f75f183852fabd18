//! Getting in, or not.

use amqp_core::{method::connection, wire::Table};

use crate::support::{capabilities, on, start_ok};

cases! {
    fn a_foreign_header_is_answered_with_the_brokers_own(world) {
        for header in [b"AMQP\0\x01\0\0", b"HTTP/1.1", b"\x16\x03\x01\0\0\0\0\0"] {
            let mut client = world.dial();
            client.raw(header);
            assert_eq!(client.answer(8), b"AMQP\0\0\x09\x01");
            client.sees(&["end"]);
        }
    }

    fn a_wrong_password_is_refused_in_words_to_a_client_that_wants_them(world) {
        for (mechanism, response) in [
            ("PLAIN", &b"\0guest\0wrong"[..]),
            ("PLAIN", b"\0nobody\0guest"),
            ("AMQPLAIN", b"\x05LOGINS\0\0\0\x05guest\x08PASSWORDS\0\0\0\x05wrong"),
        ] {
            let mut client = world.dial();
            client.raw(b"AMQP\0\0\x09\x01");
            client.take_one("connection.start");
            let expected = format!(
                "0 connection.close 403 - ACCESS_REFUSED - Login was refused using authentication mechanism \
                 {mechanism}. For details see the broker logfile."
            );
            client.send(&[on(0, start_ok(mechanism, response, capabilities()))], &[&expected]);
        }
    }

    fn amqplain_lets_in(world) {
        let mut client = world.dial();
        client.raw(b"AMQP\0\0\x09\x01");
        client.take_one("connection.start");
        let response = b"\x05LOGINS\0\0\0\x05guest\x08PASSWORDS\0\0\0\x05guest";
        let start = start_ok("AMQPLAIN", response, Table::new());
        client.send(&[on(0, start)], &["0 connection.tune 2047 131072 60"]);
    }

    fn an_unknown_virtual_host_is_refused_in_words(world) {
        let mut client = world.dial();
        client.raw(b"AMQP\0\0\x09\x01");
        client.take_one("connection.start");
        client.send(
            &[on(0, start_ok("PLAIN", b"\0guest\0guest", Table::new()))],
            &["0 connection.tune 2047 131072 60"],
        );
        let refusal = "0 connection.close 530 connection.open NOT_ALLOWED - vhost nope not found";
        let tune = connection::TuneOk::new(2047, 131_072, 0);
        client.send(&[on(0, tune), on(0, connection::Open::new("nope"))], &[refusal]);
        client.send(&[on(0, connection::CloseOk::new())], &["end"]);
    }

    fn the_whole_handshake_may_come_in_one_piece(world) {
        let mut client = world.dial();
        client.raw(&[
            &b"AMQP\0\0\x09\x01"[..],
            &on(0, start_ok("PLAIN", b"\0guest\0guest", Table::new())),
            &on(0, connection::TuneOk::new(2047, 131_072, 0)),
            &on(0, connection::Open::new("/")),
        ].concat());
        client.sees(&["0 connection.start", "0 connection.tune 2047 131072 60", "0 connection.open-ok"]);
    }
}
