//! The frame of Confluent's clients: byte 0, the id of the schema as four bytes,
//! most significant first, then the body.
//!
//! Not here: what the id stands for.

use bytes::Bytes;

/// Bytes before the body.
pub const HEAD_BYTES: usize = 5;

const MAGIC: u8 = 0;

/// A framed value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The schema's id.
    pub id: u32,
    /// The body.
    pub body: Bytes,
}

impl Frame {
    /// Whether a value begins like one; no JSON does.
    pub fn is_one(value: &[u8]) -> bool {
        value.first() == Some(&MAGIC)
    }

    /// Takes a value apart; none where it is too short.
    pub fn read(value: &Bytes) -> Option<Self> {
        let (head, _) = value.split_first_chunk::<HEAD_BYTES>()?;
        let [MAGIC, id @ ..] = head else { return None };
        Some(Self { id: u32::from_be_bytes(*id), body: value.slice(HEAD_BYTES..) })
    }

    /// The head of a frame, with room for a body behind it.
    pub fn begin(id: u32, body_bytes: usize) -> Vec<u8> {
        let mut value = Vec::with_capacity(HEAD_BYTES + body_bytes);
        value.push(MAGIC);
        value.extend_from_slice(&id.to_be_bytes());
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_a_zero_four_bytes_of_the_id_and_the_body() {
        let mut value = Frame::begin(0x0102_0304, 2);
        value.extend_from_slice(b"{}");
        assert_eq!(value, [0, 1, 2, 3, 4, b'{', b'}']);
        assert_eq!(Frame::read(&value.into()), Some(Frame { id: 0x0102_0304, body: Bytes::from_static(b"{}") }));
    }

    #[test]
    fn what_is_too_short_or_begins_otherwise_is_none() {
        assert_eq!(Frame::read(&Bytes::from_static(&[0, 1, 2, 3])), None);
        assert_eq!(Frame::read(&Bytes::from_static(b"{\"a\":1}")), None);
        assert!(!Frame::is_one(b"{}") && !Frame::is_one(b""));
    }
}
