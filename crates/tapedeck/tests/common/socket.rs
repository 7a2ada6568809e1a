//! A WebSocket client on a plain TCP stream, so that a test decides when a byte
//! is read. It knows what a server sends: whole texts, and a close.
//!
//! Not here: what is asserted.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
};

use serde_json::Value;

use super::PATIENCE;

/// A client.
pub struct Socket {
    stream: BufReader<TcpStream>,
}

/// What came.
#[derive(Debug)]
pub enum Said {
    Text(Value),
    /// The code of a close.
    Close(u16),
}

impl Socket {
    /// Connects to a path of a deck.
    pub fn connect(url: &str, path: &str) -> Self {
        let address = url.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // Any 16 bytes are a key; this client does not check the answer to it.
        let key = "dGFwZWRlY2sgdGVzdHMuLg==";
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: {key}\r\n\r\n"
        )
        .unwrap();
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        assert!(line.contains(" 101 "), "{line}");
        while line != "\r\n" {
            line.clear();
            stream.read_line(&mut line).unwrap();
        }
        Self { stream }
    }

    /// The next thing that the server says.
    pub fn next(&mut self) -> Said {
        let [first, length] = self.bytes();
        let length = match length {
            126 => u64::from(u16::from_be_bytes(self.bytes())),
            127 => u64::from_be_bytes(self.bytes()),
            short => u64::from(short),
        };
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.stream.read_exact(&mut payload).unwrap();
        match first {
            0x81 => Said::Text(serde_json::from_slice(&payload).unwrap()),
            0x88 => {
                // The answer to a close is a close; masked, as all that a client sends.
                let answer = self.stream.get_mut().write_all(&[0x88, 0x82, 0, 0, 0, 0, payload[0], payload[1]]);
                drop(answer);
                Said::Close(u16::from_be_bytes([payload[0], payload[1]]))
            }
            other => panic!("a frame that begins with {other:#x}"),
        }
    }

    /// The next message of a type.
    pub fn next_of(&mut self, kind: &str) -> Value {
        loop {
            match self.next() {
                Said::Text(message) if message["type"] == kind => return message,
                Said::Text(_) => {}
                Said::Close(code) => panic!("closed with {code} while waiting for {kind}"),
            }
        }
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }
}
