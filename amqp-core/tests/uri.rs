//! URIs: what RabbitMQ's own parser makes of them, what we make of them, and that no password is ever shown.

use std::time::Duration;

use amqp_core::{
    Misuse,
    config::{Config, Heartbeat},
    sasl::Sasl,
    uri::{ServerName, Uri, UriError},
};

/// What a URI names, in short: scheme, user, password, host, port, virtual host.
#[derive(Debug, PartialEq)]
struct Parts(&'static str, String, String, String, u16, String);

type Parsed = Result<Parts, UriError>;

fn parts(uri: &Uri) -> Parts {
    let password = String::from_utf8(uri.password().expose().to_vec()).unwrap();
    let scheme = if uri.is_tls() { "amqps" } else { "amqp" };
    Parts(scheme, uri.user().into(), password, uri.host().into(), uri.port(), uri.vhost().into())
}

fn parsed(text: &str) -> Parsed {
    text.parse::<Uri>().map(|uri| parts(&uri))
}

fn ok(scheme: &'static str, user: &str, password: &str, host: &str, port: u16, vhost: &str) -> Parsed {
    Ok(Parts(scheme, user.into(), password.into(), host.into(), port, vhost.into()))
}

fn guest(host: &str, port: u16, vhost: &str) -> Parsed {
    ok("amqp", "guest", "guest", host, port, vhost)
}

fn guest_tls(host: &str) -> Parsed {
    ok("amqps", "guest", "guest", host, 5671, "/")
}

fn unknown(name: &str, position: usize) -> Parsed {
    Err(UriError::UnknownOption { name: Some(name.into()), position })
}

/// URIs that RabbitMQ's Erlang client (3.10) was asked about: the URI, our reading, and what that client does where it
/// reads it differently.
fn vectors() -> Vec<(&'static str, Parsed, &'static str)> {
    const IN_VM: &str = "a connection inside the broker's own virtual machine, which no other program can have";
    const UNKNOWN: &str = "ignores unknown options; we tell of a misspelt one";
    vec![
        ("amqp://user:pass@host:10000/vhost", ok("amqp", "user", "pass", "host", 10000, "vhost"), ""),
        ("amqp://", guest("localhost", 5672, "/"), IN_VM),
        ("amqp://user@", ok("amqp", "user", "guest", "localhost", 5672, "/"), IN_VM),
        ("amqp://host", guest("host", 5672, "/"), ""),
        ("amqp:///vhost", guest("localhost", 5672, "vhost"), IN_VM),
        ("amqp://host/%2f", guest("host", 5672, "/"), ""),
        ("amqp://[::1]:100/blah", guest("::1", 100, "blah"), ""),
        ("amqps://host", guest_tls("host"), ""),
        ("amqp://host:0", Err(UriError::PortOutOfRange { position: 12 }), ""),
        ("amqp://host:65536", Err(UriError::PortOutOfRange { position: 12 }), ""),
        ("amqp://foo:bar:baz", Err(UriError::UnbracketedColon { position: 14 }), ""),
        ("amqp://[::1]foo", Err(UriError::InvalidPort { position: 12 }), ""),
        ("amqp://foo/bar/baz", Err(UriError::SecondPathSegment { position: 14 }), ""),
        ("amqp://foo%1x", Err(UriError::PercentSequence { position: 10 }), ""),
        ("https://host", Err(UriError::Scheme), ""),
        ("host", Err(UriError::Scheme), ""),
        ("amqp://host/?heartbeat=5", guest("host", 5672, "/"), "the virtual host is empty; `parse_strict` agrees"),
        (
            "amqp://host?heartbeat=abc",
            Err(UriError::OptionValue { option: "heartbeat", expected: "seconds, from 0 to 65535" }),
            "",
        ),
        ("amqp://host?heartbeat=0", guest("host", 5672, "/"), ""),
        ("amqp://host?foo=bar", unknown("foo", 12), UNKNOWN),
        ("amqp://host?auth_mechanism=external", guest("host", 5672, "/"), ""),
        ("amqp://host?username=x", unknown("username", 12), ""),
        (
            "amqps://host?verify=verify_peer&cacertfile=/a/b.pem&certfile=/c.pem&keyfile=/k.pem&fail_if_no_peer_cert=true\
             &server_name_indication=sni.example",
            guest_tls("host"),
            "",
        ),
        (
            "amqps://host?verify=bogus_xyz",
            Err(UriError::OptionValue { option: "verify", expected: "verify_peer or verify_none" }),
            "takes any word here, and fails when it connects",
        ),
        ("amqps://host?server_name_indication=disable", guest_tls("host"), ""),
        ("amqps://host?depth=5&password=secret", guest_tls("host"), "took it for the user's password too; fixed since"),
        ("amqp://us%40er:pa%3Ass%2F@host/v%20h", ok("amqp", "us@er", "pa:ss/", "host", 5672, "v h"), ""),
        (
            "amqp://user:pa:ss@host",
            Err(UriError::UnescapedColon { position: 14 }),
            "cuts the password off at the colon",
        ),
        ("amqp://@host", guest("host", 5672, "/"), ""),
        ("amqp://host/v%C3%A9", guest("host", 5672, "vé"), ""),
        ("amqp://host/v?x=1#frag", unknown("x", 14), UNKNOWN),
        ("amqp://host/%zz", Err(UriError::PercentSequence { position: 12 }), ""),
        ("amqp://host//", Err(UriError::SecondPathSegment { position: 12 }), ""),
        (
            "amqp://user:pass@host1,host2/vh",
            Err(UriError::SeveralHosts { position: 22 }),
            "takes it for one host of that name, which there cannot be",
        ),
        ("AMQPS://host", guest_tls("host"), ""),
        ("amqp://host /v", Err(UriError::Whitespace { position: 11 }), "takes the space for a part of the host's name"),
    ]
}

#[test]
fn every_vector_reads_as_written_down() {
    for (uri, expected, note) in vectors() {
        assert_eq!(parsed(uri), expected, "{uri} (RabbitMQ: {})", if note.is_empty() { "the same" } else { note });
    }
}

#[test]
fn what_is_left_out_has_a_default_and_what_is_empty_is_empty() {
    let cases = [
        ("amqp:///", guest("localhost", 5672, "/")),
        ("amqp://localhost/", guest("localhost", 5672, "/")),
        ("amqp://localhost/?", guest("localhost", 5672, "/")),
        ("amqp://localhost?&&", guest("localhost", 5672, "/")),
        ("amqp://localhost#fragment", guest("localhost", 5672, "/")),
        ("amqp://@", guest("localhost", 5672, "/")),
        ("amqp://:@/", ok("amqp", "", "", "localhost", 5672, "/")),
        ("amqp://user%61:%61pass@ho%61st:1/v%2fhost", ok("amqp", "usera", "apass", "hoast", 1, "v/host")),
        ("amqp://user:@host", ok("amqp", "user", "", "host", 5672, "/")),
        ("amqp://:pass@host", ok("amqp", "", "pass", "host", 5672, "/")),
        ("amqp://a+b:c+d@host/e+f", ok("amqp", "a+b", "c+d", "host", 5672, "e+f")),
        ("amqp://host/%2F%2f", guest("host", 5672, "//")),
        ("amqp://host/a%2Fb", guest("host", 5672, "a/b")),
        ("amqp://ho%73t:05672", guest("host", 5672, "/")),
        ("amqp://127.0.0.1", guest("127.0.0.1", 5672, "/")),
        ("amqp://[::1]", guest("::1", 5672, "/")),
        ("amqp://[fe80::1%25eth0]:1", guest("fe80::1%eth0", 1, "/")),
        ("AmQpS://HOST:65535", ok("amqps", "guest", "guest", "HOST", 65535, "/")),
    ];
    for (uri, expected) in cases {
        assert_eq!(parsed(uri), expected, "{uri}");
    }
}

#[test]
fn each_way_to_fail_says_where() {
    let cases = [
        ("", UriError::Scheme),
        ("://host", UriError::Scheme),
        ("localhost:5672", UriError::Scheme),
        ("amqp", UriError::Scheme),
        ("amqp:host", UriError::MissingSlashes),
        ("amqp:/host", UriError::MissingSlashes),
        ("amqp://host\n", UriError::Whitespace { position: 11 }),
        ("amqp://ho\0st", UriError::Whitespace { position: 9 }),
        ("amqp://ho%20st", UriError::InvalidHost { position: 7 }),
        ("amqp://a%2Fb", UriError::InvalidHost { position: 7 }),
        ("amqp://host/%", UriError::PercentSequence { position: 12 }),
        ("amqp://host/a%2", UriError::PercentSequence { position: 13 }),
        ("amqp://u:%+1@host", UriError::PercentSequence { position: 9 }),
        ("amqp://u:p@host/%ff", UriError::NotUtf8 { position: 16 }),
        ("amqp://u:p@ss@host", UriError::UnescapedAt { position: 13 }),
        ("amqp://u:p/w@host", UriError::UnescapedAt { position: 12 }),
        ("amqp://u:1?w@host", UriError::UnescapedAt { position: 12 }),
        ("amqp://u:1#w@host", UriError::UnescapedAt { position: 12 }),
        ("amqp://host?connection_name=me@home", UriError::UnescapedAt { position: 30 }),
        ("amqp://u:p:@host", UriError::UnescapedColon { position: 10 }),
        ("amqp://:1234", UriError::EmptyHost),
        ("amqp://u:p@:1234/v", UriError::EmptyHost),
        ("amqp://::1", UriError::UnbracketedColon { position: 8 }),
        ("amqp://foo:[::1]", UriError::UnbracketedColon { position: 12 }),
        ("amqp://foo[::1]", UriError::UnbracketedColon { position: 12 }),
        ("amqp://[::1", UriError::InvalidHost { position: 7 }),
        ("amqp://[]", UriError::InvalidHost { position: 8 }),
        ("amqp://[host]", UriError::InvalidHost { position: 8 }),
        ("amqp://[fe80::1%25]", UriError::InvalidHost { position: 8 }),
        ("amqp://[fe80::1%eth0]", UriError::PercentSequence { position: 15 }),
        ("amqp://a:1,b:2", UriError::SeveralHosts { position: 10 }),
        ("amqp://host:", UriError::InvalidPort { position: 12 }),
        ("amqp://host:+1", UriError::InvalidPort { position: 12 }),
        ("amqp://host:1000xyz", UriError::InvalidPort { position: 12 }),
        ("amqp://host:99999999999999999999", UriError::PortOutOfRange { position: 12 }),
        ("amqp://host/v/", UriError::SecondPathSegment { position: 13 }),
        ("amqp://host?=1", UriError::UnknownOption { name: Some(String::new()), position: 12 }),
        ("amqp://host?Heartbeat=1", UriError::UnknownOption { name: Some("Heartbeat".into()), position: 12 }),
        ("amqp://host?heartbeat=1&beat", UriError::UnknownOption { name: Some("beat".into()), position: 24 }),
        ("amqps://host?password=a&b=c", UriError::UnknownOption { name: None, position: 24 }),
        ("amqp://host?cacertfile=/a", UriError::TlsOption { option: "cacertfile" }),
    ];
    for (uri, expected) in cases {
        assert_eq!(parsed(uri), Err(expected), "{uri}");
    }
    let name = "v".repeat(256);
    assert_eq!(parsed(&format!("amqp://h/{name}")), Err(UriError::VhostTooLong { length: 256, limit: 255 }));
    assert!(parsed(&format!("amqp://h/{}", &name[1..])).is_ok());
}

#[test]
fn the_strict_reading_differs_in_a_slash_alone_and_nowhere_else() {
    for text in ["amqp://host/", "amqp:///", "amqps://host/?heartbeat=5"] {
        assert_eq!(Uri::parse_strict(text).unwrap().vhost(), "", "{text}");
        assert_eq!(text.parse::<Uri>().unwrap().vhost(), "/", "{text}");
    }
    for (text, ..) in vectors().into_iter().filter(|(text, ..)| *text != "amqp://host/?heartbeat=5") {
        assert_eq!(Uri::parse_strict(text), text.parse(), "{text}");
    }
}

#[test]
fn options_fill_the_config() {
    let uri: Uri =
        "amqp://u:p@host/v?heartbeat=5&connection_timeout=250&channel_max=7&frame_max=8192&connection_name=a%26b\
                    &auth_mechanism=external&auth_mechanism=amqplain&auth_mechanism=external"
            .parse()
            .unwrap();
    let expected = Config::default()
        .mechanisms([Sasl::External, Sasl::amq_plain("u", "p")])
        .vhost("v")
        .heartbeat(5)
        .connect_timeout(Duration::from_millis(250))
        .channel_max(7)
        .frame_max(8192)
        .connection_name("a&b");
    assert_eq!(uri.config(), expected);
    assert_eq!("amqp://".parse::<Uri>().unwrap().config(), Config::default());
}

#[test]
fn the_first_of_two_equal_options_counts() {
    let config = |text: &str| text.parse::<Uri>().unwrap().config();
    assert_eq!(config("amqp://host?heartbeat=5&heartbeat=6").heartbeat, Heartbeat::from(5));
    assert_eq!(config("amqp://host?heartbeat=0&heartbeat=6").heartbeat, Heartbeat::Off);
}

#[test]
fn values_outside_their_range_are_refused() {
    let cases = [
        "heartbeat",
        "heartbeat=",
        "heartbeat=-1",
        "heartbeat=+1",
        "heartbeat=65536",
        "heartbeat=5&heartbeat=x",
        "connection_timeout=0",
        "connection_timeout=4294967296",
        "connection_timeout=infinity",
        "channel_max=65536",
        "frame_max=4294967296",
        "auth_mechanism=PLAIN",
        "auth_mechanism=",
        "auth_mechanism=plain%20",
        "cacertfile=",
        "certfile=",
        "keyfile",
        "verify=true",
        "fail_if_no_peer_cert=1",
        "server_name_indication=",
        "server_name_indication=a%20b",
        "depth=256",
        "depth=-1",
    ];
    for query in cases {
        let name = query.split('=').next().unwrap();
        match format!("amqps://host?{query}").parse::<Uri>() {
            Err(UriError::OptionValue { option, .. }) => assert_eq!(option, name),
            other => panic!("{query}: {other:?}"),
        }
    }
    for query in ["heartbeat=65535", "connection_timeout=4294967295", "frame_max=0", "frame_max=4096"] {
        assert!(parsed(&format!("amqp://host?{query}")).is_ok(), "{query}");
    }
}

#[test]
fn a_frame_max_below_the_protocols_minimum_is_refused_by_the_configuration() {
    let config = "amqp://host?frame_max=4095".parse::<Uri>().unwrap().config();
    assert_eq!(config.check(), Err(Misuse::FrameMaxTooSmall { wanted: 4095, minimum: 4096 }));
}

#[test]
fn tls_options_are_kept() {
    let uri: Uri =
        "amqps://host?verify=verify_none&cacertfile=/a%20b.pem&certfile=/c&keyfile=/k&fail_if_no_peer_cert=false\
                    &server_name_indication=sni.example&depth=5&password=s"
            .parse()
            .unwrap();
    let tls = uri.tls().unwrap();
    assert_eq!(tls.cacertfile.as_deref(), Some("/a b.pem"));
    assert_eq!((tls.certfile.as_deref(), tls.keyfile.as_deref()), (Some("/c"), Some("/k")));
    assert_eq!((tls.verify, tls.fail_if_no_peer_cert, tls.depth), (Some(false), Some(false), Some(5)));
    assert_eq!(tls.server_name_indication, Some(ServerName::Name("sni.example".into())));
    assert_eq!(tls.password, Some("s".into()));
    assert_eq!(uri.password(), &"guest".into());
    let uri: Uri = "amqps://host?server_name_indication=disable".parse().unwrap();
    assert_eq!(uri.tls().unwrap().server_name_indication, Some(ServerName::Disabled));
    assert_eq!("amqp://host".parse::<Uri>().unwrap().tls(), None);
}

#[test]
fn what_is_displayed_reads_back_as_the_same_uri_without_its_passwords() {
    let hard = "amqps://u%40%3A%2F:***@[fe80::1%25e%C3%A9]:1/%2F%3F%23?heartbeat=1&connection_timeout=2&channel_max=3\
                &frame_max=4096&auth_mechanism=plain&auth_mechanism=anonymous&connection_name=%26x%3D1%25\
                &cacertfile=%2Fa%26verify%3Dverify_none&verify=verify_peer&depth=5&password=***";
    let uri: Uri = hard.parse().unwrap();
    assert_eq!(uri.to_string(), hard);
    assert_eq!(uri.tls().unwrap().verify, Some(true));

    for (text, ..) in vectors() {
        let Ok(uri) = text.parse::<Uri>() else { continue };
        let shown = uri.to_string();
        let again: Uri = shown.parse().unwrap();
        assert_eq!(again.to_string(), shown, "{text}");
        assert_eq!(again.config().login("", ""), uri.config().login("", ""), "{text}");
        assert_eq!((again.address(), again.user()), (uri.address(), uri.user()), "{text}");
    }
    assert_eq!(Uri::parse_strict("amqp://h/").unwrap().to_string(), "amqp://guest:***@h:5672/");
}

#[test]
fn no_password_is_shown_however_it_is_written() {
    let characters: Vec<char> = (0..=0x80u8).map(char::from).chain("é%2F".chars()).collect();
    for first in &characters {
        for second in &characters {
            // Pieces of a password, with whatever stands between them.
            let password = format!("xq1{first}xq2{second}xq3");
            for uri in [
                format!("amqp://user:{password}@host:1/v?heartbeat=1"),
                format!("amqp://user:1{password}@host/v"),
                format!("amqps://host?password={password}&depth=1"),
                format!("amqps://user:{password}@host?password={password}"),
            ] {
                let shown = match uri.parse::<Uri>() {
                    Ok(parsed) => format!("{parsed} {parsed:?} {:?}", parsed.config()),
                    Err(error) => format!("{error} {error:?}"),
                };
                assert!(!shown.contains("xq"), "{uri}: {shown}");
            }
        }
    }
}

#[test]
fn no_cut_and_no_flipped_octet_panics() {
    for (text, ..) in vectors() {
        for cut in 0..=text.len() {
            let _ = text[..cut].parse::<Uri>();
            for other in ['%', '@', ':', '/', '?', '&', '=', '[', ']', 'é', '\0'] {
                let _ = format!("{}{other}{}", &text[..cut], text.get(cut + 1..).unwrap_or("")).parse::<Uri>();
            }
        }
    }
}
