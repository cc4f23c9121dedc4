//! What the contract says, done the plain way: on a tree of fields, a list of rows for each level.
//!
//! It finds fields by the schema's names, so that it does not repeat what `place` knows by numbers, and
//! reads the wire format by itself.

use super::super::{hash::put_hash, *};
use crate::schema::{self, Kind};

/// A field of a message, whatever it is.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Field {
    pub number: u32,
    pub wire_type: u64,
    /// All of it.
    pub raw: Vec<u8>,
    /// Its value.
    pub content: Vec<u8>,
}

fn varint(bytes: &[u8], at: &mut usize) -> u64 {
    let mut value = 0;
    for shift in (0..70).step_by(7) {
        let byte = bytes[*at];
        *at += 1;
        value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte < 0x80 {
            break;
        }
    }
    value
}

/// The fields of a message that is well-formed.
pub(super) fn parse(bytes: &[u8]) -> Vec<Field> {
    let mut fields = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        fields.push(parse_field(bytes, &mut at));
    }
    fields
}

fn parse_field(bytes: &[u8], at: &mut usize) -> Field {
    let begin = *at;
    let tag = varint(bytes, at);
    let (number, wire_type) = ((tag >> 3) as u32, tag & 7);
    let mut start = *at;
    match wire_type {
        0 => drop(varint(bytes, at)),
        1 => *at += 8,
        2 => {
            let length = varint(bytes, at) as usize;
            start = *at;
            *at += length;
        }
        3 => while parse_field(bytes, at).wire_type != 4 {},
        4 => {}
        _ => *at += 4,
    }
    Field { number, wire_type, raw: bytes[begin..*at].to_vec(), content: bytes[start..*at].to_vec() }
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

impl Field {
    fn new(number: u32, wire_type: u64, content: &[u8]) -> Self {
        let mut raw = Vec::new();
        put_varint(&mut raw, u64::from(number) << 3 | wire_type);
        if wire_type == 2 {
            put_varint(&mut raw, content.len() as u64);
        }
        raw.extend(content);
        Self { number, wire_type, raw, content: content.to_vec() }
    }

    fn message(number: u32, content: &[u8]) -> Self {
        Self::new(number, 2, content)
    }

    fn is(&self, number: u32) -> bool {
        self.number == number && self.wire_type == 2
    }
}

/// A part of a row: a field of its own, or a row of the level below.
#[derive(Debug, Clone)]
pub(super) enum Item {
    Field(Field),
    Row(Level, usize),
    /// The message in a metric that holds its data points.
    Data {
        field: Field,
        items: Vec<Item>,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Leaves {
    No,
    Discarded,
    Routed(Vec<String>),
}

#[derive(Clone)]
pub(super) struct Row {
    pub parent: usize,
    /// The message that has its attributes, and the one around that.
    home_message: &'static schema::Message,
    shell_message: Option<&'static schema::Message>,
    number: u32,
    /// As it came, and the fields that are its own.
    raw: Vec<u8>,
    /// Of a container: as it came.
    items: Vec<Item>,
    pub leaves: Leaves,
    edited: bool,
    home: Vec<Item>,
    has_home: bool,
    shell: Vec<Field>,
    children: Vec<Item>,
}

#[derive(Clone)]
pub(super) struct Model {
    pub signal: Signal,
    pub rows: [Vec<Row>; 7],
    request: Vec<Item>,
    known_only: bool,
    was_replaced: bool,
    /// What left before another batch took the place of this one.
    left: Left,
}

/// How many records were discarded; where others were sent, how many, and as which request.
pub(super) type Left = (u64, Vec<(Vec<String>, u64, Vec<u8>)>);

/// Why an operation is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum No {
    Bad,
    Unsupported,
}

/// The value of a cell.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    Any(Vec<u8>),
    Text(Vec<u8>),
    Id(Vec<u8>),
    Int(i64),
    Double(f64),
}

impl Model {
    pub(super) fn parse(signal: Signal, bytes: &[u8]) -> Self {
        let mut model = Self {
            signal,
            rows: Default::default(),
            request: Vec::new(),
            known_only: false,
            was_replaced: false,
            left: Default::default(),
        };
        let message = schema::Message::request(signal).unwrap().below(1).unwrap();
        model.request = model
            .items(bytes, &[1], |model, field| Some(model.container(Level::Resource, message, field, 0)));
        model
    }

    fn items(
        &mut self,
        content: &[u8],
        children: &[u32],
        mut child: impl FnMut(&mut Self, &Field) -> Option<Item>,
    ) -> Vec<Item> {
        let fields = parse(content).into_iter();
        fields
            .map(|field| {
                let row = if children.contains(&field.number) { child(self, &field) } else { None };
                row.unwrap_or(Item::Field(field))
            })
            .collect()
    }

    fn container(
        &mut self,
        level: Level,
        message: &'static schema::Message,
        field: &Field,
        parent: usize,
    ) -> Item {
        let below = match level {
            Level::Resource => Level::Scope,
            Level::Scope if self.signal == Signal::Metrics => Level::Metric,
            _ => Level::Record,
        };
        let row = self.push(level, message, field, parent);
        let below_message = message.below(2);
        let children: &[u32] = if level == Level::Metric { &[5, 7, 9, 10, 11] } else { &[2] };
        let items = self.items(&field.content, children, |model, field| {
            Some(match level {
                Level::Metric => model.data(message.below(field.number).unwrap(), field, row),
                _ if below == Level::Record => model.record(below_message.unwrap(), field, row),
                _ => model.container(below, below_message.unwrap(), field, row),
            })
        });
        let it = &mut self.rows[level as usize][row];
        it.items = items.clone();
        for item in items {
            let Item::Field(field) = item else {
                it.children.push(item);
                continue;
            };
            if it.shell_message.is_none() {
                it.home.push(Item::Field(field));
            } else if field.is(1) {
                it.has_home = true;
                it.home.extend(parse(&field.content).into_iter().map(Item::Field));
            } else {
                it.shell.push(field);
            }
        }
        Item::Row(level, row)
    }

    fn push(
        &mut self,
        level: Level,
        message: &'static schema::Message,
        field: &Field,
        parent: usize,
    ) -> usize {
        let has_shell = matches!(level, Level::Resource | Level::Scope);
        self.rows[level as usize].push(Row {
            parent,
            home_message: if has_shell { message.below(1).unwrap() } else { message },
            shell_message: has_shell.then_some(message),
            number: field.number,
            raw: field.raw.clone(),
            items: Vec::new(),
            leaves: Leaves::No,
            edited: false,
            home: Vec::new(),
            has_home: !has_shell,
            shell: Vec::new(),
            children: Vec::new(),
        });
        self.rows[level as usize].len() - 1
    }

    fn data(&mut self, message: &'static schema::Message, field: &Field, metric: usize) -> Item {
        let point = message.below(1).unwrap();
        let items = self.items(&field.content, &[1], |model, field| Some(model.record(point, field, metric)));
        Item::Data { field: field.clone(), items }
    }

    fn record(&mut self, message: &'static schema::Message, field: &Field, parent: usize) -> Item {
        let row = self.push(Level::Record, message, field, parent);
        let below: Vec<_> =
            [("events", Level::Event), ("links", Level::Link), ("exemplars", Level::Exemplar)]
                .into_iter()
                .filter_map(|(name, level)| message.field(name).map(|field| (field.number, level)))
                .collect();
        let numbers: Vec<u32> = below.iter().map(|(number, _)| *number).collect();
        let home = self.items(&field.content, &numbers, |model, field| {
            let (_, level) = below.iter().find(|(number, _)| *number == field.number)?;
            let index = model.push(*level, message.below(field.number)?, field, row);
            let home = parse(&field.content).into_iter().map(Item::Field).collect();
            model.rows[*level as usize][index].home = home;
            Some(Item::Row(*level, index))
        });
        self.rows[Level::Record as usize][row].home = home;
        Item::Row(Level::Record, row)
    }

    // Writing.

    /// The rows that leave in some way, as a batch of their own; `None` of it if there are none.
    pub(super) fn part(&self, leaves: &Leaves) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        let mut rows = 0;
        for item in &self.request {
            match item {
                Item::Row(level, row) => {
                    let put = self.put(*level, *row, leaves).0;
                    rows += usize::from(put.is_some());
                    out.extend(put.unwrap_or_default());
                }
                Item::Field(field) if !self.known_only => out.extend(&field.raw),
                Item::Field(_) => {}
                Item::Data { .. } => unreachable!(),
            }
        }
        (rows > 0 || *leaves == Leaves::No).then_some(out)
    }

    /// A row's field, `None` if it is not in, and whether it is not as it came.
    fn put(&self, level: Level, index: usize, leaves: &Leaves) -> (Option<Vec<u8>>, bool) {
        let row = &self.rows[level as usize][index];
        let mut is_touched = row.edited;
        let mut out = Vec::new();
        if level >= Level::Record {
            if level == Level::Record && row.leaves != *leaves
                || row.leaves == Leaves::Discarded && level > Level::Record
            {
                return (None, true);
            }
            for item in &row.home {
                match item {
                    Item::Field(field) => out.extend(&field.raw),
                    Item::Row(level, below) => {
                        let (put, is_below) = self.put(*level, *below, leaves);
                        is_touched |= is_below;
                        out.extend(put.unwrap_or_default());
                    }
                    Item::Data { .. } => unreachable!(),
                }
            }
            let raw = if is_touched { Field::message(row.number, &out).raw } else { row.raw.clone() };
            return (Some(raw), is_touched);
        }
        let items = match row.edited {
            false => &row.items,
            true => {
                let home: Vec<u8> = row.home.iter().flat_map(|item| own(item).raw.clone()).collect();
                match row.shell_message {
                    None => out = home,
                    Some(_) if row.has_home || !home.is_empty() => out = Field::message(1, &home).raw,
                    Some(_) => {}
                }
                row.shell.iter().for_each(|field| out.extend(&field.raw));
                &row.children
            }
        };
        let (mut rows, mut rows_in) = (0, 0);
        for item in items {
            let (put, is_below) = self.put_child(item, leaves, &mut rows, &mut rows_in);
            is_touched |= is_below;
            out.extend(put.unwrap_or_default());
        }
        let is_in = if rows == 0 { row.leaves == *leaves } else { rows_in > 0 };
        let raw = if is_touched { Field::message(row.number, &out).raw } else { row.raw.clone() };
        (is_in.then_some(raw), is_touched || !is_in)
    }

    fn put_child(
        &self,
        item: &Item,
        leaves: &Leaves,
        rows: &mut usize,
        rows_in: &mut usize,
    ) -> (Option<Vec<u8>>, bool) {
        match item {
            Item::Field(field) => (Some(field.raw.clone()), false),
            Item::Row(level, row) => {
                let (put, is_touched) = self.put(*level, *row, leaves);
                *rows += 1;
                *rows_in += usize::from(put.is_some());
                (put, is_touched)
            }
            Item::Data { field, items } => {
                let mut out = Vec::new();
                let mut is_touched = false;
                let message = self.metric_data(field.number);
                for item in items {
                    if let (Item::Field(field), true) = (item, self.known_only)
                        && !message.fields.iter().any(|known| known.number == field.number)
                    {
                        is_touched = true;
                        continue;
                    }
                    let (put, is_below) = self.put_child(item, leaves, rows, rows_in);
                    is_touched |= is_below;
                    out.extend(put.unwrap_or_default());
                }
                let raw = if is_touched { Field::message(field.number, &out).raw } else { field.raw.clone() };
                (Some(raw), is_touched)
            }
        }
    }

    fn metric_data(&self, number: u32) -> &'static schema::Message {
        schema::Message::record(Signal::Metrics).unwrap().below(number).unwrap()
    }

    /// In which ways rows leave, and how many records in each.
    fn leaving(&self) -> Vec<(Leaves, u64)> {
        let mut all: Vec<(Leaves, u64)> = Vec::new();
        for (level, rows) in self.rows[..=Level::Record as usize].iter().enumerate() {
            for row in rows {
                let records = u64::from(level == Level::Record as usize);
                match all.iter_mut().find(|(leaves, _)| *leaves == row.leaves) {
                    Some((_, count)) => *count += records,
                    None => all.push((row.leaves.clone(), records)),
                }
            }
        }
        all
    }

    /// Whether the own fields of a row above the records were edited.
    pub(super) fn is_container_edited(&self) -> bool {
        self.rows[..Level::Record as usize].iter().flatten().any(|row| row.edited)
    }

    /// Whether anything was done to it.
    pub(super) fn is_changed(&self) -> bool {
        let is_touched = |row: &Row| row.edited || row.leaves != Leaves::No;
        self.was_replaced || self.known_only || self.rows.iter().flatten().any(is_touched)
    }

    pub(super) fn was_replaced(&self) -> bool {
        self.was_replaced
    }

    /// Parts from what leaves: the request of each set of destinations, and how many were discarded.
    pub(super) fn leave_now(&self) -> Left {
        let (mut discarded, mut routed) = self.left.clone();
        for (leaves, records) in self.leaving() {
            match &leaves {
                Leaves::No => {}
                Leaves::Discarded => discarded += records,
                Leaves::Routed(to) => {
                    routed.extend(self.part(&leaves).map(|request| (to.clone(), records, request)));
                }
            }
        }
        (discarded, routed)
    }

    // Rows.

    pub(super) fn count(&self, level: Level) -> usize {
        self.rows[level as usize].len()
    }

    fn above(&self, level: Level) -> Option<Level> {
        match level {
            Level::Resource => None,
            Level::Scope => Some(Level::Resource),
            Level::Metric => Some(Level::Scope),
            Level::Record if self.signal == Signal::Metrics => Some(Level::Metric),
            Level::Record => Some(Level::Scope),
            _ => Some(Level::Record),
        }
    }

    /// The row of an upper level that a row is below.
    pub(super) fn ancestor(&self, level: Level, row: usize, upper: Level) -> Result<usize, No> {
        let (mut at, mut row) = (level, row);
        while at != upper {
            row = self.rows[at as usize][row].parent;
            at = self.above(at).ok_or(No::Bad)?;
        }
        Ok(row)
    }

    pub(super) fn choose(&self, level: Level, rows: &Rows) -> Result<Vec<usize>, No> {
        let count = self.count(level);
        match rows {
            Rows::All => Ok((0..count).collect()),
            Rows::Only(indexes) => {
                let is_good = indexes.iter().all(|index| (*index as usize) < count);
                let chosen = (0..count).filter(|row| indexes.contains(&(*row as u32))).collect();
                if is_good { Ok(chosen) } else { Err(No::Bad) }
            }
            Rows::Under(upper, indexes) => {
                let mut at = Some(level);
                while at.is_some_and(|at| at != *upper) {
                    at = at.and_then(|at| self.above(at));
                }
                // Below a level that the signal does not have, there is nothing.
                if !self.has_level(*upper) && *upper < level && *upper < Level::Record {
                    return if indexes.is_empty() { Ok(Vec::new()) } else { Err(No::Bad) };
                }
                if at.is_none() || indexes.iter().any(|index| *index as usize >= self.count(*upper)) {
                    return Err(No::Bad);
                }
                let mut chosen = Vec::new();
                for row in 0..count {
                    if indexes.contains(&(self.ancestor(level, row, *upper)? as u32)) {
                        chosen.push(row);
                    }
                }
                Ok(chosen)
            }
        }
    }

    // Cells.

    pub(super) fn has_level(&self, level: Level) -> bool {
        match level {
            Level::Resource | Level::Scope | Level::Record => true,
            Level::Metric | Level::Exemplar => self.signal == Signal::Metrics,
            Level::Event | Level::Link => self.signal == Signal::Traces,
        }
    }

    /// Every message that rows of a level may be.
    fn messages(&self, level: Level) -> Vec<(&'static schema::Message, Option<&'static schema::Message>)> {
        let resource = schema::Message::request(self.signal).unwrap().below(1).unwrap();
        let scope = resource.below(2).unwrap();
        let below = scope.below(2).unwrap();
        let points = || [5, 7, 9, 10, 11].map(|data| below.below(data).unwrap().below(1).unwrap());
        match level {
            Level::Resource => vec![(resource.below(1).unwrap(), Some(resource))],
            Level::Scope => vec![(scope.below(1).unwrap(), Some(scope))],
            Level::Metric => vec![(below, None)],
            Level::Record if self.signal == Signal::Metrics => points().map(|point| (point, None)).to_vec(),
            Level::Record => vec![(below, None)],
            Level::Event => vec![(below.below(11).unwrap(), None)],
            Level::Link => vec![(below.below(13).unwrap(), None)],
            Level::Exemplar => vec![(points()[0].below(5).unwrap(), None)],
        }
    }

    /// The kind of the first field that the target is of any row; none for attributes.
    fn kind(&self, level: Level, target: &Target) -> Result<Option<Kind>, No> {
        let Target::Field(field) = target else { return Ok(None) };
        if !self.has_level(level) {
            return Ok(Some(Kind::Message(schema::Message::any_value())));
        }
        let places =
            self.messages(level).into_iter().filter_map(|(home, shell)| place(level, home, shell, *field));
        places.map(|place| Some(place.kind)).next().ok_or(No::Unsupported)
    }

    pub(super) fn check_target(&self, level: Level, target: &Target) -> Result<(), No> {
        self.kind(level, target).map(drop)
    }

    /// Whether a row was discarded, or a row above it.
    pub(super) fn is_gone(&self, level: Level, row: usize) -> bool {
        let it = &self.rows[level as usize][row];
        let above = self.above(level).filter(|above| self.has_level(*above));
        it.leaves == Leaves::Discarded || above.is_some_and(|above| self.is_gone(above, it.parent))
    }

    pub(super) fn read(&self, level: Level, row: usize, target: &Target) -> Option<Cell> {
        if self.is_gone(level, row) {
            return None;
        }
        let row = &self.rows[level as usize][row];
        let field = match target {
            Target::Attribute(key) => {
                let attribute = row.attributes().find(|field| key_of(field) == key.as_bytes())?;
                return Some(Cell::Any(value_of(attribute)));
            }
            Target::Field(field) => *field,
        };
        let place = place(level, row.home_message, row.shell_message, field)?;
        let fields: Vec<Field> = match place.within {
            Within::Shell => row.shell.clone(),
            Within::Home => row.home.iter().filter_map(own_if).cloned().collect(),
            Within::Below(number) => {
                let subs = row.home.iter().filter_map(own_if).filter(|field| field.is(number));
                subs.flat_map(|field| parse(&field.content)).collect()
            }
        };
        let found: Vec<&Field> =
            fields.iter().filter(|field| place.numbers.contains(&field.number)).collect();
        let last = *found.last()?;
        let fixed = |length| {
            let mut bytes = [0; 8];
            bytes[..length].copy_from_slice(&last.content);
            u64::from_le_bytes(bytes)
        };
        Some(match place.kind {
            Kind::Message(_) => Cell::Any(found.iter().flat_map(|field| field.content.clone()).collect()),
            Kind::String => Cell::Text(last.content.clone()),
            Kind::Id(_) if last.content.is_empty() => return None,
            Kind::Id(_) => Cell::Id(last.content.clone()),
            Kind::Fixed32 => Cell::Int(fixed(4) as i64),
            Kind::Fixed64 => Cell::Int(fixed(8).min(i64::MAX as u64) as i64),
            Kind::Double if last.number == place.numbers[0] => Cell::Double(f64::from_bits(fixed(8))),
            Kind::Double => Cell::Int(fixed(8) as i64),
            _ => Cell::Int(varint(&last.content, &mut 0) as i64),
        })
    }

    /// Whether rows of the level may hold a value there.
    pub(super) fn check_value(&self, level: Level, target: &Target, value: &Value) -> Result<(), No> {
        if let Value::Encoded(content) = value
            && crate::wire::Fields::of(content).any(|field| field.is_err())
        {
            return Err(No::Bad);
        }
        match self.kind(level, target)? {
            None => Ok(()),
            Some(_) if !self.has_level(level) => Ok(()),
            Some(kind) => encode(kind, value).map(drop).ok_or(No::Bad),
        }
    }

    /// Writes a value that was checked; rows that do not have the target stay.
    pub(super) fn write(&mut self, level: Level, row: usize, target: &Target, value: &Value) {
        if self.is_gone(level, row) {
            return;
        }
        let it = &mut self.rows[level as usize][row];
        match target {
            Target::Attribute(key) => it.set_attribute(key.as_bytes(), &any_of(value)),
            Target::Field(field) => {
                let Some(place) = place(level, it.home_message, it.shell_message, *field) else { return };
                let Some((wire_type, content, is_double)) = encode(place.kind, value) else { return };
                let number = if is_double { place.numbers[0] } else { *place.numbers.last().unwrap() };
                it.set_field(&place, Some(Field::new(number, wire_type, &content)));
            }
        }
    }

    pub(super) fn remove(&mut self, level: Level, row: usize, target: &Target) {
        if self.is_gone(level, row) {
            return;
        }
        let it = &mut self.rows[level as usize][row];
        match target {
            Target::Attribute(key) => it.retain(|field| key_of(field) != key.as_bytes()),
            Target::Field(field) => {
                if let Some(place) = place(level, it.home_message, it.shell_message, *field) {
                    it.set_field(&place, None);
                }
            }
        }
    }

    /// Writes a text as its target holds it: a number, an id; false where it cannot.
    pub(super) fn write_text(&mut self, level: Level, row: usize, target: &Target, text: &[u8]) -> bool {
        let it = &self.rows[level as usize][row];
        let valid = std::str::from_utf8(text);
        let value = match (target, valid) {
            (Target::Attribute(_), Ok(text)) => Value::Text(text.to_owned()),
            (Target::Attribute(_), Err(_)) => Value::Bytes(text.to_vec()),
            (Target::Field(_), Err(_)) => return false,
            (Target::Field(field), Ok(text)) => {
                let Some(place) = place(level, it.home_message, it.shell_message, *field) else {
                    return false;
                };
                let int = text.trim().parse().map(Value::Int);
                let value = match place.kind {
                    Kind::String | Kind::Id(_) | Kind::Message(_) => Ok(Value::Text(text.to_owned())),
                    Kind::Double => int.or_else(|_| text.trim().parse().map(Value::Double).map_err(drop)),
                    _ => int.map_err(drop),
                };
                match value {
                    Ok(value) if encode(place.kind, &value).is_some() => value,
                    _ => return false,
                }
            }
        };
        self.write(level, row, target, &value);
        true
    }

    /// Writes a field that is a text, whatever bytes it is.
    pub(super) fn write_field(&mut self, level: Level, row: usize, target: &Target, text: &[u8]) {
        let it = &mut self.rows[level as usize][row];
        let Target::Field(field) = target else { return };
        let place = place(level, it.home_message, it.shell_message, *field).unwrap();
        it.set_field(&place, Some(Field::message(place.numbers[0], text)));
    }

    /// Writes a cell of another target; nothing where it cannot be held.
    pub(super) fn write_cell(&mut self, level: Level, row: usize, target: &Target, cell: &Cell) {
        if self.is_gone(level, row) {
            return;
        }
        if let (Target::Attribute(key), Cell::Any(any)) = (target, cell) {
            return self.rows[level as usize][row].set_attribute(key.as_bytes(), any);
        }
        match value_of_cell(cell) {
            Value::Text(text) => drop(self.write_text(level, row, target, text.as_bytes())),
            value => {
                if self.check_value(level, target, &value).is_ok() {
                    self.write(level, row, target, &value);
                }
            }
        }
    }

    pub(super) fn row(&mut self, level: Level, row: usize) -> &mut Row {
        &mut self.rows[level as usize][row]
    }

    /// Marks rows with everything below them down to the records.
    pub(super) fn leave(&mut self, level: Level, chosen: &[usize], leaves: &Leaves) {
        let mut marked: Vec<(Level, usize)> = chosen.iter().map(|row| (level, *row)).collect();
        for below in [Level::Scope, Level::Metric, Level::Record] {
            if below > level && self.has_level(below) && self.has_level(level) {
                let rows = (0..self.count(below))
                    .filter(|row| chosen.contains(&self.ancestor(below, *row, level).unwrap()));
                marked.extend(rows.map(|row| (below, row)));
            }
        }
        // What was discarded stays so.
        marked.retain(|(level, row)| !self.is_gone(*level, *row));
        for (level, row) in marked {
            self.rows[level as usize][row].leaves = leaves.clone();
        }
    }

    /// Every row that was not discarded.
    fn living(&mut self) -> impl Iterator<Item = &mut Row> {
        let gone = Level::ALL
            .map(|level| (0..self.count(level)).map(|row| self.is_gone(level, row)).collect::<Vec<_>>());
        let rows = self.rows.iter_mut().flatten().zip(gone.into_iter().flatten());
        rows.filter(|(_, is_gone)| !is_gone).map(|(row, _)| row)
    }

    pub(super) fn replace(&mut self, bytes: &[u8]) {
        let left = self.leave_now();
        *self = Self { left, was_replaced: true, ..Self::parse(self.signal, bytes) };
    }

    pub(super) fn remove_unknown(&mut self) -> u64 {
        let mut count = 0;
        for row in self.living() {
            let before = count;
            row.home.retain_mut(|item| match item {
                Item::Field(field) => known(row.home_message, field, &mut count),
                _ => true,
            });
            if let Some(shell) = row.shell_message {
                row.shell.retain_mut(|field| known(shell, field, &mut count));
            }
            row.edited |= count > before;
        }
        if self.known_only {
            return count;
        }
        let outside_before = count;
        count += self.request.iter().filter(|item| matches!(item, Item::Field(_))).count() as u64;
        let metrics = self.rows[Level::Metric as usize].iter();
        let metrics = metrics.filter(|row| row.leaves != Leaves::Discarded).flat_map(|row| &row.children);
        for item in metrics {
            let Item::Data { field, items } = item else { continue };
            let message = self.metric_data(field.number);
            for item in items {
                if let Item::Field(field) = item {
                    count += u64::from(!message.fields.iter().any(|known| known.number == field.number));
                }
            }
        }
        self.known_only |= count > outside_before;
        count
    }

    /// Masks a word in texts and bytes; `places` as the contract has it. Gives how often it was there.
    pub(super) fn redact(&mut self, word: &[u8], mask: &[u8], places: Places) -> u64 {
        let mut redaction = Mask { word, mask, places, count: 0 };
        for row in self.living() {
            let before = redaction.count;
            for item in &mut row.home {
                if let Item::Field(field) = item {
                    redaction.field(row.home_message, field, false);
                }
            }
            if let Some(shell) = row.shell_message {
                row.shell.iter_mut().for_each(|field| redaction.field(shell, field, false));
            }
            row.edited |= redaction.count > before;
        }
        redaction.count
    }

    /// Gives every value below a key that passes a test another one, wherever it is.
    pub(super) fn redact_keys(&mut self, is_meant: impl Fn(&[u8]) -> bool, any: &[u8]) -> u64 {
        let mut count = 0;
        for row in self.living() {
            let before = count;
            for item in &mut row.home {
                if let Item::Field(field) = item {
                    redact_below_keys(row.home_message, field, &is_meant, any, &mut count);
                }
            }
            if let Some(shell) = row.shell_message {
                for field in &mut row.shell {
                    redact_below_keys(shell, field, &is_meant, any, &mut count);
                }
            }
            row.edited |= count > before;
        }
        count
    }
}

