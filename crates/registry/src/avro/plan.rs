//! A schema made ready for reading and writing bodies: names resolved, and of
//! each logical type what it means for the JSON.
//!
//! Not here: bodies.

use std::collections::HashMap;

use apache_avro::schema::{InnerDecimalSchema, Schema, UuidSchema};

use super::derive::{FORMAT, JSON};

/// A schema that nests deeper is none of an event; each level is a call.
const MAX_DEPTH: usize = 64;

/// A schema, ready for use.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub(super) nodes: Vec<Node>,
    pub(super) root: usize,
}

/// A part of a schema; numbers name other parts.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Null,
    Boolean,
    /// `int` and `long` are written alike.
    Long,
    Float,
    Double,
    Bytes,
    String,
    /// A string that holds the text of any JSON.
    Json,
    Array(usize),
    Map(usize),
    Union(Vec<usize>),
    Record(Vec<Field>),
    Enum(Vec<String>),
    Fixed(usize),
    /// A big-endian integer of so many bytes (of its own length where none) that
    /// counts units of 10 to the power of minus `scale`.
    Decimal {
        scale: usize,
        size: Option<usize>,
    },
    /// Sixteen bytes.
    Uuid,
    Timestamp(Unit),
}

/// What a timestamp counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Millis,
    Micros,
    Nanos,
}

/// A field of a record.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) node: usize,
    /// Null means that it is absent.
    pub(super) may_be_absent: bool,
}

impl Plan {
    /// Reads a schema.
    ///
    /// # Errors
    /// It is no Avro schema, or has a type that no JSON of the contract could be
    /// made of.
    pub fn parse(schema: &str) -> Result<Self, String> {
        let schema = Schema::parse_str(schema).map_err(|error| format!("it is no Avro schema: {error}"))?;
        let mut compiler = Compiler { nodes: Vec::new(), named: HashMap::new() };
        let root = compiler.node(&schema, None, false, 0)?;
        Ok(Self { nodes: compiler.nodes, root })
    }
}

struct Compiler {
    nodes: Vec<Node>,
    /// Full names, and which node each is.
    named: HashMap<String, usize>,
}

impl Compiler {
    fn node(&mut self, schema: &Schema, namespace: Option<&str>, is_json: bool, depth: usize) -> Result<usize, String> {
        if depth > MAX_DEPTH {
            return Err(format!("it nests deeper than {MAX_DEPTH} levels"));
        }
        if let Schema::Ref { name } = schema {
            let name = name.fullname(namespace);
            return self.named.get(&name).copied().ok_or_else(|| format!("it names `{name}`, which is not in it"));
        }
        // Its place first, so that what it holds can refer to it.
        let at = self.nodes.len();
        self.nodes.push(Node::Null);
        if let Some(name) = schema.name() {
            self.named.insert(name.fullname(namespace), at);
        }
        self.nodes[at] = match schema {
            Schema::Null => Node::Null,
            Schema::Boolean => Node::Boolean,
            Schema::Int | Schema::Long | Schema::Date | Schema::TimeMillis | Schema::TimeMicros => Node::Long,
            Schema::Float => Node::Float,
            Schema::Double => Node::Double,
            Schema::Bytes => Node::Bytes,
            Schema::String if is_json => Node::Json,
            Schema::String | Schema::Uuid(UuidSchema::String) => Node::String,
            Schema::Array(array) => Node::Array(self.node(&array.items, namespace, false, depth + 1)?),
            Schema::Map(map) => Node::Map(self.node(&map.types, namespace, false, depth + 1)?),
            Schema::Union(union) => Node::Union(
                union
                    .variants()
                    .iter()
                    .map(|variant| self.node(variant, namespace, is_json, depth + 1))
                    .collect::<Result<_, _>>()?,
            ),
            Schema::Record(record) => {
                let namespace = record.name.namespace().or(namespace);
                let field = |field: &apache_avro::schema::RecordField| {
                    let is_json = field.custom_attributes.get(FORMAT).is_some_and(|format| format == JSON);
                    Ok(Field {
                        name: field.name.clone(),
                        node: self.node(&field.schema, namespace, is_json, depth + 1)?,
                        may_be_absent: field.default.as_ref().is_some_and(serde_json::Value::is_null),
                    })
                };
                Node::Record(record.fields.iter().map(field).collect::<Result<_, String>>()?)
            }
            Schema::Enum(words) => Node::Enum(words.symbols.clone()),
            Schema::Fixed(fixed) => Node::Fixed(fixed.size),
            Schema::Decimal(decimal) => Node::Decimal {
                scale: decimal.scale,
                size: match &decimal.inner {
                    InnerDecimalSchema::Bytes => None,
                    InnerDecimalSchema::Fixed(fixed) => Some(fixed.size),
                },
            },
            Schema::Uuid(UuidSchema::Fixed(_)) => Node::Uuid,
            Schema::TimestampMillis => Node::Timestamp(Unit::Millis),
            Schema::TimestampMicros => Node::Timestamp(Unit::Micros),
            Schema::TimestampNanos => Node::Timestamp(Unit::Nanos),
            other => return Err(format!("it has the type {other}, which says nothing that an event could hold")),
        };
        Ok(at)
    }
}
