//! From the text of a JSON body to its Avro form. Numbers are taken as they are
//! written, so that a decimal keeps its digits.
//!
//! Not here: whether the body is an event: who writes has checked that.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use tapedeck_contracts::Timestamp;

use super::{
    Fault, Plan,
    plan::{Field, Node, Unit},
};

impl Plan {
    /// Writes the Avro form of a JSON body behind what a buffer holds. Fields that
    /// the schema does not have are left out.
    ///
    /// # Errors
    /// Where the body does not fit the schema.
    pub fn write(&self, json: &[u8], buffer: &mut Vec<u8>) -> Result<(), Fault> {
        let raw: &RawValue =
            serde_json::from_slice(json).map_err(|error| Fault::here(format!("the body is not JSON: {error}")))?;
        Writer { plan: self, bytes: buffer }.node(self.root, raw)
    }
}

struct Writer<'a> {
    plan: &'a Plan,
    bytes: &'a mut Vec<u8>,
}

impl Writer<'_> {
    fn node(&mut self, at: usize, raw: &RawValue) -> Result<(), Fault> {
        let plan = self.plan;
        let text = raw.get();
        match &plan.nodes[at] {
            Node::Null if text == "null" => {}
            Node::Boolean if text == "true" || text == "false" => self.bytes.push(u8::from(text == "true")),
            Node::Long => self.long(text.parse().map_err(|_| expected("an integer of 64 bits", text))?),
            Node::Float => self.bytes.extend_from_slice(&(number(text)? as f32).to_le_bytes()),
            Node::Double => self.bytes.extend_from_slice(&number(text)?.to_le_bytes()),
            Node::String => match text.as_bytes().first() {
                // A decimal that is written as a number: its digits are its text.
                Some(b'-' | b'0'..=b'9') => self.text(text),
                _ => self.text(&string(text)?),
            },
            Node::Json => self.text(text),
            Node::Enum(words) => {
                let word = string(text)?;
                let index = words.iter().position(|known| *known == word);
                self.long(index.ok_or_else(|| expected(&format!("one of {}", words.join(", ")), text))? as i64);
            }
            Node::Array(items) => self.array(*items, text)?,
            Node::Map(values) => self.map(*values, text)?,
            Node::Union(variants) => self.union(variants, raw)?,
            Node::Record(fields) => self.record(fields, text)?,
            Node::Timestamp(unit) => {
                let micros = Timestamp::parse(&string(text)?).map_err(|error| Fault::here(error.to_string()))?.micros();
                self.long(match unit {
                    Unit::Millis => micros.div_euclid(1_000),
                    Unit::Micros => micros,
                    Unit::Nanos => micros.checked_mul(1_000).ok_or_else(|| expected("a time that fits", text))?,
                });
            }
            Node::Null => return Err(expected("null", text)),
            Node::Boolean => return Err(expected("a boolean", text)),
            Node::Bytes | Node::Fixed(_) | Node::Decimal { .. } | Node::Uuid => {
                return Err(Fault::here("the schema has a type here that this version does not write"));
            }
        }
        Ok(())
    }

    fn record(&mut self, fields: &[Field], text: &str) -> Result<(), Fault> {
        let values = object(text)?;
        for field in fields {
            let written = match values.get(&field.name) {
                Some(raw) => self.node(field.node, raw),
                None => self.absent(field.node),
            };
            written.map_err(|fault| fault.within(&format!(".{}", field.name)))?;
        }
        Ok(())
    }

    fn absent(&mut self, node: usize) -> Result<(), Fault> {
        let plan = self.plan;
        match &plan.nodes[node] {
            Node::Null => Ok(()),
            Node::Union(variants) => match self.null_of(variants) {
                Some(index) => {
                    self.long(index as i64);
                    Ok(())
                }
                None => Err(Fault::here("it is missing")),
            },
            _ => Err(Fault::here("it is missing")),
        }
    }

    fn null_of(&self, variants: &[usize]) -> Option<usize> {
        variants.iter().position(|variant| self.plan.nodes[*variant] == Node::Null)
    }

    fn union(&mut self, variants: &[usize], raw: &RawValue) -> Result<(), Fault> {
        if let ("null", Some(index)) = (raw.get(), self.null_of(variants)) {
            self.long(index as i64);
            return Ok(());
        }
        let (plan, mut last) = (self.plan, None);
        for (index, variant) in variants.iter().enumerate().filter(|(_, variant)| plan.nodes[**variant] != Node::Null) {
            let start = self.bytes.len();
            self.long(index as i64);
            match self.node(*variant, raw) {
                Ok(()) => return Ok(()),
                Err(fault) => {
                    self.bytes.truncate(start);
                    last = Some(fault);
                }
            }
        }
        Err(last.unwrap_or_else(|| expected("null", raw.get())))
    }

    fn array(&mut self, items: usize, text: &str) -> Result<(), Fault> {
        let values: Vec<&RawValue> = serde_json::from_str(text).map_err(|_| expected("an array", text))?;
        if !values.is_empty() {
            self.long(values.len() as i64);
        }
        for (index, raw) in values.into_iter().enumerate() {
            self.node(items, raw).map_err(|fault| fault.within(&format!("[{index}]")))?;
        }
        self.long(0);
        Ok(())
    }

    fn map(&mut self, values: usize, text: &str) -> Result<(), Fault> {
        let entries = object(text)?;
        if !entries.is_empty() {
            self.long(entries.len() as i64);
        }
        for (key, raw) in entries {
            self.text(&key);
            self.node(values, raw).map_err(|fault| fault.within(&format!(".{key}")))?;
        }
        self.long(0);
        Ok(())
    }

    fn text(&mut self, text: &str) {
        self.long(text.len() as i64);
        self.bytes.extend_from_slice(text.as_bytes());
    }

    /// In Avro's variable form: the sign in the last bit, seven bits a byte, the
    /// least first.
    fn long(&mut self, number: i64) {
        let mut bits = ((number << 1) ^ (number >> 63)) as u64;
        while bits >= 0x80 {
            self.bytes.push(bits as u8 | 0x80);
            bits >>= 7;
        }
        self.bytes.push(bits as u8);
    }
}

fn object(text: &str) -> Result<BTreeMap<String, &RawValue>, Fault> {
    serde_json::from_str(text).map_err(|_| expected("an object", text))
}

fn string(text: &str) -> Result<String, Fault> {
    serde_json::from_str(text).map_err(|_| expected("a string", text))
}

fn number(text: &str) -> Result<f64, Fault> {
    serde_json::from_str(text).map_err(|_| expected("a number", text))
}

fn expected(what: &str, found: &str) -> Fault {
    /// As much of a body as a person wants to see in an error.
    const SHOWN: usize = 40;
    let shown: String = found.chars().take(SHOWN).collect();
    let dots = if shown.len() < found.len() { "…" } else { "" };
    Fault::here(format!("expected {what}, found {shown}{dots}"))
}