fn redact_below_keys(
    message: &'static schema::Message,
    field: &mut Field,
    is_meant: &impl Fn(&[u8]) -> bool,
    any: &[u8],
    count: &mut u64,
) {
    let known = message.fields.iter().find(|known| known.number == field.number);
    let Some(Kind::Message(below)) = known.filter(|_| field.wire_type == 2).map(|known| known.kind) else {
        return;
    };
    let before = *count;
    let mut fields = parse(&field.content);
    if below.is_key_value() && fields.iter().any(|field| field.is(2)) && is_meant(&key_of(field)) {
        *count += 1;
        fields.retain(|field| field.number != 2);
        fields.push(Field::message(2, any));
    } else {
        fields.iter_mut().for_each(|field| redact_below_keys(below, field, is_meant, any, count));
    }
    if *count > before {
        let content: Vec<u8> = fields.into_iter().flat_map(|field| field.raw).collect();
        *field = Field::message(field.number, &content);
    }
}

fn known(message: &'static schema::Message, field: &mut Field, count: &mut u64) -> bool {
    match message.fields.iter().find(|known| known.number == field.number).map(|known| known.kind) {
        None => {
            *count += 1;
            false
        }
        Some(Kind::Message(below)) if field.wire_type == 2 => {
            let before = *count;
            let mut fields = parse(&field.content);
            fields.retain_mut(|field| known(below, field, count));
            if *count > before {
                let content: Vec<u8> = fields.into_iter().flat_map(|field| field.raw).collect();
                *field = Field::message(field.number, &content);
            }
            true
        }
        Some(_) => true,
    }
}

