//! Columns that were read, and what is to be written into one.

use crate::bindings::tollgate::plugin::types::{Cells, ParentsAt};
use crate::{Error, Level, Result, Rows, Value, sys};

/// Both offsets of a cell that is not there.
const ABSENT: u32 = u32::MAX;

/// The rows that a column's cells stand for, in the order of the cells.
#[derive(Clone, Debug)]
pub(crate) enum Indexes {
    All,
    Only(Vec<u32>),
}

impl Indexes {
    pub(crate) fn of(level: Level, rows: &Rows) -> Indexes {
        match rows {
            Rows::All => Indexes::All,
            Rows::Only(indexes) => Indexes::Only(in_order(indexes)),
            Rows::Under(parents) => Indexes::Only(below(level, parents)),
        }
    }

    fn row(&self, cell: usize) -> u32 {
        match self {
            Indexes::All => cell as u32,
            Indexes::Only(indexes) => indexes.get(cell).copied().unwrap_or(u32::MAX),
        }
    }
}

fn in_order(indexes: &[u32]) -> Vec<u32> {
    let mut indexes = indexes.to_vec();
    indexes.sort_unstable();
    indexes.dedup();
    indexes
}

/// Walks up from every row of the level to the parents' level.
fn below(level: Level, parents: &ParentsAt) -> Vec<u32> {
    let signal = sys::batch::carries();
    let mut ancestors: Vec<u32> = (0..sys::batch::count(level)).collect();
    let mut at = level;
    while at != parents.level {
        let Some(above) = at.above(signal) else { return Vec::new() };
        let up = sys::batch::parents(at);
        for ancestor in &mut ancestors {
            *ancestor = up.get(*ancestor as usize).copied().unwrap_or(u32::MAX);
        }
        at = above;
    }
    let chosen = in_order(&parents.indexes);
    let is_chosen = |ancestor: &u32| chosen.binary_search(ancestor).is_ok();
    ancestors.iter().enumerate().filter(|(_, a)| is_chosen(a)).map(|(row, _)| row as u32).collect()
}

/// A column's cells that are texts.
///
/// ```
/// # fn process(batch: &tollgate_plugin::Batch) -> tollgate_plugin::Result<()> {
/// for (row, user) in &batch.records().attribute("user").texts()? {
///     tollgate_plugin::debug!("record {row} is of {user}");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Texts {
    data: String,
    offsets: Vec<u32>,
    indexes: Indexes,
}

impl Texts {
    pub(crate) fn new(cells: Cells, indexes: Indexes) -> Result<Texts> {
        let data = String::from_utf8(cells.data)
            .map_err(|_| Error::failed("the host gave a text that is no UTF-8"))?;
        Ok(Texts { data, offsets: cells.offsets, indexes })
    }

