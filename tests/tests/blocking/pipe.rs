//! A transport in memory, with room for a few octets: what a connection runs over when it is not TCP.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, Read, Write},
    sync::{Arc, Condvar, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use amqp_blocking::{
    ChannelError, Config, Connection, Error, Publish,
    method::{Method, basic, queue},
    wire::Table,
};
use amqp_test::broker::Broker;
use bytes::BytesMut;

use crate::support::{PATIENCE, PROMPT, get, new_queue, timed};

/// As in a TCP stream with a write timeout: how long a write waits for room.
const WRITE_PATIENCE: Duration = Duration::from_millis(50);

/// How many octets are under way at most.
const CAPACITY: usize = 1000;

/// One end of a pipe.
#[derive(Clone)]
struct End {
    incoming: Arc<Direction>,
    outgoing: Arc<Direction>,
}

#[derive(Default)]
struct Direction {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    octets: VecDeque<u8>,
    /// Its reader takes nothing at the moment.
    stopped: bool,
    ended: bool,
}

fn pipe() -> (End, End) {
    let (one, other) = (Arc::new(Direction::default()), Arc::new(Direction::default()));
    (End { incoming: Arc::clone(&one), outgoing: Arc::clone(&other) }, End { incoming: other, outgoing: one })
}

impl End {
    fn hang_up(&self) {
        for direction in [&self.incoming, &self.outgoing] {
            direction.change(|state| state.ended = true);
        }
    }

    /// Whether this end takes anything.
    fn stop_reading(&self, stopped: bool) {
        self.incoming.change(|state| state.stopped = stopped);
    }

    /// Opens a connection over this end.
    fn connect(&self, config: Config) -> Result<Connection, Error> {
        let end = self.clone();
        Connection::over(self.clone(), self.clone(), move || end.hang_up(), config)
    }
}

impl Direction {
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state.lock().unwrap());
        self.changed.notify_all();
        result
    }
}

impl Read for End {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let state = self.incoming.state.lock().unwrap();
        let waits = |state: &mut State| !state.ended && (state.stopped || state.octets.is_empty());
        let mut state = self.incoming.changed.wait_while(state, waits).unwrap();
        let count = state.octets.read(buffer)?;
        self.incoming.changed.notify_all();
        Ok(count)
    }
}

impl Write for End {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let state = self.outgoing.state.lock().unwrap();
        let full = |state: &mut State| !state.ended && state.octets.len() == CAPACITY;
        let (mut state, wait) = self.outgoing.changed.wait_timeout_while(state, WRITE_PATIENCE, full).unwrap();
        match (state.ended, wait.timed_out()) {
            (true, _) => Err(ErrorKind::BrokenPipe.into()),
            (false, true) => Err(ErrorKind::WouldBlock.into()),
            (false, false) => {
                let room = octets.len().min(CAPACITY - state.octets.len());
                state.octets.extend(&octets[..room]);
                self.outgoing.changed.notify_all();
                Ok(room)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A broker at this end, until the other hangs up.
fn serve(mut end: End) -> JoinHandle<()> {
    thread::spawn(move || {
        let start = Instant::now();
        let mut broker = Broker::new();
        let id = broker.accept(start.elapsed().into());
        let (mut input, mut buffer) = (BytesMut::new(), [0; 4096]);
        while !broker.wants_close(id) {
            match end.read(&mut buffer).unwrap() {
                0 => return,
                count => input.extend_from_slice(&buffer[..count]),
            }
            broker.receive(id, &mut input, start.elapsed().into());
            let mut output = broker.take_output(id);
            while !output.is_empty() {
                match end.write(&output) {
                    Ok(count) => drop(output.split_to(count)),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(_) => return,
                }
            }
        }
        end.hang_up();
    })
}

#[test]
fn a_connection_runs_over_any_transport() {
    let (client, server) = pipe();
    let broker = serve(server);
    let connection = client.connect(Config::default()).unwrap();
    let channel = connection.open_channel().unwrap();
    let queue = new_queue(&channel);
    let body = vec![7; 100_000];
    channel.publish(Publish::new("", &queue).body(&body)).unwrap();
    let mut consumer = channel.consume(basic::Consume::new(queue.as_str())).unwrap();
    let delivery = consumer.next_timeout(PATIENCE).unwrap().unwrap();
    assert!(delivery.body() == &body);
    delivery.ack().unwrap();
    connection.close().unwrap();
    broker.join().unwrap();
    // Both halves were let go of, or told to end.
    assert!(client.incoming.state.lock().unwrap().ended);
}

#[test]
fn a_call_whose_request_is_stuck_on_its_way_out_ends_in_time_and_harms_nothing() {
    let (client, server) = pipe();
    let broker = serve(server.clone());
    let patience = Duration::from_millis(200);
    let connection = client.connect(Config::default().call_timeout(patience)).unwrap();
    let channel = connection.open_channel().unwrap();
    server.stop_reading(true);
    let large = Table::new().with("comment", "x".repeat(20 * CAPACITY));
    let (result, time) = timed(|| channel.call(queue::Declare::new("stuck").exclusive().transient().arguments(large)));
    assert_eq!(result, Err(ChannelError::NoReply { method: queue::Declare::ID, blocked: false }.into()));
    assert!((patience..patience + PROMPT).contains(&time), "{time:?}");

    // The rest of the request leaves as soon as it can, whole.
    server.stop_reading(false);
    channel.publish(Publish::new("", "stuck").body("declared")).unwrap();
    assert_eq!(get(&channel, "stuck").unwrap().body_str(), Ok("declared"));
    connection.close().unwrap();
    broker.join().unwrap();
}

#[test]
fn a_transport_that_takes_nothing_ends_the_handshake_in_time() {
    let (client, server) = pipe();
    let patience = Duration::from_millis(200);
    // Not even the eight octets of the protocol header.
    client.outgoing.change(|state| state.octets.resize(CAPACITY, 0));
    let (result, time) = timed(|| client.connect(Config::default().handshake_timeout(patience)));
    assert!(matches!(result, Err(Error::Connection(_))), "{result:?}");
    assert!((patience..patience + PROMPT).contains(&time), "{time:?}");
    drop(server);
}