/// Masks a word wherever it is.
struct Mask<'m> {
    word: &'m [u8],
    mask: &'m [u8],
    places: Places,
    count: u64,
}

impl Mask<'_> {
    fn text(&mut self, text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix(self.word) {
                out.extend(self.mask);
                self.count += 1;
                rest = after;
            } else {
                out.push(rest[0]);
                rest = &rest[1..];
            }
        }
        out
    }

    fn field(&mut self, message: &'static schema::Message, field: &mut Field, in_body: bool) {
        let Some(known) = message.fields.iter().find(|known| known.number == field.number) else { return };
        let in_body = in_body || known.name == "body";
        let before = self.count;
        let content = match known.kind {
            Kind::Message(below) if field.wire_type == 2 => {
                let mut fields = parse(&field.content);
                fields.iter_mut().for_each(|field| self.field(below, field, in_body));
                fields.into_iter().flat_map(|field| field.raw).collect()
            }
            Kind::String | Kind::Bytes if field.wire_type == 2 => {
                let is_selected = match known.name {
                    "stringValue" | "bytesValue" if in_body => self.places.bodies,
                    "stringValue" | "bytesValue" => self.places.attribute_values,
                    "key" | "idKeys" | "descriptionKeys" => self.places.attribute_keys,
                    "name" | "eventName" => self.places.names,
                    "version" => self.places.versions,
                    _ => self.places.texts,
                };
                if !is_selected {
                    return;
                }
                self.text(&field.content)
            }
            _ => return,
        };
        if self.count > before {
            *field = Field::message(field.number, &content);
        }
    }
}

