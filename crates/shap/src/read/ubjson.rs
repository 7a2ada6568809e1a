//! UBJSON (draft 12, big-endian) as a format of serde's: the same structures are
//! read from it as from JSON.
//!
//! Not here: what a model is, and what XGBoost never writes (characters, numbers as text).

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// XGBoost's files nest 8 deep.
const MAX_DEPTH: usize = 32;

/// What is wrong, and at which byte where that is known.
#[derive(Debug)]
pub(super) struct Error(String);

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

/// A file as far as it was read.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, depth: 0 }
    }

    /// The value that comes next.
    pub(super) fn value(&mut self) -> Value<'_, 'a> {
        Value { reader: self, marker: None }
    }

    /// Whether all was read.
    pub(super) fn end(&self) -> Result<(), Error> {
        if self.at == self.bytes.len() { Ok(()) } else { self.fail("more follows the model") }
    }

    fn fail<T>(&self, reason: impl fmt::Display) -> Result<T, Error> {
        Err(Error(format!("{reason} (byte {})", self.at)))
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Error> {
        let left = &self.bytes[self.at..];
        if count > left.len() {
            return self.fail(format!("{count} bytes should follow, and {} do: it was cut off", left.len()));
        }
        self.at += count;
        Ok(&left[..count])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        Ok(self.take(N)?.try_into().expect("as many bytes were taken"))
    }

    fn byte(&mut self) -> Result<u8, Error> {
        Ok(self.take(1)?[0])
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip(&mut self, marker: u8) -> bool {
        let is_next = self.peek() == Some(marker);
        self.at += usize::from(is_next);
        is_next
    }

    fn integer(&mut self, marker: u8) -> Result<i64, Error> {
        Ok(match marker {
            b'i' => i64::from(i8::from_be_bytes(self.array()?)),
            b'U' => i64::from(self.byte()?),
            b'I' => i64::from(i16::from_be_bytes(self.array()?)),
            b'l' => i64::from(i32::from_be_bytes(self.array()?)),
            b'L' => i64::from_be_bytes(self.array()?),
            _ => return self.fail(format!("`{}` is no whole number", marker.escape_ascii())),
        })
    }

    /// A length, at most the bytes that are left: all that is counted takes one at least.
    fn length(&mut self) -> Result<usize, Error> {
        let marker = self.byte()?;
        let length = self.integer(marker)?;
        let left = self.bytes.len() - self.at;
        match usize::try_from(length).ok().filter(|length| *length <= left) {
            Some(length) => Ok(length),
            None => self.fail(format!("{length} things should follow in {left} bytes")),
        }
    }

    fn text(&mut self) -> Result<&'a str, Error> {
        let length = self.length()?;
        let bytes = self.take(length)?;
        std::str::from_utf8(bytes).or_else(|_| self.fail("a text that is not UTF-8 ends here"))
    }

    /// What stands between a container's bracket and its first thing.
    fn container(&mut self, close: u8) -> Result<Container, Error> {
        let marker = if self.skip(b'$') { Some(self.byte()?) } else { None };
        if let Some(marker) = marker
            && !b"iUIlLdDS".contains(&marker)
        {
            return self.fail(format!("a container of `{}`, which XGBoost does not write", marker.escape_ascii()));
        }
        let left = if self.skip(b'#') { Some(self.length()?) } else { None };
        if marker.is_some() && left.is_none() {
            return self.fail("a container of one type has no count");
        }
        Ok(Container { marker, left, close })
    }
}

/// A container as far as it was read.
struct Container {
    /// The type of all its values, where it has one.
    marker: Option<u8>,
    /// How many are left, where they are counted.
    left: Option<usize>,
    /// What ends it where they are not.
    close: u8,
}

impl Container {
    fn has_next(&mut self, reader: &mut Reader<'_>) -> bool {
        match &mut self.left {
            Some(left) => {
                let has_next = *left > 0;
                *left -= usize::from(has_next);
                has_next
            }
            None => !reader.skip(self.close),
        }
    }
}

/// A value that is about to be read; its type stands before it, or before the
/// container that it is in.
pub(super) struct Value<'r, 'a> {
    reader: &'r mut Reader<'a>,
    marker: Option<u8>,
}

impl<'de> Deserializer<'de> for Value<'_, 'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let reader = self.reader;
        let marker = match self.marker {
            Some(marker) => marker,
            None => reader.byte()?,
        };
        match marker {
            b'Z' => visitor.visit_unit(),
            b'T' => visitor.visit_bool(true),
            b'F' => visitor.visit_bool(false),
            b'd' => visitor.visit_f32(f32::from_be_bytes(reader.array()?)),
            b'D' => visitor.visit_f64(f64::from_be_bytes(reader.array()?)),
            b'S' => visitor.visit_borrowed_str(reader.text()?),
            b'[' | b'{' if reader.depth == MAX_DEPTH => reader.fail(format!("nested more than {MAX_DEPTH} deep")),
            b'[' | b'{' => {
                reader.depth += 1;
                let container = reader.container(marker + 2)?;
                let mut rest = Rest { reader, container };
                let value = if marker == b'[' { visitor.visit_seq(&mut rest) } else { visitor.visit_map(&mut rest) }?;
                rest.reader.depth -= 1;
                Ok(value)
            }
            _ => visitor.visit_i64(reader.integer(marker)?),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.marker.is_none() && self.reader.skip(b'Z') { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

struct Rest<'r, 'a> {
    reader: &'r mut Reader<'a>,
    container: Container,
}

impl<'de> SeqAccess<'de> for &mut Rest<'_, 'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        if !self.container.has_next(self.reader) {
            return Ok(None);
        }
        seed.deserialize(Value { reader: self.reader, marker: self.container.marker }).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        self.container.left
    }
}

impl<'de> MapAccess<'de> for &mut Rest<'_, 'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        if !self.container.has_next(self.reader) {
            return Ok(None);
        }
        let key = self.reader.text()?;
        seed.deserialize(de::value::BorrowedStrDeserializer::new(key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        seed.deserialize(Value { reader: self.reader, marker: self.container.marker })
    }
}
