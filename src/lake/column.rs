//! The columns of a table, as values.

/// A column.
#[derive(Debug, PartialEq, Eq)]
pub struct Column {
    /// Lower case, and a reserved word of no engine.
    pub name: &'static str,
    /// What it holds.
    pub kind: ColumnKind,
    /// Whether a row may have none.
    pub nullable: bool,
    /// For people.
    pub doc: &'static str,
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// UTF-8.
    Text,
    /// Microseconds UTC: nanoseconds and INT96 are read differently by every engine.
    Instant,
    /// A UTC day.
    Date,
    /// 32 bits.
    Integer,
    /// 64 bits.
    BigInteger,
    /// 64 bits, floating.
    Double,
    /// True or false.
    Boolean,
    /// Text to text, sorted by key.
    TextMap,
}

pub(super) const fn column(
    name: &'static str,
    kind: ColumnKind,
    nullable: bool,
    doc: &'static str,
) -> Column {
    Column {
        name,
        kind,
        nullable,
        doc,
    }
}

pub(super) const fn text(name: &'static str, doc: &'static str) -> Column {
    column(name, ColumnKind::Text, false, doc)
}

pub(super) const fn maybe(name: &'static str, doc: &'static str) -> Column {
    column(name, ColumnKind::Text, true, doc)
}