/// All texts in a value with a word masked.
pub(super) fn masked(any: &[u8], word: &[u8], mask: &[u8], count: &mut u64) -> Vec<u8> {
    let places = Places { attribute_values: true, ..Places::default() };
    let mut redaction = Mask { word, mask, places, count: 0 };
    let mut fields = parse(any);
    fields.iter_mut().for_each(|field| redaction.field(schema::Message::any_value(), field, false));
    *count += redaction.count;
    fields.into_iter().flat_map(|field| field.raw).collect()
}

fn own(item: &Item) -> &Field {
    own_if(item).unwrap()
}

fn own_if(item: &Item) -> Option<&Field> {
    if let Item::Field(field) = item { Some(field) } else { None }
}

impl Row {
    fn attributes_number(&self) -> u32 {
        let names = ["attributes", "metadata", "filteredAttributes"];
        names.into_iter().find_map(|name| self.home_message.field(name)).unwrap().number
    }

    pub(super) fn attributes(&self) -> impl Iterator<Item = &Field> {
        let number = self.attributes_number();
        self.home.iter().filter_map(own_if).filter(move |field| field.is(number))
    }

    pub(super) fn set_attribute(&mut self, key: &[u8], any: &[u8]) {
        let number = self.attributes_number();
        let content = [Field::message(1, key).raw, Field::message(2, any).raw].concat();
        let attribute = Item::Field(Field::message(number, &content));
        let is_it = |item: &Item| own_if(item).is_some_and(|field| field.is(number) && key_of(field) == key);
        self.edited = true;
        match self.home.iter().position(is_it) {
            None => self.home.push(attribute),
            Some(place) => {
                self.home[place] = attribute;
                let mut index = 0;
                self.home.retain(|item| {
                    index += 1;
                    index <= place + 1 || !is_it(item)
                });
            }
        }
    }

