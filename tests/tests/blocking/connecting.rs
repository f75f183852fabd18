//! The ways in which connecting fails, each an error of its own.

use std::{
    io::Write,
    net::{Ipv4Addr, TcpListener},
    time::Duration,
};

use amqp_blocking::{
    Connection, ConnectionError, Error, Misuse,
    method::{ReplyCode, connection},
    wire::{Table, Value},
};
use amqp_core::{
    error::{Greeting, ProtocolVersion, Stage},
    uri::UriError,
};
use amqp_test::brokers::on_every_broker;

use crate::{
    peer::{Peer, Script},
    support::{PROMPT, connect_with, eventually, timed},
};

/// What becomes of a connection to a server with this script.
fn fails(script: impl FnOnce(&mut Peer) + Send + 'static) -> ConnectionError {
    let script = Script::start(script);
    let error = amqp_blocking::connect(&script.uri()).unwrap_err();
    script.finish();
    fault(error)
}

fn fault(error: Error) -> ConnectionError {
    let Error::Connection(fault) = error else { panic!("{error:?} is no error of the connection") };
    fault
}

#[test]
fn a_connection_tells_what_was_agreed_and_who_the_broker_is() {
    on_every_broker(|uri| {
        let wishes = |config: amqp_blocking::Config| config.heartbeat(7).channel_max(5).frame_max(10_000);
        let connection = connect_with(uri, wishes).unwrap();
        let tuning = connection.tuning();
        assert_eq!((tuning.heartbeat, tuning.channel_max, tuning.frame_max), (7, 5, 10_000));
        let properties = connection.server_properties();
        assert!(properties.get("product").and_then(Value::as_str).is_some_and(|name| !name.is_empty()));
        assert!(!connection.is_blocked());
        connection.close().unwrap();
    });
}

#[test]
fn nobody_listens() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let refused = fault(amqp_blocking::connect(&format!("amqp://{address}")).unwrap_err());
    assert!(
        matches!(&refused, ConnectionError::Unreachable { address: tried, .. } if *tried == address),
        "{refused:?}"
    );
    let unknown = fault(amqp_blocking::connect("amqp://no-such-host.invalid").unwrap_err());
    assert!(matches!(unknown, ConnectionError::Unreachable { .. }), "{unknown:?}");
}

#[test]
fn what_answers_is_no_amqp_server() {
    let answers = |octets: &'static [u8]| {
        fails(move |peer| {
            peer.protocol_header();
            peer.stream.write_all(octets).unwrap();
        })
    };
    assert_eq!(answers(b"HTTP/1.1 400 Bad Request\r\n\r\n"), ConnectionError::NotAmqp(Greeting::Http));
    assert_eq!(answers(b"\x15\x03\x03\0\x02\x02\x32"), ConnectionError::NotAmqp(Greeting::Tls));
    assert_eq!(answers(b"SSH-2.0-OpenSSH_9.2\r\n"), ConnectionError::NotAmqp(Greeting::Ssh));
    assert_eq!(answers(b"220 mail"), ConnectionError::NotAmqp(Greeting::Other(*b"220 ")));
    let amqp_1_0 = ConnectionError::OtherProtocol(ProtocolVersion([3, 1, 0, 0]));
    assert_eq!(answers(b"AMQP\x03\x01\0\0"), amqp_1_0);
}

#[test]
fn the_server_is_silent() {
    for (stage, script) in [
        (Stage::Greeting, (|_| ()) as fn(&mut Peer)),
        (Stage::Login, start),
        (Stage::Opening, |peer| {
            start(peer);
            peer.expect::<connection::StartOk>();
            peer.send(0, connection::Tune::new(0, 0, 0));
        }),
    ] {
        let after = Duration::from_millis(200);
        let script = Script::start(move |peer| {
            script(peer);
            // What follows the last answer, up to the end.
            let mut rest = Vec::new();
            std::io::Read::read_to_end(&mut peer.stream, &mut rest).unwrap_or_default();
        });
        let (result, time) = timed(|| connect_with(&script.uri(), |config| config.handshake_timeout(after)));
        assert_eq!(fault(result.unwrap_err()), ConnectionError::HandshakeTimeout { stage, after });
        assert!((after..after + PROMPT).contains(&time), "{time:?}");
        script.finish();
    }
}

