//! A TCP proxy in this process that injects faults between a client and a server.
//!
//! Each direction of a connection has two threads and a bounded line of chunks between
//! them: one reads, the other waits for a chunk's time and applies the fault that holds
//! then. A fault meets open connections as well as new ones.
//!
//! Not here: any knowledge of what is spoken through it.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Chunks on their way in one direction: with 64 KiB each, 4 MiB, more than a client's
/// window; a sender that is further ahead waits, as it does on a full socket.
const CHUNKS: usize = 64;
const CHUNK_BYTES: usize = 64 * 1024;
/// A server on this machine takes a connection at once, or is not there.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// What the proxy does to what passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Passes everything.
    None,
    /// Passes everything so much later, in both directions.
    Delay(Duration),
    /// Ends open connections, and new ones as soon as they come.
    Cut,
    /// Takes connections and bytes and answers nothing. Connections that lost bytes so
    /// end with the fault.
    HalfOpen,
    /// Passes what clients say; in place of answers come as many meaningless bytes.
    /// Connections that got some end with the fault.
    Garbage,
}

/// A proxy on a loopback port of its own; gone, with its connections, when dropped.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Stands before a server: `host:port`.
    ///
    /// # Panics
    /// When no port can be had.
    #[must_use]
    pub fn before(address: &str) -> Self {
        let proxy = Self::before_none();
        proxy.lead_to(address);
        proxy
    }

    /// Has a port, and ends each connection until [`Self::lead_to`] says where to: for
    /// servers that must know the port before they start.
    ///
    /// # Panics
    /// When no port can be had.
    #[must_use]
    pub fn before_none() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free loopback port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared::default());
        let accepting = thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        });
        Self { address, shared, accepting: Some(accepting) }
    }

    /// New connections lead to this server, `host:port`.
    pub fn lead_to(&self, address: &str) {
        self.shared.state().target = Some(address.to_owned());
    }

    /// `host:port` for clients.
    #[must_use]
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// The port for clients.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// From now on this happens, to open connections too.
    pub fn set(&self, fault: Fault) {
        let mut state = self.shared.state();
        state.fault = fault;
        for link in &state.links {
            if fault == Fault::Cut || link.spoilt.load(Ordering::Relaxed) {
                link.end();
            }
        }
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Connections taken so far.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Bytes that came out of it so far, as they went in, in both directions.
    #[must_use]
    pub fn passed_bytes(&self) -> u64 {
        self.shared.passed_bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::Release);
        self.set(Fault::Cut);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect_timeout(&self.address, CONNECT_MAX);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    closing: AtomicBool,
    connections: AtomicU64,
    passed_bytes: AtomicU64,
}

struct State {
    fault: Fault,
    target: Option<String>,
    links: Vec<Arc<Link>>,
}

impl Default for State {
    fn default() -> Self {
        Self { fault: Fault::None, target: None, links: Vec::new() }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a chunk is due, and says which fault it meets. That it spoils the
    /// connection is noted while the fault cannot end, so that who ends it sees it.
    fn meet(&self, read_at: Instant, link: &Link, answers: bool) -> Fault {
        let mut state = self.state();
        while let Fault::Delay(delay) = state.fault {
            let left = (read_at + delay).saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        if state.fault == Fault::HalfOpen || (state.fault == Fault::Garbage && answers) {
            link.spoilt.store(true, Ordering::Relaxed);
        }
        state.fault
    }
}

/// Both ends of one connection.
struct Link {
    client: TcpStream,
    server: TcpStream,
    /// Bytes were lost or replaced: it cannot go on when the fault is over.
    spoilt: AtomicBool,
}

impl Link {
    fn end(&self) {
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.server.shutdown(Shutdown::Both);
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut threads: Vec<JoinHandle<()>> = Vec::new();
    for client in listener.incoming() {
        if shared.closing.load(Ordering::Acquire) {
            break;
        }
        let Ok(client) = client else { continue };
        shared.connections.fetch_add(1, Ordering::Relaxed);
        let shared = Arc::clone(shared);
        threads.retain(|thread| !thread.is_finished());
        threads.push(thread::spawn(move || serve(client, &shared)));
    }
    for thread in threads {
        let _ = thread.join();
    }
}

fn serve(client: TcpStream, shared: &Arc<Shared>) {
    let Some(link) = connect(client, shared) else { return };
    thread::scope(|scope| {
        for answers in [false, true] {
            let (chunks, waiting) = sync_channel(CHUNKS);
            let link = &link;
            scope.spawn(move || read(link, answers, &chunks));
            scope.spawn(move || write(link, answers, &waiting, shared));
        }
    });
    link.end();
    shared.state().links.retain(|other| !Arc::ptr_eq(other, &link));
}

/// To the server; a fault that came meanwhile is met as well.
fn connect(client: TcpStream, shared: &Shared) -> Option<Arc<Link>> {
    let (fault, target) = {
        let state = shared.state();
        (state.fault, state.target.clone())
    };
    if fault == Fault::Cut {
        return None;
    }
    let address = target?.to_socket_addrs().ok()?.next()?;
    let server = TcpStream::connect_timeout(&address, CONNECT_MAX).ok()?;
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let link = Arc::new(Link { client, server, spoilt: AtomicBool::new(false) });
    let mut state = shared.state();
    if state.fault == Fault::Cut {
        return None;
    }
    state.links.push(Arc::clone(&link));
    Some(link)
}

struct Chunk {
    read_at: Instant,
    bytes: Vec<u8>,
}

fn read(link: &Link, answers: bool, chunks: &SyncSender<Chunk>) {
    let mut from = if answers { &link.server } else { &link.client };
    let mut buffer = vec![0; CHUNK_BYTES];
    // An error is an end too: what it was is the peers' to see.
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let chunk = Chunk { read_at: Instant::now(), bytes: buffer[..count].to_vec() };
        if chunks.send(chunk).is_err() {
            return;
        }
    }
}

fn write(link: &Link, answers: bool, waiting: &Receiver<Chunk>, shared: &Shared) {
    let mut to = if answers { &link.client } else { &link.server };
    let mut garbage = Garbage(0x9e37_79b9_7f4a_7c15);
    while let Ok(mut chunk) = waiting.recv() {
        match shared.meet(chunk.read_at, link, answers) {
            Fault::Cut => return link.end(),
            Fault::HalfOpen => continue,
            Fault::Garbage if answers => garbage.fill(&mut chunk.bytes),
            Fault::None | Fault::Delay(_) | Fault::Garbage => {
                shared.passed_bytes.fetch_add(chunk.bytes.len() as u64, Ordering::Relaxed);
            }
        }
        if to.write_all(&chunk.bytes).is_err() {
            return link.end();
        }
    }
    finish(link, answers, shared);
}

/// The end of one direction is told to the other side, unless nothing gets there.
fn finish(link: &Link, answers: bool, shared: &Shared) {
    let state = shared.state();
    if state.fault == Fault::HalfOpen {
        link.spoilt.store(true, Ordering::Relaxed);
        return;
    }
    let to = if answers { &link.client } else { &link.server };
    let _ = to.shutdown(Shutdown::Write);
}

/// Bytes without a meaning, the same in each run (xorshift64, Marsaglia 2003).
struct Garbage(u64);

impl Garbage {
    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            *byte = self.0.to_le_bytes()[0];
        }
    }
}