    /// Keeps attributes.
    pub(super) fn retain(&mut self, keep: impl Fn(&Field) -> bool) {
        let number = self.attributes_number();
        let before = self.home.len();
        self.home.retain(|item| own_if(item).is_none_or(|field| !field.is(number) || keep(field)));
        self.edited |= self.home.len() != before;
    }

    /// Gives attributes whose key passes a test other values.
    pub(super) fn revalue(&mut self, test: impl Fn(&[u8]) -> bool, mut value: impl FnMut(&[u8]) -> Vec<u8>) {
        let number = self.attributes_number();
        for item in &mut self.home {
            if let Item::Field(field) = item
                && field.is(number)
                && test(&key_of(field))
            {
                let (key, any) = (key_of(field), value(&value_of(field)));
                let content = [Field::message(1, &key).raw, Field::message(2, &any).raw].concat();
                *field = Field::message(number, &content);
                self.edited = true;
            }
        }
    }

    /// Renames or copies the attributes for which there is another key.
    pub(super) fn rekey(&mut self, copies: bool, to: impl Fn(&[u8]) -> Option<Vec<u8>>) {
        let mut seen = Vec::new();
        let mut renamed = Vec::new();
        for field in self.attributes() {
            let key = key_of(field);
            if let Some(to) = to(&key).filter(|to| *to != key && !seen.contains(&key)) {
                renamed.push((to, value_of(field)));
                seen.push(key);
            }
        }
        if !copies {
            self.retain(|field| !seen.contains(&key_of(field)));
        }
        for (key, any) in renamed {
            self.set_attribute(String::from_utf8_lossy(&key).as_bytes(), &any);
        }
    }

