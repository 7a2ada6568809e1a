//! Record headers: names and bytes, in order, kept in one buffer so that a
//! record's headers are copied as a whole.
//!
//! Not here: which headers there are.

use bytes::{BufMut, Bytes, BytesMut};

/// Headers of a record, in the order they were pushed; a name may come again.
/// The buffer holds, for each, two lengths (u16 name, u32 value, little endian)
/// and the bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Bytes);

impl Headers {
    /// No headers.
    pub const fn new() -> Self {
        Self(Bytes::new())
    }

    /// Builds headers from names and values.
    pub fn build<'a, V: AsRef<[u8]>>(pairs: impl IntoIterator<Item = (&'a str, V)>) -> Self {
        let mut buffer = BytesMut::new();
        for (name, value) in pairs {
            put(&mut buffer, name, value.as_ref());
        }
        Self(buffer.freeze())
    }

    /// These headers and one more.
    #[must_use]
    pub fn with(&self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let mut buffer = BytesMut::with_capacity(self.0.len() + name.len() + value.as_ref().len() + 6);
        buffer.put_slice(&self.0);
        put(&mut buffer, name, value.as_ref());
        Self(buffer.freeze())
    }

    /// The last value of a name.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter().filter(|(n, _)| *n == name).map(|(_, value)| value).last()
    }

    /// The last value of a name, where it is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let mut rest: &[u8] = &self.0;
        std::iter::from_fn(move || {
            let (name, value, after) = split(rest)?;
            rest = after;
            Some((name, value))
        })
    }

    /// The buffer, as a log keeps it.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// Headers over a buffer that [`Headers::as_bytes`] gave; none where the
    /// bytes are not one.
    pub fn from_bytes(buffer: Bytes) -> Option<Self> {
        let mut rest: &[u8] = &buffer;
        while !rest.is_empty() {
            rest = split(rest)?.2;
        }
        Some(Self(buffer))
    }

    /// Headers over bytes that were checked when they were written and are
    /// guarded by a checksum since.
    pub(crate) fn unchecked(buffer: Bytes) -> Self {
        Self(buffer)
    }
}

fn put(buffer: &mut BytesMut, name: &str, value: &[u8]) {
    let name_len = u16::try_from(name.len()).expect("a header name is shorter than 64 KiB");
    let value_len = u32::try_from(value.len()).expect("a header value is shorter than 4 GiB");
    buffer.reserve(6 + name.len() + value.len());
    buffer.put_u16_le(name_len);
    buffer.put_u32_le(value_len);
    buffer.put_slice(name.as_bytes());
    buffer.put_slice(value);
}

fn split(buffer: &[u8]) -> Option<(&str, &[u8], &[u8])> {
    let (lengths, rest) = buffer.split_first_chunk::<6>()?;
    let name_len = usize::from(u16::from_le_bytes([lengths[0], lengths[1]]));
    let value_len = u32::from_le_bytes([lengths[2], lengths[3], lengths[4], lengths[5]]) as usize;
    let (name, rest) = rest.split_at_checked(name_len)?;
    let (value, rest) = rest.split_at_checked(value_len)?;
    Some((std::str::from_utf8(name).ok()?, value, rest))
}
