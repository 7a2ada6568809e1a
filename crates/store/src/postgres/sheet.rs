//! Rows on their way to a table, many at once: by COPY, or as one array a
//! column where COPY cannot be had or rows may be there already. Both carry
//! values in the same binary form.
//!
//! Not here: which tables there are.

use bytes::{BufMut, Bytes, BytesMut};
use rust_decimal::Decimal;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use super::{
    codec::{Numeric, Time},
    connect::Session,
};
use crate::Result;

/// The type of a column.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Text,
    Int,
    Num,
    Time,
    Float,
    Bool,
    Bytes,
}

impl Kind {
    fn of(self) -> (&'static str, u32) {
        match self {
            Self::Text => ("text[]", 25),
            Self::Int => ("bigint[]", 20),
            Self::Num => ("numeric[]", 1700),
            Self::Time => ("timestamptz[]", 1184),
            Self::Float => ("float8[]", 701),
            Self::Bool => ("boolean[]", 16),
            Self::Bytes => ("bytea[]", 17),
        }
    }
}

/// A table as it is written to.
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) columns: &'static [(&'static str, Kind)],
    /// What happens to a row that is there already; empty where none can be.
    pub(super) on_conflict: &'static str,
}

/// Rows for one table.
pub(super) struct Sheet {
    table: &'static Table,
    /// All rows as COPY takes them, or each column.
    cells: Vec<BytesMut>,
    copies: bool,
    rows: usize,
    /// The column that comes next.
    next: usize,
}

/// What a binary COPY begins with: its signature, no flags, no extension.
const COPY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

impl Sheet {
    /// An empty sheet; `copies` says whether COPY can be had.
    pub(super) fn new(table: &'static Table, copies: bool) -> Self {
        Self::as_sent(table, copies && table.on_conflict.is_empty())
    }

    /// An empty sheet of rows that are new, as far as is known.
    pub(super) fn of_new(table: &'static Table) -> Self {
        Self::as_sent(table, true)
    }

    fn as_sent(table: &'static Table, copies: bool) -> Self {
        let mut cells = vec![BytesMut::new(); if copies { 1 } else { table.columns.len() }];
        if copies {
            cells[0].put_slice(COPY_HEADER);
        }
        Self { table, cells, copies, rows: 0, next: 0 }
    }

