//! The broker on a TCP port of this machine.
//!
//! One mutex holds the broker. Each connection has a reader thread and a writer thread, the clock has one, and so has
//! the listener. Nobody holds the mutex while reading from or writing to a socket, so a client that does only one of
//! the two never stops another; the reader of a connection waits when the broker does not want its input, its writer
//! when there is nothing to write. A thread that waits, waits for its connection's condition variable, which is
//! signalled whenever something changed that may concern it.

use std::{
    collections::BTreeMap,
    io::{self, ErrorKind, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use amqp_core::Instant;
use bytes::{Buf, BytesMut};

use super::{Broker, ConnectionId};

/// How much is read from a socket at once, in octets.
const READ_SIZE: usize = 64 * 1024;
/// How long a client that reads nothing can hold up the end of the broker.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// How long to wait before accepting again when the system is short of something.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// A broker that listens on a port of 127.0.0.1 until it is dropped.
///
/// Dropping it closes all connections, as a broker that is shut down does, and waits for its threads.
///
/// ```
/// use amqp_test::broker::EmbeddedBroker;
///
/// let broker = EmbeddedBroker::start()?;
/// assert!(broker.uri().starts_with("amqp://guest:guest@127.0.0.1:"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct EmbeddedBroker {
    shared: Arc<Shared>,
    address: SocketAddr,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Something happened that may have set another deadline.
    clock: Condvar,
    /// What real time the broker's clock started at, and the time since then.
    started: (Duration, std::time::Instant),
}

#[derive(Debug)]
struct State {
    broker: Broker,
    sockets: BTreeMap<ConnectionId, Socket>,
    threads: Vec<JoinHandle<()>>,
    /// When the clock looks next of its own accord.
    clock_at: Option<Instant>,
    stopping: bool,
}

#[derive(Clone, Debug)]
struct Socket {
    stream: Arc<TcpStream>,
    changed: Arc<Condvar>,
}

impl EmbeddedBroker {
    /// Starts an empty broker on a free port.
    pub fn start() -> io::Result<Self> {
        Self::serve(Broker::new())
    }

    /// Starts a broker that was set up before, on a free port.
    pub fn serve(broker: Broker) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let state = State { broker, sockets: BTreeMap::new(), threads: Vec::new(), clock_at: None, stopping: false };
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            clock: Condvar::new(),
            started: (since_epoch, std::time::Instant::now()),
        });
        let mut embedded = Self { shared, address, threads: Vec::new() };
        embedded.spawn("broker clock", Shared::keep_time)?;
        embedded.spawn("broker listener", move |shared| shared.listen(&listener))?;
        Ok(embedded)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address as a URI, with the user `guest` and the virtual host `/`.
    pub fn uri(&self) -> String {
        format!("amqp://guest:guest@{}/%2f", self.address)
    }

    /// Does something with the broker itself: look at a queue, raise an alarm, restart it.
    pub fn with<T>(&self, act: impl FnOnce(&mut Broker, Instant) -> T) -> T {
        let mut state = self.shared.lock();
        let result = act(&mut state.broker, self.shared.now());
        self.shared.wake_all(&state);
        result
    }

    fn spawn(&mut self, name: &str, run: impl FnOnce(&Arc<Shared>) + Send + 'static) -> io::Result<()> {
        let thread = self.shared.spawn(name, run)?;
        self.threads.push(thread);
        Ok(())
    }
}

