//! Real nodes start, can be hurt, and leave nothing behind, whatever becomes of the test that started them.
#![cfg(target_os = "linux")] // what is left behind is looked up in /proc

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use amqp_test::rabbitmq::{CtlError, RabbitMq, StartError};

const PROTOCOL_HEADER: &[u8] = b"AMQP\x00\x00\x09\x01";

#[test]
fn a_node_answers_obeys_and_leaves_nothing_behind() {
    let node = RabbitMq::start().unwrap();
    let name = node.name().to_owned();
    assert_eq!(node.uri(), format!("amqp://guest:guest@127.0.0.1:{}/%2f", node.port()));
    assert!(node.version().starts_with(|first: char| first.is_ascii_digit()), "version {:?}", node.version());
    assert_eq!(first_octet(&mut greeted(&node)).unwrap(), 1);

    assert_eq!(node.ctl(&["list_vhosts", "name", "--silent"]).unwrap().trim(), "/");
    let refused = node.ctl(&["delete_vhost", "no-such-vhost"]).unwrap_err();
    assert!(matches!(&refused, CtlError::Failed { output, .. } if output.contains("no-such-vhost")), "{refused}");

    assert!(!left_by(&name).is_empty(), "the search below finds nothing, not even a running node");
    let port = node.port();
    node.pause().unwrap(); // to make it harder to stop
    node.stop().unwrap();
    assert_nothing_left_by(&name);
    assert_eq!(connect(port).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
}

#[test]
fn a_paused_node_is_silent_until_resumed_and_a_killed_one_is_gone_at_once() {
    let node = RabbitMq::start().unwrap();
    let (name, port) = (node.name().to_owned(), node.port());

    node.pause().unwrap();
    let mut stream = greeted(&node);
    stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert_eq!(first_octet(&mut stream).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    node.resume().unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    assert_eq!(first_octet(&mut stream).unwrap(), 1);

    node.kill().unwrap();
    assert_eq!(connect(port).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    assert_eq!(node.pause().unwrap_err().kind(), io::ErrorKind::NotFound);

    // What is left of it, its directory and epmd, goes with the test, also with one that fails.
    let failing_test = catch_unwind(AssertUnwindSafe(move || {
        let _node = node;
        panic!("on purpose");
    }));
    assert!(failing_test.is_err());
    assert_nothing_left_by(&name);
}

#[test]
fn a_port_that_is_taken_is_an_error() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    assert_eq!(RabbitMq::builder().port(port).start().unwrap_err(), StartError::PortTaken { port });
}

#[test]
fn a_wrong_configuration_is_reported_from_the_log() {
    let refused = RabbitMq::builder().config("no.such.key = 1").start().unwrap_err();
    assert!(matches!(&refused, StartError::Ended { log } if log.contains("no.such.key")), "{refused}");
}

#[test]
fn nothing_survives_an_owner_that_is_killed_or_ends() {
    let mut killed = Owner::start();
    let mut ended = Owner::start();
    killed.wait_until_it_owns_a_node();
    ended.wait_until_it_owns_a_node();

    killed.process.kill().unwrap();
    killed.process.wait().unwrap();
    drop(ended.process.stdin.take());
    assert!(ended.process.wait().unwrap().success());

    assert_nothing_left_by(&killed.name_of_nodes());
    assert_nothing_left_by(&ended.name_of_nodes());
}

#[test]
#[ignore = "is the owner in the test above, which runs it in a process of its own"]
fn owner_of_the_shared_node() {
    let port = RabbitMq::shared().unwrap().port();
    assert_eq!(RabbitMq::shared().unwrap().port(), port, "a second node was started");
    writeln!(io::stdout(), "node on {port}").unwrap();
    io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

/// This very program, running `owner_of_the_shared_node` until its standard input ends.
struct Owner {
    process: Child,
}

impl Owner {
    fn start() -> Self {
        let process = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "owner_of_the_shared_node", "--nocapture"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self { process }
    }

    fn wait_until_it_owns_a_node(&mut self) {
        let output = BufReader::new(self.process.stdout.as_mut().unwrap());
        assert!(output.lines().any(|line| line.unwrap().contains("node on ")), "it ended without a node");
        assert!(!left_by(&self.name_of_nodes()).is_empty());
    }

    fn name_of_nodes(&self) -> String {
        format!("amqp-test-{}-", self.process.id())
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let _ = self.process.kill();
    }
}

fn connect(port: u16) -> io::Result<TcpStream> {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port))
}

fn greeted(node: &RabbitMq) -> TcpStream {
    let mut stream = connect(node.port()).unwrap();
    stream.write_all(PROTOCOL_HEADER).unwrap();
    stream
}

fn first_octet(stream: &mut TcpStream) -> io::Result<u8> {
    let mut octet = [0];
    stream.read_exact(&mut octet)?;
    Ok(octet[0])
}

/// A stopped node is gone when `stop` returns. The small helpers of its VM notice that a moment later, and so does the
/// watchdog of a killed owner.
fn assert_nothing_left_by(node: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let left = left_by(node);
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "left behind: {left:#?}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Directories named for the node, and processes that have it in their environment or on their command line.
fn left_by(node: &str) -> Vec<String> {
    let node = node.split('@').next().unwrap();
    let mut left: Vec<String> = entries(&std::env::temp_dir()).filter(|path| path.contains(node)).collect();
    left.extend(entries(Path::new("/proc")).filter(|process| {
        ["environ", "cmdline"].iter().any(|file| {
            let text = fs::read(format!("{process}/{file}")).unwrap_or_default();
            text.windows(node.len()).any(|window| window == node.as_bytes())
        })
    }));
    left
}

fn entries(directory: &Path) -> impl Iterator<Item = String> + use<> {
    fs::read_dir(directory).unwrap().flatten().map(|entry| entry.path().to_string_lossy().into_owned())
}