    /// Begins a row; a value for each column follows, in their order.
    pub(super) fn row(&mut self) -> &mut Self {
        debug_assert!(self.next == 0 || self.next == self.table.columns.len(), "a row of {} is whole", self.table.name);
        if self.copies {
            self.cells[0].put_i16(i16::try_from(self.table.columns.len()).expect("invariant: a few columns"));
        }
        (self.rows, self.next) = (self.rows + 1, 0);
        self
    }

    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.cell(|out| out.put_slice(text.as_bytes()))
    }

    pub(super) fn optional_text(&mut self, text: Option<&str>) -> &mut Self {
        match text {
            Some(text) => self.text(text),
            None => self.null(),
        }
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.cell(|out| out.put_slice(bytes))
    }

    pub(super) fn optional_bytes(&mut self, bytes: Option<&[u8]>) -> &mut Self {
        match bytes {
            Some(bytes) => self.bytes(bytes),
            None => self.null(),
        }
    }

    pub(super) fn int(&mut self, number: i64) -> &mut Self {
        self.cell(|out| out.put_i64(number))
    }

    pub(super) fn optional_int(&mut self, number: Option<i64>) -> &mut Self {
        match number {
            Some(number) => self.int(number),
            None => self.null(),
        }
    }

    pub(super) fn num(&mut self, value: Decimal) -> &mut Self {
        self.cell(|out| Numeric(value).put(out))
    }

    pub(super) fn optional_num(&mut self, value: Option<Decimal>) -> &mut Self {
        match value {
            Some(value) => self.num(value),
            None => self.null(),
        }
    }

    pub(super) fn time(&mut self, time_us: i64) -> &mut Self {
        self.cell(|out| out.put_i64(Time(time_us).binary()))
    }

    pub(super) fn optional_time(&mut self, time_us: Option<i64>) -> &mut Self {
        match time_us {
            Some(time_us) => self.time(time_us),
            None => self.null(),
        }
    }

    pub(super) fn optional_float(&mut self, number: Option<f64>) -> &mut Self {
        match number {
            Some(number) => self.cell(|out| out.put_f64(number)),
            None => self.null(),
        }
    }

    pub(super) fn bool(&mut self, value: bool) -> &mut Self {
        self.cell(|out| out.put_u8(u8::from(value)))
    }

    fn null(&mut self) -> &mut Self {
        let at = if self.copies { 0 } else { self.next };
        self.cells[at].put_i32(-1);
        self.next += 1;
        self
    }

    fn cell(&mut self, write: impl FnOnce(&mut BytesMut)) -> &mut Self {
        let out = &mut self.cells[if self.copies { 0 } else { self.next }];
        let start = out.len();
        out.put_i32(0);
        write(out);
        let length = i32::try_from(out.len() - start - 4).expect("invariant: values of some kilobytes");
        out[start..start + 4].copy_from_slice(&length.to_be_bytes());
        self.next += 1;
        self
    }

    /// Sends the rows; returns how many the table took.
    ///
    /// # Errors
    /// The server refuses.
    pub(super) fn send(self, session: &mut Session) -> Result<u64> {
        if self.rows == 0 {
            return Ok(0);
        }
        if self.copies {
            let sql = self.copy_sql();
            return session.copy(&sql, self.copied());
        }
        let sql = self.insert_sql();
        let arrays = self.arrays();
        let params: Vec<&(dyn ToSql + Sync)> = arrays.iter().map(|array| array as _).collect();
        session.execute(&sql, &params)
    }

    /// Sends rows that are new, as far as is known, by COPY; false where one of them is there already: none
    /// of them is kept then. Unlike an INSERT that looks for conflicts this takes no array apart, and
    /// writes many rows of a page at once.
    ///
    /// # Errors
    /// The server refuses.
    pub(super) fn send_new(self, session: &mut Session) -> Result<bool> {
        if self.rows == 0 {
            return Ok(true);
        }
        let sql = self.copy_sql();
        session.copy_new(&sql, self.copied())
    }

    fn copied(mut self) -> Bytes {
        self.cells[0].put_i16(-1);
        self.cells.remove(0).freeze()
    }

    /// The columns as parameters.
    pub(super) fn arrays(self) -> Vec<Array> {
        let rows = i32::try_from(self.rows).expect("invariant: a batch");
        let columns = self.table.columns.iter().zip(self.cells);
        columns.map(|((_, kind), cells)| Array { element: kind.of().1, rows, cells: cells.freeze() }).collect()
    }

    fn names(&self) -> String {
        let names: Vec<_> = self.table.columns.iter().map(|(name, _)| *name).collect();
        names.join(", ")
    }

    fn copy_sql(&self) -> String {
        format!("COPY {} ({}) FROM STDIN BINARY", self.table.name, self.names())
    }

    fn insert_sql(&self) -> String {
        format!(
            "INSERT INTO {} ({}) SELECT * FROM unnest({}) {}",
            self.table.name,
            self.names(),
            parameters(self.table.columns),
            self.table.on_conflict
        )
    }
}

/// The arrays of these columns, as the arguments of unnest.
pub(super) fn parameters(columns: &[(&str, Kind)]) -> String {
    let arrays = columns.iter().zip(1..).map(|((_, kind), at)| format!("${at}::{}", kind.of().0));
    arrays.collect::<Vec<_>>().join(", ")
}

/// A column as an array of one dimension.
#[derive(Debug)]
pub(super) struct Array {
    element: u32,
    rows: i32,
    cells: Bytes,
}

impl ToSql for Array {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> std::result::Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.reserve(self.cells.len() + 20);
        out.put_i32(1);
        // May hold nulls; the server looks by itself.
        out.put_i32(1);
        out.put_u32(self.element);
        out.put_i32(self.rows);
        out.put_i32(1);
        out.put_slice(&self.cells);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}
