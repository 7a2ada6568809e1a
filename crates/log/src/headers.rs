//! Record headers: names and bytes, in order, kept in one buffer so that a
//! record's headers are copied as a whole.
//!
//! Not here: which headers there are.

use std::{fmt::Display, io::Write as _};

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

    /// Builds headers behind what a buffer holds, which many records share: `fill`
    /// calls what it is given with each name and value. A name beyond 64 KiB is cut.
    /// A buffer that holds nothing keeps the room that is left for who comes next.
    pub fn build_in(buffer: &mut BytesMut, fill: impl FnOnce(&mut dyn FnMut(&str, &[u8]))) -> Self {
        let begin = buffer.len();
        fill(&mut |name, value| put(buffer, &name[..name.floor_char_boundary(usize::from(u16::MAX))], value));
        if buffer.is_empty() {
            return Self::new();
        }
        let headers = if begin == 0 { buffer.split() } else { buffer.split_off(begin) };
        Self(headers.freeze())
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
        self.pairs().filter(|(n, _)| *n == name.as_bytes()).map(|(_, value)| value).last()
    }

    /// The last value of a name, where it is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.pairs().map_while(|(name, value)| Some((std::str::from_utf8(name).ok()?, value)))
    }

    /// All of them, in order, names as bytes: for who looks for known names, since
    /// checking the text of each costs more than comparing it.
    pub fn pairs(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
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
            let (name, _, after) = split(rest)?;
            std::str::from_utf8(name).ok()?;
            rest = after;
        }
        Some(Self(buffer))
    }

    /// Headers over bytes that were checked when they were written and are
    /// guarded by a checksum since.
    pub(crate) fn unchecked(buffer: Bytes) -> Self {
        Self(buffer)
    }
}

/// Headers in the making, one buffer for all of them.
#[derive(Debug)]
pub struct HeadersBuilder(Vec<u8>);

impl HeadersBuilder {
    /// None yet, with room for so many bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    /// None yet, to be written behind what a buffer holds.
    pub fn behind(buffer: Vec<u8>) -> Self {
        Self(buffer)
    }

    /// Adds a header whose value is these texts, one after the other.
    pub fn push(&mut self, name: &str, value: &[&str]) {
        self.write(name, |buffer| value.iter().for_each(|part| buffer.extend_from_slice(part.as_bytes())));
    }

    /// Adds a header whose value is shown.
    pub fn show(&mut self, name: &str, value: impl Display) {
        // A vector takes all that is written.
        self.write(name, |buffer| drop(write!(buffer, "{value}")));
    }

    /// The buffer that [`HeadersBuilder::behind`] took, with the headers behind it.
    pub fn into_buffer(self) -> Vec<u8> {
        self.0
    }

    /// The headers.
    pub fn finish(self) -> Headers {
        Headers(Bytes::from(self.0))
    }

    fn write(&mut self, name: &str, value: impl FnOnce(&mut Vec<u8>)) {
        let begin = self.0.len();
        self.0.extend_from_slice(&[0; 6]);
        self.0.extend_from_slice(name.as_bytes());
        let from = self.0.len();
        value(&mut self.0);
        let value_len = u32::try_from(self.0.len() - from).expect("a header value is shorter than 4 GiB");
        let name_len = u16::try_from(name.len()).expect("a header name is shorter than 64 KiB");
        self.0[begin..begin + 2].copy_from_slice(&name_len.to_le_bytes());
        self.0[begin + 2..begin + 6].copy_from_slice(&value_len.to_le_bytes());
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

/// Name, value, and what follows them.
fn split(buffer: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (lengths, rest) = buffer.split_first_chunk::<6>()?;
    let name_len = usize::from(u16::from_le_bytes([lengths[0], lengths[1]]));
    let value_len = u32::from_le_bytes([lengths[2], lengths[3], lengths[4], lengths[5]]) as usize;
    let (name, rest) = rest.split_at_checked(name_len)?;
    let (value, rest) = rest.split_at_checked(value_len)?;
    Some((name, value, rest))
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// Few names, so that some come again; none is an allowed name.
    fn pairs() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
        vec(("[aé]{0,2}", vec(any::<u8>(), 0..20)), 0..12)
    }

    fn built(pairs: &[(String, Vec<u8>)]) -> Headers {
        Headers::build(pairs.iter().map(|(name, value)| (name.as_str(), value)))
    }

    proptest! {
        #[test]
        fn headers_are_a_list_of_pairs_whose_last_of_a_name_counts(pairs in pairs(), wanted in "[aé]{0,2}") {
            let headers = built(&pairs);
            let read: Vec<_> = headers.iter().map(|(name, value)| (name.to_owned(), value.to_vec())).collect();
            prop_assert_eq!(&read, &pairs);
            let last = pairs.iter().rev().find(|(name, _)| *name == wanted).map(|(_, value)| value.as_slice());
            prop_assert_eq!(headers.get(&wanted), last);
            prop_assert_eq!(headers.text(&wanted), last.and_then(|value| std::str::from_utf8(value).ok()));
        }

        #[test]
        fn every_way_to_make_headers_makes_the_same_bytes(pairs in pairs(), texts in vec(("[a-c]{1,3}", ".{0,9}"), 0..6)) {
            let one_by_one = pairs.iter().fold(Headers::new(), |headers, (name, value)| headers.with(name, value));
            prop_assert_eq!(&one_by_one, &built(&pairs));
            let mut shared = BytesMut::from(&b"before"[..]);
            let within = Headers::build_in(&mut shared, |push| pairs.iter().for_each(|(name, value)| push(name, value)));
            prop_assert_eq!((&one_by_one, &shared[..]), (&within, &b"before"[..]));
            let mut shared = BytesMut::with_capacity(4_096);
            let first = Headers::build_in(&mut shared, |push| pairs.iter().for_each(|(name, value)| push(name, value)));
            let room = 4_096usize.saturating_sub(first.as_bytes().len());
            prop_assert_eq!((one_by_one, shared.is_empty(), shared.capacity() >= room), (first, true, true));
            let (mut pushed, mut shown) = (HeadersBuilder::with_capacity(0), HeadersBuilder::with_capacity(99));
            for (name, text) in &texts {
                let middle = text.char_indices().nth(1).map_or(0, |(at, _)| at);
                pushed.push(name, &[&text[..middle], &text[middle..]]);
                shown.show(name, text);
            }
            let whole = Headers::build(texts.iter().map(|(name, text)| (name.as_str(), text)));
            prop_assert_eq!((pushed.finish(), shown.finish()), (whole.clone(), whole));
        }

        #[test]
        fn bytes_are_headers_only_where_they_end_with_a_pair(pairs in pairs(), cut: prop::sample::Index) {
            let bytes = built(&pairs).as_bytes().clone();
            prop_assert_eq!(Headers::from_bytes(bytes.clone()), Some(built(&pairs)));
            let cut = cut.index(bytes.len() + 1);
            let ends: Vec<usize> = (0..=pairs.len()).map(|count| built(&pairs[..count]).as_bytes().len()).collect();
            let read = Headers::from_bytes(bytes.slice(..cut));
            prop_assert_eq!(read.is_some(), ends.contains(&cut));
        }
    }
}