    fn set_field(&mut self, place: &Place, field: Option<Field>) {
        let is_it = |number: u32| place.numbers.contains(&number);
        match place.within {
            Within::Shell => {
                let at = self.shell.iter().position(|field| is_it(field.number));
                self.edited |= at.is_some() || field.is_some();
                self.shell.retain(|field| !is_it(field.number));
                self.shell.splice(at.unwrap_or(self.shell.len())..at.unwrap_or(self.shell.len()), field);
            }
            Within::Home => {
                let of = |item: &Item| own_if(item).is_some_and(|field| is_it(field.number));
                let at = self.home.iter().position(of);
                self.edited |= at.is_some() || field.is_some();
                self.home.retain(|item| !of(item));
                let at = at.unwrap_or(self.home.len());
                self.home.splice(at..at, field.map(Item::Field));
            }
            Within::Below(number) => {
                let of = |item: &Item| own_if(item).is_some_and(|field| field.is(number));
                let subs = self.home.iter().filter(|item| of(item));
                let mut fields: Vec<Field> = subs.flat_map(|item| parse(&own(item).content)).collect();
                let at = fields.iter().position(|field| is_it(field.number));
                if at.is_none() && field.is_none() {
                    return;
                }
                self.edited = true;
                fields.retain(|field| !is_it(field.number));
                let at = at.unwrap_or(fields.len());
                fields.splice(at..at, field);
                let content: Vec<u8> = fields.into_iter().flat_map(|field| field.raw).collect();
                let place = self.home.iter().position(of).unwrap_or(self.home.len());
                self.home.retain(|item| !of(item));
                self.home.insert(place, Item::Field(Field::message(number, &content)));
            }
        }
    }
}

