//! The smallest pieces of a record's bytes: varints, texts, ids, decimals, floats.
//!
//! Not here: their order in a record (`write`, `read`).
//!
//! Each piece has one form only, and reading refuses any other: so equal records
//! have equal bytes, and equal hashes.

use rust_decimal::Decimal;

/// What is wrong with bytes, in words for a person.
pub(crate) type Wrong = &'static str;

/// Seven bits a byte, lowest first, the high bit says that more follow (LEB128).
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Its length in bytes, then UTF-8.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// A UUID in its usual writing is a zero and 16 bytes; any other id a text, which
/// is never empty.
pub(crate) fn put_id(out: &mut Vec<u8>, id: &str) {
    match uuid_bytes(id) {
        Some(uuid) => {
            out.push(0);
            out.extend_from_slice(&uuid);
        }
        None => put_text(out, id),
    }
}

/// Scale, then the digits as a zigzag varint of up to 97 bits.
pub(crate) fn put_decimal(out: &mut Vec<u8>, value: Decimal) {
    out.push(value.scale() as u8);
    let mantissa = value.mantissa();
    let mut zigzag = ((mantissa << 1) ^ (mantissa >> 127)) as u128;
    while zigzag >= 0x80 {
        out.push(zigzag as u8 | 0x80);
        zigzag >>= 7;
    }
    out.push(zigzag as u8);
}

/// The 16 bytes of a UUID written as 8-4-4-4-12 hexadecimal digits in lower case.
fn uuid_bytes(id: &str) -> Option<[u8; 16]> {
    let text = id.as_bytes();
    if text.len() != 36 {
        return None;
    }
    let mut uuid = [0; 16];
    let mut at = 0;
    for byte in &mut uuid {
        if matches!(at, 8 | 13 | 18 | 23) {
            if text[at] != b'-' {
                return None;
            }
            at += 1;
        }
        *byte = nibble(text[at])? << 4 | nibble(text[at + 1])?;
        at += 2;
    }
    Some(uuid)
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

fn uuid_text(uuid: [u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (at, byte) in uuid.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
        }
    }
    text
}

/// Reads pieces from the front of bytes and knows where it is.
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bytes were read.
    pub(crate) const fn at(&self) -> usize {
        self.at
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Wrong> {
        let rest = &self.bytes[self.at..];
        let (taken, _) = rest.split_at_checked(count).ok_or("it ends too early")?;
        self.at += count;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Wrong> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Wrong> {
        Ok(self.array::<1>()?[0])
    }

    fn wide_varint(&mut self, bits: u32) -> Result<u128, Wrong> {
        let mut value = 0_u128;
        let mut shift = 0;
        loop {
            let byte = self.byte()?;
            let part = u128::from(byte & 0x7f);
            if shift >= bits || part >> (bits - shift).min(7) != 0 {
                return Err("a number that is too large");
            }
            value |= part << shift;
            if byte < 0x80 {
                return if byte == 0 && shift > 0 { Err("a number in a longer form than it needs") } else { Ok(value) };
            }
            shift += 7;
        }
    }

    pub(crate) fn varint(&mut self) -> Result<u64, Wrong> {
        self.wide_varint(64).map(|value| value as u64)
    }

    /// How many of something follow: never more than `most`, and never more than
    /// bytes are left.
    pub(crate) fn count(&mut self, most: usize) -> Result<usize, Wrong> {
        let count = self.varint()?;
        let left = self.bytes.len() - self.at;
        usize::try_from(count).ok().filter(|count| *count <= most.min(left)).ok_or("a count that is too large")
    }

    pub(crate) fn text(&mut self, most: usize) -> Result<&'a str, Wrong> {
        let length = self.count(most)?;
        std::str::from_utf8(self.take(length)?).map_err(|_| "a text that is not UTF-8")
    }

    pub(crate) fn id(&mut self, most: usize) -> Result<String, Wrong> {
        if self.bytes.get(self.at) == Some(&0) {
            self.at += 1;
            return Ok(uuid_text(self.array()?));
        }
        let text = self.text(most)?;
        if uuid_bytes(text).is_some() { Err("a UUID in a longer form than it needs") } else { Ok(text.to_owned()) }
    }

    pub(crate) fn decimal(&mut self) -> Result<Decimal, Wrong> {
        let scale = u32::from(self.byte()?);
        let zigzag = self.wide_varint(97)?;
        let mantissa = (zigzag >> 1) as i128 ^ -((zigzag & 1) as i128);
        Decimal::try_from_i128_with_scale(mantissa, scale).map_err(|_| "a decimal that is too long")
    }

    pub(crate) fn f64(&mut self) -> Result<f64, Wrong> {
        let value = f64::from_le_bytes(self.array()?);
        if value.is_finite() { Ok(value) } else { Err("a number that is not finite") }
    }

    pub(crate) fn f32(&mut self) -> Result<f32, Wrong> {
        let value = f32::from_le_bytes(self.array()?);
        if value.is_finite() { Ok(value) } else { Err("a number that is not finite") }
    }

    /// Nothing may follow.
    pub(crate) fn end(&self) -> Result<(), Wrong> {
        if self.at == self.bytes.len() { Ok(()) } else { Err("bytes after its end") }
    }
}