    /// Each row that was read, as long as it has a text.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &str)> {
        self.cells().enumerate().filter_map(|(cell, text)| Some((self.indexes.row(cell), text?)))
    }

    /// A cell for each row that was read, in order: what goes into
    /// [`write_texts`](crate::Cells::write_texts).
    pub fn cells(&self) -> impl ExactSizeIterator<Item = Option<&str>> {
        ranges(&self.offsets).map(|range| self.data.get(range?))
    }

    /// How many rows were read.
    pub fn len(&self) -> usize {
        self.offsets.len() / 2
    }

    /// Whether no row was read.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<'a> IntoIterator for &'a Texts {
    type Item = (u32, &'a str);
    type IntoIter = Box<dyn Iterator<Item = (u32, &'a str)> + 'a>;

    fn into_iter(self) -> Self::IntoIter {
        Box::new(self.iter())
    }
}

/// A column's cells that are bytes or texts.
#[derive(Clone, Debug)]
pub struct Bytes {
    data: Vec<u8>,
    offsets: Vec<u32>,
    indexes: Indexes,
}

impl Bytes {
    pub(crate) fn new(cells: Cells, indexes: Indexes) -> Bytes {
        Bytes { data: cells.data, offsets: cells.offsets, indexes }
    }

    /// Each row that was read, as long as it has bytes.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &[u8])> {
        self.cells().enumerate().filter_map(|(cell, bytes)| Some((self.indexes.row(cell), bytes?)))
    }

    /// A cell for each row that was read, in order.
    pub fn cells(&self) -> impl ExactSizeIterator<Item = Option<&[u8]>> {
        ranges(&self.offsets).map(|range| self.data.get(range?))
    }

    /// How many rows were read.
    pub fn len(&self) -> usize {
        self.offsets.len() / 2
    }

    /// Whether no row was read.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<'a> IntoIterator for &'a Bytes {
    type Item = (u32, &'a [u8]);
    type IntoIter = Box<dyn Iterator<Item = (u32, &'a [u8])> + 'a>;

    fn into_iter(self) -> Self::IntoIter {
        Box::new(self.iter())
    }
}

fn ranges(offsets: &[u32]) -> impl ExactSizeIterator<Item = Option<std::ops::Range<usize>>> {
    offsets.chunks_exact(2).map(|cell| match cell {
        [ABSENT, _] => None,
        [from, to] => Some(*from as usize..*to as usize),
        _ => None,
    })
}

/// A column's cells that are integers.
pub type Ints = Numbers<i64>;

/// A column's cells that are numbers.
pub type Doubles = Numbers<f64>;

/// A column of numbers.
#[derive(Clone, Debug)]
pub struct Numbers<T> {
    values: Vec<T>,
    present: Vec<bool>,
    indexes: Indexes,
}

impl<T: Copy> Numbers<T> {
    pub(crate) fn new(values: Vec<T>, present: Vec<bool>, indexes: Indexes) -> Numbers<T> {
        Numbers { values, present, indexes }
    }

    /// Each row that was read, as long as it has such a number.
    pub fn iter(&self) -> impl Iterator<Item = (u32, T)> {
        self.cells().enumerate().filter_map(|(cell, number)| Some((self.indexes.row(cell), number?)))
    }

    /// A cell for each row that was read, in order.
    pub fn cells(&self) -> impl ExactSizeIterator<Item = Option<T>> {
        self.values.iter().zip(&self.present).map(|(value, present)| present.then_some(*value))
    }

    /// How many rows were read.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether no row was read.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

impl<'a, T: Copy> IntoIterator for &'a Numbers<T> {
    type Item = (u32, T);
    type IntoIter = Box<dyn Iterator<Item = (u32, T)> + 'a>;

    fn into_iter(self) -> Self::IntoIter {
        Box::new(self.iter())
    }
}

/// A column's cells, whatever they are.
#[derive(Clone, Debug)]
pub struct Values {
    cells: Vec<Option<Value>>,
    indexes: Indexes,
}

impl Values {
    pub(crate) fn new(cells: Vec<Option<Value>>, indexes: Indexes) -> Values {
        Values { cells, indexes }
    }

    /// Each row that was read, as long as it has a value.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Value)> {
        self.cells
            .iter()
            .enumerate()
            .filter_map(|(cell, value)| Some((self.indexes.row(cell), value.as_ref()?)))
    }

    /// A cell for each row that was read, in order.
    pub fn cells(&self) -> &[Option<Value>] {
        &self.cells
    }
}

impl<'a> IntoIterator for &'a Values {
    type Item = (u32, &'a Value);
    type IntoIter = Box<dyn Iterator<Item = (u32, &'a Value)> + 'a>;

    fn into_iter(self) -> Self::IntoIter {
        Box::new(self.iter())
    }
}

pub(crate) fn flat<T: AsRef<str>>(texts: impl IntoIterator<Item = Option<T>>) -> Result<Cells> {
    let mut cells = Cells { data: Vec::new(), offsets: Vec::new() };
    for text in texts {
        let Some(text) = text else {
            cells.offsets.extend([ABSENT, ABSENT]);
            continue;
        };
        let from = cells.data.len();
        cells.data.extend_from_slice(text.as_ref().as_bytes());
        let (Ok(from), Ok(to)) = (u32::try_from(from), u32::try_from(cells.data.len())) else {
            return Err(Error::failed("more than 4 GiB of text in one column"));
        };
        cells.offsets.extend([from, to]);
    }
    Ok(cells)
}

pub(crate) fn split<T: Default>(cells: impl IntoIterator<Item = Option<T>>) -> (Vec<T>, Vec<bool>) {
    cells.into_iter().map(|cell| (cell.is_some(), cell.unwrap_or_default())).map(|(p, v)| (v, p)).unzip()
}
