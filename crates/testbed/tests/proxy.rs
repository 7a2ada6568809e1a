//! What the proxy does to bytes, seen through a server that answers what it was told.
//!
//! Not here: what clients of real servers make of it.

#![allow(clippy::unwrap_used, reason = "a test stops where something is wrong")]

use std::{
    io::{ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use tapedeck_testbed::{Fault, Proxy};

/// Long enough for an answer on this machine; only waited out where none comes.
const SILENCE: Duration = Duration::from_millis(300);

/// The address of a server that echoes; it lives as long as the test program.
fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut from = stream.unwrap();
            thread::spawn(move || std::io::copy(&mut from.try_clone().unwrap(), &mut from));
        }
    });
    address
}

fn client(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

fn ask(stream: &mut TcpStream, question: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.write_all(question)?;
    let mut answer = vec![0; question.len()];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

/// The other side has ended the connection, in order or not.
fn is_over(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0]) {
        Ok(count) => count == 0,
        Err(error) => matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
    }
}

#[test]
fn without_a_fault_all_bytes_pass_in_both_directions_and_are_counted() {
    let proxy = Proxy::before(&echo());
    let mut stream = client(&proxy);
    // More than all its lines hold: who sends has to wait for who reads.
    let sent: Vec<u8> = (0..16_u32 << 20).map(|number| number.to_le_bytes()[1]).collect();
    let mut reading = stream.try_clone().unwrap();
    let expected = sent.clone();
    let reader = thread::spawn(move || {
        let mut received = vec![0; expected.len()];
        reading.read_exact(&mut received).unwrap();
        assert!(received == expected, "bytes changed on their way");
    });
    stream.write_all(&sent).unwrap();
    reader.join().unwrap();
    assert_eq!(proxy.passed_bytes(), 2 * sent.len() as u64);
    assert_eq!(proxy.connections(), 1);
}

#[test]
fn the_end_of_a_stream_is_passed_on_and_the_other_direction_stays_open() {
    let proxy = Proxy::before(&echo());
    let mut stream = client(&proxy);
    stream.write_all(b"last words").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"last words");
}

#[test]
fn a_delay_is_added_to_each_direction_and_ends_at_once_when_lifted() {
    let proxy = Proxy::before(&echo());
    let mut stream = client(&proxy);
    let delay = Duration::from_millis(60);
    proxy.set(Fault::Delay(delay));
    let asked = Instant::now();
    assert_eq!(ask(&mut stream, b"late").unwrap(), b"late");
    assert!(asked.elapsed() >= 2 * delay);

    proxy.set(Fault::Delay(Duration::from_secs(3600)));
    stream.write_all(b"held").unwrap();
    proxy.set(Fault::None);
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"held");
}

#[test]
fn a_cut_ends_open_and_new_connections_until_it_is_lifted() {
    let proxy = Proxy::before(&echo());
    let mut open = client(&proxy);
    ask(&mut open, b"before").unwrap();
    proxy.set(Fault::Cut);
    assert!(is_over(&mut open));
    assert!(is_over(&mut client(&proxy)));
    proxy.set(Fault::None);
    assert_eq!(ask(&mut client(&proxy), b"after").unwrap(), b"after");
}

#[test]
fn a_half_open_connection_swallows_and_is_over_when_the_fault_is() {
    let proxy = Proxy::before(&echo());
    let mut open = client(&proxy);
    ask(&mut open, b"before").unwrap();
    let mut quiet = client(&proxy);
    ask(&mut quiet, b"before").unwrap();
    proxy.set(Fault::HalfOpen);
    let mut new = client(&proxy);
    for stream in [&mut open, &mut new] {
        stream.set_read_timeout(Some(SILENCE)).unwrap();
        let error = ask(stream, b"is anybody there?").unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    }
    proxy.set(Fault::None);
    assert!(is_over(&mut open) && is_over(&mut new));
    // One that lost nothing goes on.
    assert_eq!(ask(&mut quiet, b"after").unwrap(), b"after");
}

#[test]
fn garbage_comes_in_place_of_answers_and_its_connection_ends_with_it() {
    let proxy = Proxy::before(&echo());
    proxy.set(Fault::Garbage);
    let mut stream = client(&proxy);
    assert_ne!(ask(&mut stream, b"a question of some length").unwrap(), b"a question of some length");
    assert_eq!(ask(&mut stream, b"another").unwrap().len(), 7);
    proxy.set(Fault::None);
    assert!(is_over(&mut stream));
    assert_eq!(ask(&mut client(&proxy), b"after").unwrap(), b"after");
}

#[test]
fn without_a_server_a_connection_is_over_at_once() {
    let proxy = Proxy::before_none();
    assert!(is_over(&mut client(&proxy)));
    proxy.lead_to(&echo());
    assert_eq!(ask(&mut client(&proxy), b"now").unwrap(), b"now");
}

#[test]
fn a_dropped_proxy_ends_its_connections_and_gives_its_port_back() {
    let proxy = Proxy::before(&echo());
    let address = proxy.address();
    let mut stream = client(&proxy);
    ask(&mut stream, b"before").unwrap();
    drop(proxy);
    assert!(is_over(&mut stream));
    assert!(TcpStream::connect(address).is_err());
}