#[test]
fn the_server_hangs_up() {
    let at_once = fails(|_| ());
    assert!(matches!(at_once, ConnectionError::Disconnected { stage: Stage::Greeting, .. }), "{at_once:?}");
    let in_login = fails(|peer| {
        start(peer);
        peer.expect::<connection::StartOk>();
    });
    assert!(matches!(in_login, ConnectionError::AuthenticationProbablyRefused(_)), "{in_login:?}");
    let in_tuning = fails(|peer| {
        start(peer);
        peer.expect::<connection::StartOk>();
        peer.send(0, connection::Tune::new(0, 0, 0));
        peer.expect::<connection::TuneOk>();
        peer.expect::<connection::Open>();
    });
    assert!(matches!(in_tuning, ConnectionError::TuningProbablyRefused(_)), "{in_tuning:?}");
}

#[test]
fn the_server_offers_what_nobody_can_take() {
    let mechanisms = fails(|peer| {
        peer.protocol_header();
        peer.send(0, connection::Start::new(0, 9, Table::new(), "GSSAPI PLAINER", "en_US"));
        peer.wait_for_end();
    });
    let (offered, wanted) = ("GSSAPI PLAINER".into(), "PLAIN".into());
    assert_eq!(mechanisms, ConnectionError::NoCommonMechanism { offered, wanted });
    let frames = fails(|peer| {
        start(peer);
        peer.expect::<connection::StartOk>();
        peer.send(0, connection::Tune::new(0, 100, 0));
        peer.wait_for_end();
    });
    assert_eq!(frames, ConnectionError::FrameMaxTooSmall { offered: 100, minimum: 4096 });
}

#[test]
fn a_wrong_password_is_refused_with_the_brokers_words() {
    on_every_broker(|uri| {
        let error = fault(connect_with(uri, |config| config.login("guest", "wrong")).unwrap_err());
        let ConnectionError::AuthenticationRefused(close) = error else { panic!("{error:?}") };
        assert_eq!(close.code, ReplyCode::ACCESS_REFUSED);
        assert!(close.text.contains("Login was refused"), "{}", close.text);
    });
}

#[test]
fn an_unknown_virtual_host_is_refused_with_the_brokers_words() {
    on_every_broker(|uri| {
        let error = fault(connect_with(uri, |config| config.vhost("no-such-host")).unwrap_err());
        let ConnectionError::VirtualHostRefused(close) = error else { panic!("{error:?}") };
        assert_eq!(close.code, ReplyCode::NOT_ALLOWED);
        assert!(close.text.contains("vhost no-such-host not found"), "{}", close.text);
    });
}

#[test]
fn tls_is_refused_and_never_replaced_by_plain_tcp() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let uri = format!("amqps://{}", listener.local_addr().unwrap());
    let refused = Error::Connection(ConnectionError::Misuse(Misuse::NoTls));
    assert_eq!(amqp_blocking::connect(&uri).unwrap_err(), refused);
    listener.set_nonblocking(true).unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn a_uri_that_is_none_is_refused() {
    for (uri, expected) in [
        ("http://localhost", UriError::Scheme),
        ("amqp:localhost", UriError::MissingSlashes),
        ("amqp://localhost/%zz", UriError::PercentSequence { position: 17 }),
        ("amqp://localhost:0", UriError::PortOutOfRange { position: 17 }),
        ("amqp://localhost/a/b", UriError::SecondPathSegment { position: 18 }),
        ("amqp://localhost?hartbeat=5", UriError::UnknownOption { name: Some("hartbeat".into()), position: 17 }),
    ] {
        let error = amqp_blocking::connect(uri).unwrap_err();
        assert_eq!(error, Error::Connection(ConnectionError::Uri(expected)), "{uri}");
    }
}

#[test]
fn a_frame_max_that_no_broker_takes_is_refused() {
    on_every_broker(|uri| {
        let refused = connect_with(uri, |config| config.frame_max(100)).unwrap_err();
        assert_eq!(refused, ConnectionError::Misuse(Misuse::FrameMaxTooSmall { wanted: 100, minimum: 4096 }).into());
    });
}

#[test]
fn all_channels_are_in_use() {
    on_every_broker(|uri| {
        let connection: Connection = connect_with(uri, |config| config.channel_max(2)).unwrap();
        let channels = [(); 2].map(|()| connection.open_channel().unwrap());
        assert_eq!(connection.open_channel().unwrap_err(), Error::Misuse(Misuse::NoFreeChannel { limit: 2 }));
        channels[0].close().unwrap();
        drop(channels);
        eventually(|| connection.open_channel().ok());
    });
}

fn start(peer: &mut Peer) {
    peer.protocol_header();
    peer.send(0, connection::Start::new(0, 9, Table::new(), "PLAIN", "en_US"));
}
