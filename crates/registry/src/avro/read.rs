//! From an Avro body to the text of its JSON, by the schema that wrote it.
//!
//! Bytes from outside say how long things are: nothing is reserved by what they
//! say, depth and output have a bound, and what is left over is a fault.
//!
//! Not here: whether the JSON is an event.

use super::{
    Fault, Plan,
    plan::{Field, Node, Unit},
};
use tapedeck_contracts::Timestamp;

/// Records nest as their schemas do; a schema that refers to itself could go on.
const MAX_DEPTH: usize = 64;
/// An item may take no bytes and stand for some; a body of 1 MB comes to 3 MB.
const MAX_JSON_BYTES: usize = 32 << 20;
/// Of a number in Avro's variable form.
const LONG_BYTES: usize = 10;

impl Plan {
    /// The JSON of a body.
    ///
    /// # Errors
    /// Where the body does not fit the schema.
    pub fn read(&self, body: &[u8]) -> Result<Vec<u8>, Fault> {
        let mut reader = Reader { plan: self, rest: body, json: Vec::with_capacity(body.len() * 2) };
        reader.node(self.root, 0)?;
        match reader.rest.len() {
            0 => Ok(reader.json),
            left => Err(Fault::here(format!("{left} bytes are left behind the body"))),
        }
    }
}

struct Reader<'a> {
    plan: &'a Plan,
    rest: &'a [u8],
    json: Vec<u8>,
}

impl<'a> Reader<'a> {
    fn node(&mut self, at: usize, depth: usize) -> Result<(), Fault> {
        if depth > MAX_DEPTH || self.json.len() > MAX_JSON_BYTES {
            return Err(Fault::here(format!("more than {MAX_DEPTH} levels or {MAX_JSON_BYTES} bytes of JSON")));
        }
        match &self.plan.nodes[at] {
            Node::Null => self.json.extend_from_slice(b"null"),
            Node::Boolean => self.boolean()?,
            Node::Long => {
                let number = self.long()?;
                self.json.extend_from_slice(number.to_string().as_bytes());
            }
            Node::Float => {
                let number = f32::from_le_bytes(self.array()?);
                self.number(number.is_finite(), &number)?;
            }
            Node::Double => {
                let number = f64::from_le_bytes(self.array()?);
                self.number(number.is_finite(), &number)?;
            }
            Node::Bytes => {
                let bytes = self.sized()?;
                self.latin(bytes);
            }
            Node::Fixed(size) => {
                let bytes = self.take(*size)?;
                self.latin(bytes);
            }
            Node::String => {
                let text = self.text()?;
                self.string(text);
            }
            Node::Json => {
                let text = self.text()?;
                serde_json::from_str::<&serde_json::value::RawValue>(text)
                    .map_err(|error| Fault::here(format!("expected the text of a JSON value: {error}")))?;
                self.json.extend_from_slice(text.as_bytes());
            }
            Node::Array(items) => self.array_of(*items, depth)?,
            Node::Map(values) => self.map_of(*values, depth)?,
            Node::Union(variants) => {
                let node = self.choice(variants)?;
                self.node(node, depth + 1)?;
            }
            Node::Record(fields) => self.record(fields, depth)?,
            Node::Enum(words) => {
                let index = self.long()?;
                let word = usize::try_from(index).ok().and_then(|index| words.get(index));
                let word = word.ok_or_else(|| Fault::here(format!("word {index} of {}", words.len())))?;
                self.string(word);
            }
            Node::Decimal { scale, size } => {
                let bytes = match size {
                    Some(size) => self.take(*size)?,
                    None => self.sized()?,
                };
                self.decimal(bytes, *scale)?;
            }
            Node::Uuid => {
                let bytes: [u8; 16] = self.array()?;
                let hex = bytes.map(|byte| format!("{byte:02x}")).concat();
                let text = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-");
                self.string(&text);
            }
            Node::Timestamp(unit) => {
                let count = self.long()?;
                self.timestamp(count, *unit)?;
            }
        }
        Ok(())
    }

    fn boolean(&mut self) -> Result<(), Fault> {
        match self.array()? {
            [0] => self.json.extend_from_slice(b"false"),
            [1] => self.json.extend_from_slice(b"true"),
            [other] => return Err(Fault::here(format!("expected a boolean (0 or 1), found {other}"))),
        }
        Ok(())
    }

    fn record(&mut self, fields: &'a [Field], depth: usize) -> Result<(), Fault> {
        self.json.push(b'{');
        let mut is_first = true;
        for field in fields {
            let start = self.json.len();
            if !is_first {
                self.json.push(b',');
            }
            self.string(&field.name);
            self.json.push(b':');
            let value = self.json.len();
            self.node(field.node, depth + 1).map_err(|fault| fault.within(&format!(".{}", field.name)))?;
            if field.may_be_absent && &self.json[value..] == b"null" {
                self.json.truncate(start);
            } else {
                is_first = false;
            }
        }
        self.json.push(b'}');
        Ok(())
    }