pub(super) fn key_of(attribute: &Field) -> Vec<u8> {
    let mut keys = parse(&attribute.content).into_iter().filter(|field| field.is(1));
    keys.next_back().map(|field| field.content).unwrap_or_default()
}

/// The content of an attribute's `AnyValue`.
pub(super) fn value_of(attribute: &Field) -> Vec<u8> {
    parse(&attribute.content)
        .into_iter()
        .filter(|field| field.is(2))
        .flat_map(|field| field.content)
        .collect()
}

fn text_or_bytes(text: &[u8]) -> Value {
    String::from_utf8(text.to_vec()).map_or(Value::Bytes(text.to_vec()), Value::Text)
}

pub(super) fn value_of_cell(cell: &Cell) -> Value {
    match cell {
        Cell::Text(text) => text_or_bytes(text),
        Cell::Id(id) => Value::Bytes(id.clone()),
        Cell::Int(int) => Value::Int(*int),
        Cell::Double(double) => Value::Double(*double),
        Cell::Any(any) => {
            let fields = parse(any);
            let Some(last) = fields.iter().rfind(|field| field.number <= 8) else {
                return if fields.is_empty() { Value::Empty } else { Value::Encoded(any.clone()) };
            };
            match last.number {
                1 => text_or_bytes(&last.content),
                2 => Value::Boolean(varint(&last.content, &mut 0) != 0),
                3 => Value::Int(varint(&last.content, &mut 0) as i64),
                4 => Value::Double(f64::from_le_bytes(last.content[..].try_into().unwrap())),
                7 => Value::Bytes(last.content.clone()),
                _ => Value::Encoded(any.clone()),
            }
        }
    }
}

/// The bytes of a cell that is a text or bytes.
pub(super) fn bytes_of_cell(cell: &Cell) -> Option<Vec<u8>> {
    match (cell, value_of_cell(cell)) {
        (_, Value::Text(text)) => Some(text.into_bytes()),
        (_, Value::Bytes(bytes)) => Some(bytes),
        _ => None,
    }
}

/// What of a cell is hashed.
pub(super) fn hashed(cell: &Cell, key: Option<&HashKey>) -> Vec<u8> {
    let text = match value_of_cell(cell) {
        Value::Encoded(any) => json(&any),
        value => match bytes_of_cell(cell) {
            Some(bytes) => bytes,
            None => match value {
                Value::Empty => b"null".to_vec(),
                Value::Boolean(is_true) => format!("{is_true}").into_bytes(),
                Value::Int(int) => format!("{int}").into_bytes(),
                Value::Double(double) => format!("{double}").into_bytes(),
                _ => unreachable!(),
            },
        },
    };
    let mut out = Vec::new();
    put_hash(key, &text, &mut out);
    out
}

/// As JSON, by way of the model alone.
fn json(any: &[u8]) -> Vec<u8> {
    use base64::{Engine, prelude::BASE64_STANDARD};
    let quoted = |text: &[u8]| serde_json::to_vec(&String::from_utf8_lossy(text)).unwrap();
    let fields = parse(any);
    let last = fields.iter().rfind(|field| field.number <= 8).map(|field| field.number);
    match last {
        Some(number @ (5 | 6)) => {
            let elements =
                fields.iter().filter(|field| field.is(number)).flat_map(|field| parse(&field.content));
            let parts: Vec<Vec<u8>> = elements
                .filter(|element| element.is(1))
                .map(|element| match number {
                    5 => json(&element.content),
                    _ => [quoted(&key_of(&element)), b":".to_vec(), json(&value_of(&element))].concat(),
                })
                .collect();
            let (open, close) = if number == 5 { ("[", "]") } else { ("{", "}") };
            [open.as_bytes(), &parts.join(&b","[..]), close.as_bytes()].concat()
        }
        _ => match value_of_cell(&Cell::Any(any.to_vec())) {
            Value::Text(text) => quoted(text.as_bytes()),
            Value::Bytes(bytes) if last == Some(1) => quoted(&bytes),
            Value::Bytes(bytes) => quoted(BASE64_STANDARD.encode(bytes).as_bytes()),
            Value::Empty => b"null".to_vec(),
            Value::Boolean(is_true) => format!("{is_true}").into_bytes(),
            Value::Int(int) => format!("{int}").into_bytes(),
            Value::Double(double) => format!("{double}").into_bytes(),
            Value::Encoded(any) => quoted(BASE64_STANDARD.encode(any).as_bytes()),
        },
    }
}

/// The content of an `AnyValue`.
pub(super) fn any_of(value: &Value) -> Vec<u8> {
    match value {
        Value::Empty => Vec::new(),
        Value::Text(text) => Field::message(1, text.as_bytes()).raw,
        Value::Boolean(is_true) => vec![0x10, u8::from(*is_true)],
        Value::Int(int) => {
            let mut out = vec![0x18];
            put_varint(&mut out, *int as u64);
            out
        }
        Value::Double(double) => [&[0x21][..], &double.to_le_bytes()].concat(),
        Value::Bytes(bytes) => Field::message(7, bytes).raw,
        Value::Encoded(any) => any.clone(),
    }
}