impl Drop for EmbeddedBroker {
    fn drop(&mut self) {
        self.shared.stop();
        // The listener sees that it is over when somebody connects.
        drop(TcpStream::connect(self.address));
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
        let threads = std::mem::take(&mut self.shared.lock().threads);
        for thread in threads {
            drop(thread.join());
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in the broker is a bug that its test reports; the other threads are to end in peace.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The broker's time counts from 1970, so that time stamps mean something.
    fn now(&self) -> Instant {
        let (since_epoch, started) = self.started;
        Instant::from(since_epoch + started.elapsed())
    }

    fn spawn(
        self: &Arc<Self>,
        name: &str,
        run: impl FnOnce(&Arc<Self>) + Send + 'static,
    ) -> io::Result<JoinHandle<()>> {
        let shared = Arc::clone(self);
        thread::Builder::new().name(name.to_owned()).spawn(move || run(&shared))
    }

    /// Wakes the connections that have something to do, and the clock.
    fn wake(&self, state: &State) {
        for (&id, socket) in &state.sockets {
            if state.stopping || state.broker.has_output(id) || state.broker.wants_close(id) {
                socket.changed.notify_all();
            }
        }
        self.set_clock(state);
    }

    /// Wakes the clock if it would look too late.
    fn set_clock(&self, state: &State) {
        let next = state.broker.poll_timeout();
        if next.is_some_and(|next| state.clock_at.is_none_or(|at| next < at)) {
            self.clock.notify_one();
        }
    }

    /// Wakes everybody who waits for anything.
    fn wake_all(&self, state: &State) {
        state.sockets.values().for_each(|socket| socket.changed.notify_all());
        self.clock.notify_one();
    }

    fn stop(&self) {
        let mut state = self.lock();
        state.stopping = true;
        let now = self.now();
        let ids: Vec<ConnectionId> = state.broker.connections().collect();
        for id in ids {
            let reason = "broker forced connection closure with reason 'shutdown'";
            state.broker.close_connection(id, reason, now);
        }
        self.wake_all(&state);
    }

    fn listen(self: &Arc<Self>, listener: &TcpListener) {
        loop {
            let accepted = listener.accept();
            if self.lock().stopping {
                return;
            }
            match accepted {
                Ok((stream, _)) => drop(self.admit(stream)),
                // Out of files, most likely: closing connections gives some back.
                Err(_) => thread::sleep(ACCEPT_PAUSE),
            }
        }
    }

    /// Gives a connection its threads. If there are none to have, it is dropped.
    fn admit(self: &Arc<Self>, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(LAST_WORDS))?;
        let socket = Socket { stream: Arc::new(stream), changed: Arc::new(Condvar::new()) };
        let mut state = self.lock();
        let id = state.broker.accept(self.now());
        state.sockets.insert(id, socket.clone());
        let writer = socket.clone();
        let threads = [
            self.spawn("broker reader", move |shared| shared.read(id, &socket)),
            self.spawn("broker writer", move |shared| shared.write(id, &writer)),
        ];
        state.threads.retain(|thread| !thread.is_finished());
        for thread in threads {
            match thread {
                Ok(thread) => state.threads.push(thread),
                Err(error) => {
                    self.forget(&mut state, id);
                    return Err(error);
                }
            }
        }
        self.set_clock(&state);
        Ok(())
    }

    fn read(&self, id: ConnectionId, socket: &Socket) {
        let mut input = BytesMut::new();
        let mut chunk = vec![0; READ_SIZE];
        loop {
            let length = match (&*socket.stream).read(&mut chunk) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            input.extend_from_slice(chunk.get(..length).unwrap_or_default());
            if !self.take(id, socket, &mut input) {
                break;
            }
        }
        let mut state = self.lock();
        self.forget(&mut state, id);
    }

    /// Gives input to the broker, as soon as it wants any, and the rest of it as soon as it wants more: it may stop in
    /// the middle. False if the connection is over.
    fn take(&self, id: ConnectionId, socket: &Socket, input: &mut BytesMut) -> bool {
        let mut state = self.lock();
        loop {
            while !state.broker.wants_read(id) {
                if state.stopping || !state.sockets.contains_key(&id) {
                    return false;
                }
                state = socket.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            state.broker.receive(id, input, self.now());
            self.wake(&state);
            if state.broker.wants_read(id) {
                return !state.stopping;
            }
        }
    }

    fn write(&self, id: ConnectionId, socket: &Socket) {
        while let Some(output) = self.next_output(id, socket) {
            if self.write_all(socket, output).is_err() {
                break;
            }
        }
        // The reader sees the end of the connection, and tells the broker.
        drop(socket.stream.shutdown(Shutdown::Both));
    }

    /// Waits for something to write; none when the connection is over.
    fn next_output(&self, id: ConnectionId, socket: &Socket) -> Option<BytesMut> {
        let mut state = self.lock();
        loop {
            let output = state.broker.take_output(id);
            if !output.is_empty() {
                // Whoever waited for the client to read can go on.
                socket.changed.notify_all();
                return Some(output);
            }
            if state.stopping || state.broker.wants_close(id) || !state.sockets.contains_key(&id) {
                return None;
            }
            state = socket.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn write_all(&self, socket: &Socket, mut output: BytesMut) -> io::Result<()> {
        while output.has_remaining() {
            match (&*socket.stream).write(&output) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => output.advance(written),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // The client does not read. That is its own affair, until the broker stops.
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if self.lock().stopping {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The transport is gone.
    fn forget(&self, state: &mut State, id: ConnectionId) {
        state.broker.disconnected(id, self.now());
        if let Some(socket) = state.sockets.remove(&id) {
            drop(socket.stream.shutdown(Shutdown::Both));
            socket.changed.notify_all();
        }
        self.wake(state);
    }

    /// Tells the broker when something is due.
    fn keep_time(self: &Arc<Self>) {
        let mut state = self.lock();
        while !state.stopping {
            let now = self.now();
            state.clock_at = state.broker.poll_timeout();
            let wait = state.clock_at.map(|at| at.saturating_duration_since(now));
            if wait == Some(Duration::ZERO) {
                state.broker.handle_timeout(now);
                state.sockets.values().for_each(|socket| socket.changed.notify_all());
                continue;
            }
            state = match wait {
                Some(wait) => self.clock.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0,
                None => self.clock.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}