    fn array_of(&mut self, items: usize, depth: usize) -> Result<(), Fault> {
        self.json.push(b'[');
        let mut index = 0_u64;
        while let Some(count) = self.block()? {
            for _ in 0..count {
                if index > 0 {
                    self.json.push(b',');
                }
                self.node(items, depth + 1).map_err(|fault| fault.within(&format!("[{index}]")))?;
                index += 1;
            }
        }
        self.json.push(b']');
        Ok(())
    }

    fn map_of(&mut self, values: usize, depth: usize) -> Result<(), Fault> {
        self.json.push(b'{');
        let mut is_first = true;
        while let Some(count) = self.block()? {
            for _ in 0..count {
                if !std::mem::take(&mut is_first) {
                    self.json.push(b',');
                }
                let key = self.text()?;
                self.string(key);
                self.json.push(b':');
                self.node(values, depth + 1).map_err(|fault| fault.within(&format!(".{key}")))?;
            }
        }
        self.json.push(b'}');
        Ok(())
    }

    /// How many items the next block has; none behind the last.
    fn block(&mut self) -> Result<Option<u64>, Fault> {
        let count = self.long()?;
        if count < 0 {
            self.long()?; // Its size in bytes, for who wants to skip it.
        }
        Ok((count != 0).then_some(count.unsigned_abs()))
    }

    fn choice(&mut self, variants: &[usize]) -> Result<usize, Fault> {
        let index = self.long()?;
        let chosen = usize::try_from(index).ok().and_then(|index| variants.get(index)).copied();
        chosen.ok_or_else(|| Fault::here(format!("choice {index} of a union of {}", variants.len())))
    }

    /// With the fewest digits that lead back to it.
    fn number(&mut self, is_finite: bool, number: &impl serde::Serialize) -> Result<(), Fault> {
        if !is_finite {
            return Err(Fault::here("NaN and infinities are no numbers of JSON"));
        }
        serde_json::to_writer(&mut self.json, number).map_err(|error| Fault::here(error.to_string()))
    }

    fn decimal(&mut self, bytes: &[u8], scale: usize) -> Result<(), Fault> {
        let wide = || Fault::here(format!("a decimal of {} bytes and {scale} decimals is too wide", bytes.len()));
        if bytes.len() > 16 || scale > 38 {
            return Err(wide());
        }
        let sign = if bytes.first().is_some_and(|byte| byte & 0x80 != 0) { -1_i128 } else { 0 };
        let unscaled = bytes.iter().fold(sign, |number, byte| number << 8 | i128::from(*byte));
        let mut digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
        if scale > 0 {
            digits.insert(digits.len() - scale, '.');
        }
        if unscaled < 0 {
            digits.insert(0, '-');
        }
        self.string(&digits);
        Ok(())
    }

    fn timestamp(&mut self, count: i64, unit: Unit) -> Result<(), Fault> {
        /// From the year 0001 to the end of 9999, which is what RFC 3339 can write.
        const YEARS: std::ops::RangeInclusive<i64> = -62_135_596_800_000_000..=253_402_300_799_999_999;
        let micros = match unit {
            Unit::Millis => count.checked_mul(1_000),
            Unit::Micros => Some(count),
            Unit::Nanos => Some(count.div_euclid(1_000)),
        };
        let micros = micros.filter(|micros| YEARS.contains(micros));
        let micros = micros.ok_or_else(|| Fault::here(format!("{count} is a time outside of the years 1 to 9999")))?;
        let text = Timestamp::from_micros(micros).to_string();
        self.string(&text);
        Ok(())
    }

    /// Bytes as a string of the first 256 characters, as Avro's JSON has them.
    fn latin(&mut self, bytes: &[u8]) {
        let text: String = bytes.iter().copied().map(char::from).collect();
        self.string(&text);
    }

    fn string(&mut self, text: &str) {
        serde_json::to_writer(&mut self.json, text).expect("a string is JSON, and a vector takes it");
    }

    fn text(&mut self) -> Result<&'a str, Fault> {
        let bytes = self.sized()?;
        std::str::from_utf8(bytes).map_err(|error| Fault::here(format!("the text is not UTF-8: {error}")))
    }

    fn sized(&mut self) -> Result<&'a [u8], Fault> {
        let size = self.long()?;
        let size = usize::try_from(size).map_err(|_| Fault::here(format!("a length of {size}")))?;
        self.take(size)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        self.take(N)?.try_into().map_err(|_| cut())
    }

    fn take(&mut self, size: usize) -> Result<&'a [u8], Fault> {
        let (taken, rest) = self.rest.split_at_checked(size).ok_or_else(cut)?;
        self.rest = rest;
        Ok(taken)
    }

    /// A number in Avro's variable form: seven bits a byte, the least first, the
    /// sign in the last bit.
    fn long(&mut self) -> Result<i64, Fault> {
        let mut bits = 0_u64;
        for place in 0..LONG_BYTES {
            let byte = self.take(1)?[0];
            bits |= u64::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                return Ok((bits >> 1) as i64 ^ -((bits & 1) as i64));
            }
        }
        Err(Fault::here(format!("a number of more than {LONG_BYTES} bytes")))
    }
}

fn cut() -> Fault {
    Fault::here("the body ends before this")
}