/// Where a field is.
struct Place {
    within: Within,
    /// A number's: for doubles, then for integers.
    numbers: Vec<u32>,
    kind: Kind,
}

enum Within {
    Shell,
    Home,
    Below(u32),
}

/// Where a field is, by the names of the schema.
fn place(
    level: Level,
    home: &'static schema::Message,
    shell: Option<&'static schema::Message>,
    field: super::super::Field,
) -> Option<Place> {
    use super::super::Field as F;
    let name = match field {
        F::SchemaUrl => {
            let field = shell?.field("schemaUrl")?;
            return Some(Place { within: Within::Shell, numbers: vec![field.number], kind: field.kind });
        }
        F::StatusCode | F::StatusMessage => {
            let status = home.field("status").filter(|_| level == Level::Record)?;
            let name = if field == F::StatusCode { "code" } else { "message" };
            let field = home.below(status.number)?.field(name)?;
            let within = Within::Below(status.number);
            return Some(Place { within, numbers: vec![field.number], kind: field.kind });
        }
        F::Number => {
            let numbers = vec![home.field("asDouble")?.number, home.field("asInt")?.number];
            return Some(Place { within: Within::Home, numbers, kind: Kind::Double });
        }
        F::Body => "body",
        F::Name => "name",
        F::Version => "version",
        F::SeverityNumber => "severityNumber",
        F::SeverityText => "severityText",
        F::EventName => "eventName",
        F::TimeUnixNano => "timeUnixNano",
        F::ObservedTimeUnixNano => "observedTimeUnixNano",
        F::StartTimeUnixNano => "startTimeUnixNano",
        F::EndTimeUnixNano => "endTimeUnixNano",
        F::TraceId => "traceId",
        F::SpanId => "spanId",
        F::ParentSpanId => "parentSpanId",
        F::TraceState => "traceState",
        F::Kind => "kind",
        F::Flags => "flags",
        F::Unit => "unit",
        F::Description => "description",
    };
    let field = home.field(name)?;
    Some(Place { within: Within::Home, numbers: vec![field.number], kind: field.kind })
}

/// A value as a field of this kind holds it; whether it is a double.
fn encode(kind: Kind, value: &Value) -> Option<(u64, Vec<u8>, bool)> {
    let id = |length: usize, id: &[u8]| {
        (id.len() == length && id.iter().any(|byte| *byte != 0)).then(|| (2, id.to_vec(), false))
    };
    match (kind, value) {
        (Kind::Message(_), value) => Some((2, any_of(value), false)),
        (Kind::String, Value::Text(text)) => Some((2, text.clone().into_bytes(), false)),
        (Kind::Id(length), Value::Bytes(bytes)) => id(length, bytes),
        (Kind::Id(length), Value::Text(hex)) => {
            if !hex.len().is_multiple_of(2) || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return None;
            }
            let pairs = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap());
            id(length, &pairs.collect::<Vec<_>>())
        }
        (Kind::Enum(_) | Kind::Uint32, Value::Int(int)) => {
            let max = if matches!(kind, Kind::Uint32) { i64::from(u32::MAX) } else { i64::from(i32::MAX) };
            let mut out = Vec::new();
            put_varint(&mut out, *int as u64);
            (0..=max).contains(int).then_some((0, out, false))
        }
        (Kind::Fixed64, Value::Int(int)) => (*int >= 0).then(|| (1, int.to_le_bytes().to_vec(), false)),
        (Kind::Fixed32, Value::Int(int)) => {
            u32::try_from(*int).ok().map(|int| (5, int.to_le_bytes().to_vec(), false))
        }
        (Kind::Double, Value::Int(int)) => Some((1, int.to_le_bytes().to_vec(), false)),
        (Kind::Double, Value::Double(double)) => Some((1, double.to_le_bytes().to_vec(), true)),
        _ => None,
    }
}

/// Of a batch, what must be the same: containers with their own fields apart from their rows, since an
/// edited one has them in another order; all else to the byte.
pub(super) fn normal(signal: Signal, bytes: &[u8]) -> Vec<String> {
    let model = Model::parse(signal, bytes);
    let mut lines = Vec::new();
    for item in &model.request {
        match item {
            Item::Field(field) => lines.push(format!("request {}", field.raw.escape_ascii())),
            Item::Row(level, row) => model.normal_row(*level, *row, &mut lines),
            Item::Data { .. } => unreachable!(),
        }
    }
    lines
}

impl Model {
    fn normal_row(&self, level: Level, index: usize, lines: &mut Vec<String>) {
        let row = &self.rows[level as usize][index];
        if level >= Level::Record {
            return lines.push(format!("{level:?} {}", row.raw.escape_ascii()));
        }
        let home: Vec<u8> = row.home.iter().flat_map(|item| own(item).raw.clone()).collect();
        let shell: Vec<u8> = row.shell.iter().flat_map(|field| field.raw.clone()).collect();
        // Whether it is there with nothing in it hangs on what was written at once.
        lines.push(format!("{level:?} home {}", home.escape_ascii()));
        lines.push(format!("{level:?} shell {}", shell.escape_ascii()));
        for item in &row.children {
            self.normal_item(item, lines);
        }
        lines.push(format!("{level:?} end"));
    }

    fn normal_item(&self, item: &Item, lines: &mut Vec<String>) {
        match item {
            Item::Field(field) => lines.push(format!("field {}", field.raw.escape_ascii())),
            Item::Row(level, row) => self.normal_row(*level, *row, lines),
            Item::Data { field, items } => {
                lines.push(format!("data {}", field.number));
                items.iter().for_each(|item| self.normal_item(item, lines));
            }
        }
    }
}
