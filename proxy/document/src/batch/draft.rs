//! A row, opened: its fields in a list that can be read and changed, then written as one piece.

use super::{
    place::{Cell, Holds, Place, Shape, Within},
    store::{Span, Store},
    value::{Raw, Ready},
};
use crate::wire::{self, Fields, Malformed, WIRE_LEN, put_varint, varint_bytes};

/// A field of a row's message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub number: u32,
    pub wire_type: u64,
    /// The whole field, tag included; empty where it is new and its tag is still to be written.
    field: Span,
    /// Its value, or the content of its message.
    pub content: Span,
    /// Of an attribute: its key.
    pub key: Span,
}

impl Part {
    fn new(number: u32, ready: Ready, key: Span) -> Self {
        Self { number, wire_type: ready.wire_type, field: Span::default(), content: ready.content, key }
    }

    /// How many bytes it takes.
    fn bytes(&self) -> usize {
        if !self.field.is_empty() {
            return self.field.len();
        }
        let tag = varint_bytes(u64::from(self.number) << 3);
        let length = if self.wire_type == WIRE_LEN { varint_bytes(self.content.len() as u64) } else { 0 };
        tag + length + self.content.len()
    }
}

/// The field of a shell that a home is.
#[derive(Debug, Clone, Copy)]
struct Hall {
    number: u32,
    /// Before which of the shell's parts it stands.
    before: usize,
    /// Whether it was there, be it empty.
    was_there: bool,
}

/// A row's fields. One is used for many rows, so that its lists are allocated once.
#[derive(Debug, Default)]
pub(super) struct Draft {
    /// Those of the message that has the attributes.
    home: Vec<Part>,
    /// Those of the message around it, where there is one.
    shell: Vec<Part>,
    /// Where the home is in the shell.
    hall: Option<Hall>,
    attributes: u32,
    is_changed: bool,
}

/// Reads a cell of a row that is not opened for anything else.
pub(super) fn peek(
    store: &mut Store,
    draft: &mut Draft,
    row: Span,
    shape: &Shape,
    cell: Cell<'_>,
) -> Result<Option<Raw>, Malformed> {
    if shape.home.is_some() {
        draft.load(store, row, shape)?;
        return draft.read(store, cell);
    }
    // Only the fields that are wanted: of an attribute, the first.
    draft.home.clear();
    draft.attributes = shape.attributes;
    let bytes = store.bytes(row);
    let wanted = match cell {
        Cell::Attribute(_) => [shape.attributes; 2],
        Cell::Field(place) => match (place.within, place.holds) {
            (Within::Sub(number), _) => [number; 2],
            (_, Holds::Number { double, int }) => [double, int],
            _ => [place.number; 2],
        },
    };
    for field in Fields::of(bytes) {
        let field = field.map_err(|error| error.after(row.start as usize))?;
        if !wanted.contains(&field.number) {
            continue;
        }
        match cell {
            Cell::Field(_) => draft.home.push(part(bytes, row.start, field, None)?),
            Cell::Attribute(key) if field.wire_type == WIRE_LEN => {
                let content = &bytes[field.content.clone()];
                let found = self::key(content)
                    .map_err(|error| error.after(row.start as usize + field.content.start))?;
                if content[found] == *key.as_bytes() {
                    draft.home.push(part(bytes, row.start, field, Some(shape.attributes))?);
                    break;
                }
            }
            Cell::Attribute(_) => {}
        }
    }
    if draft.home.is_empty() { Ok(None) } else { draft.read(store, cell) }
}

impl Draft {
    /// Opens a row. Fields that are rows of a level below are not in it.
    pub(super) fn load(&mut self, store: &Store, row: Span, shape: &Shape) -> Result<(), Malformed> {
        self.home.clear();
        self.shell.clear();
        self.is_changed = false;
        self.attributes = shape.attributes;
        self.hall = None;
        match shape.home {
            None => load(store, row, Some(shape.attributes), shape.children, &mut self.home),
            Some(home) => {
                load(store, row, None, shape.children, &mut self.shell)?;
                let is_home = |part: &Part| part.number == home && part.wire_type == WIRE_LEN;
                let first = self.shell.iter().position(is_home);
                let before = first.unwrap_or(0);
                self.hall = Some(Hall { number: home, before, was_there: first.is_some() });
                // Several are one, their fields one after the other.
                for part in self.shell.extract_if(.., |part| is_home(part)) {
                    load(store, part.content, Some(shape.attributes), &[], &mut self.home)?;
                }
                Ok(())
            }
        }
    }

    /// Whether anything was changed since it was opened.
    pub(super) fn is_changed(&self) -> bool {
        self.is_changed
    }

    // Reading.

    /// Where the first attribute of a key is.
    #[inline]
    fn find(&self, store: &Store, key: &[u8]) -> Option<usize> {
        self.home.iter().position(|part| self.is_attribute(part) && is_key(store, part, key))
    }

    #[inline]
    fn is_attribute(&self, part: &Part) -> bool {
        part.number == self.attributes && part.wire_type == WIRE_LEN
    }

    /// The attributes in order.
    pub(super) fn attributes(&self) -> impl Iterator<Item = &Part> {
        self.home.iter().filter(|part| self.is_attribute(part))
    }

    /// A cell's value, if it is there.
    pub(super) fn read(&self, store: &mut Store, cell: Cell<'_>) -> Result<Option<Raw>, Malformed> {
        match cell {
            Cell::Attribute(key) => match self.find(store, key.as_bytes()) {
                Some(place) => attribute_value(store, &self.home[place]).map(|any| Some(Raw::Any(any))),
                None => Ok(None),
            },
            Cell::Field(place) => match place.within {
                Within::Home => read(store, &self.home, place),
                Within::Shell => read(store, &self.shell, place),
                Within::Sub(number) => {
                    let parts = self.sub(store, number)?;
                    read(store, &parts, place)
                }
            },
        }
    }

    fn sub(&self, store: &Store, number: u32) -> Result<Vec<Part>, Malformed> {
        let mut parts = Vec::new();
        for part in self.home.iter().filter(|part| part.number == number && part.wire_type == WIRE_LEN) {
            load(store, part.content, None, &[], &mut parts)?;
        }
        Ok(parts)
    }

    // Writing.

    /// Sets an attribute: the first of its key is edited, the others go.
    pub(super) fn set_attribute(&mut self, store: &Store, key: Span, ready: Ready) {
        let place = self.find(store, store.bytes(key));
        let part = Part::new(self.attributes, ready, key);
        self.is_changed = true;
        match place {
            None => self.home.push(part),
            Some(place) => {
                self.home[place] = part;
                self.remove_after(store, place, store.bytes(key));
            }
        }
    }

    /// Whether there is an attribute of this key.
    pub(super) fn has(&self, store: &Store, key: &[u8]) -> bool {
        self.find(store, key).is_some()
    }

    /// Removes the attributes of a key.
    pub(super) fn remove_attribute(&mut self, store: &Store, key: &[u8]) {
        if let Some(place) = self.find(store, key) {
            self.home.remove(place);
            self.is_changed = true;
            if place < self.home.len() {
                self.remove_from(store, place, key);
            }
        }
    }

    fn remove_after(&mut self, store: &Store, place: usize, key: &[u8]) {
        self.remove_from(store, place + 1, key);
    }

    fn remove_from(&mut self, store: &Store, place: usize, key: &[u8]) {
        let attributes = self.attributes;
        let is_it = |part: &mut Part| {
            part.number == attributes && part.wire_type == WIRE_LEN && is_key(store, part, key)
        };
        self.home.extract_if(place.., is_it).for_each(drop);
    }

    /// Keeps the attributes that a test holds for; it sees their keys.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(Span) -> bool) {
        let before = self.home.len();
        let attributes = self.attributes;
        self.home.retain(|part| part.number != attributes || part.wire_type != WIRE_LEN || keep(part.key));
        self.is_changed |= self.home.len() != before;
    }

    /// Gives the attribute at a place another key or value.
    pub(super) fn replace_attribute(&mut self, place: usize, key: Span, ready: Ready) {
        self.home[place] = Part::new(self.attributes, ready, key);
        self.is_changed = true;
    }

    /// The places of the attributes whose key passes a test.
    pub(super) fn places(&self, mut test: impl FnMut(Span) -> bool) -> Vec<usize> {
        let is_wanted = |(_, part): &(usize, &Part)| self.is_attribute(part) && test(part.key);
        self.home.iter().enumerate().filter(is_wanted).map(|(place, _)| place).collect()
    }

    /// The attribute at a place.
    pub(super) fn attribute_at(&self, place: usize) -> Part {
        self.home[place]
    }

    /// The place of the first attribute of a key.
    pub(super) fn place_of(&self, store: &Store, key: &[u8]) -> Option<usize> {
        self.find(store, key)
    }

    /// Sets a field.
    pub(super) fn set_field(
        &mut self,
        store: &mut Store,
        place: Place,
        ready: Ready,
    ) -> Result<(), Malformed> {
        self.is_changed = true;
        let number = match place.holds {
            Holds::Number { double, .. } if ready.is_double => double,
            Holds::Number { int, .. } => int,
            _ => place.number,
        };
        let part = Part::new(number, ready, Span::default());
        self.edit_field(store, place, |parts, at| match at {
            Some(at) => parts.insert(at, part),
            None => parts.push(part),
        })
    }

    /// Removes a field.
    pub(super) fn remove_field(&mut self, store: &mut Store, place: Place) -> Result<(), Malformed> {
        let mut was_there = false;
        let changed = self.is_changed;
        self.edit_field(store, place, |_, at| was_there = at.is_some())?;
        self.is_changed = changed | was_there;
        Ok(())
    }

    /// Takes a field out of its message, and tells where the first of it was.
    fn edit_field(
        &mut self,
        store: &mut Store,
        place: Place,
        edit: impl FnOnce(&mut Vec<Part>, Option<usize>),
    ) -> Result<(), Malformed> {
        let take = |parts: &mut Vec<Part>| {
            let at = parts.iter().position(|part| is_of(part, place));
            if let Some(at) = at {
                parts.extract_if(at.., |part| is_of(part, place)).for_each(drop);
            }
            at
        };
        match place.within {
            Within::Home => {
                let at = take(&mut self.home);
                edit(&mut self.home, at);
            }
            Within::Shell => {
                let at = take(&mut self.shell);
                edit(&mut self.shell, at);
                if let Some(hall) = &mut self.hall {
                    hall.before = hall.before.min(self.shell.len());
                }
            }
            Within::Sub(number) => {
                let mut parts = self.sub(store, number)?;
                let at = take(&mut parts);
                let left = parts.len();
                edit(&mut parts, at);
                if at.is_none() && parts.len() == left {
                    return Ok(()); // it was not there, and is not: nor need the message around it be
                }
                let start = store.end();
                parts.iter().for_each(|part| put_part(store, part));
                let ready = Ready { wire_type: WIRE_LEN, content: store.since(start), is_double: false };
                let around = Place { within: Within::Home, number, holds: Holds::Text };
                let at = take_all(&mut self.home, around);
                let part = Part::new(number, ready, Span::default());
                self.home.insert(at.unwrap_or(self.home.len()), part);
            }
        }
        Ok(())
    }

    /// Writes the row as it is now: its content, without a tag.
    pub(super) fn put(&self, store: &mut Store) {
        let Some(hall) = self.hall else {
            put_parts(store, &self.home);
            return;
        };
        put_parts(store, &self.shell[..hall.before]);
        if hall.was_there || !self.home.is_empty() {
            put_varint(store.edits(), u64::from(hall.number) << 3 | WIRE_LEN);
            put_varint(store.edits(), length(&self.home) as u64);
            put_parts(store, &self.home);
        }
        put_parts(store, &self.shell[hall.before..]);
    }

    /// How many fields are looked at to find one.
    pub(super) fn fields(&self) -> usize {
        self.home.len()
    }

    /// How many bytes [`Draft::put`] writes, where there is no shell.
    pub(super) fn bytes(&self) -> usize {
        length(&self.home)
    }
}

fn take_all(parts: &mut Vec<Part>, place: Place) -> Option<usize> {
    let at = parts.iter().position(|part| part.number == place.number)?;
    parts.extract_if(at.., |part| part.number == place.number).for_each(drop);
    Some(at)
}

fn length(parts: &[Part]) -> usize {
    parts.iter().map(Part::bytes).sum()
}

/// Writes fields; those that stand one after the other already are copied at once.
fn put_parts(store: &mut Store, parts: &[Part]) {
    let mut run = Span::default();
    for part in parts {
        if !part.field.is_empty() && part.field.start == run.end && !run.is_empty() {
            run.end = part.field.end;
            continue;
        }
        if !run.is_empty() {
            store.copy(run);
        }
        run = part.field;
        if part.field.is_empty() {
            put_part(store, part);
        }
    }
    if !run.is_empty() {
        store.copy(run);
    }
}

fn put_part(store: &mut Store, part: &Part) {
    if !part.field.is_empty() {
        return store.copy(part.field);
    }
    put_varint(store.edits(), u64::from(part.number) << 3 | part.wire_type);
    if part.wire_type == WIRE_LEN {
        put_varint(store.edits(), part.content.len() as u64);
    }
    store.copy(part.content);
}

/// Reads the fields of a message.
fn load(
    store: &Store,
    message: Span,
    attributes: Option<u32>,
    children: &[u32],
    parts: &mut Vec<Part>,
) -> Result<(), Malformed> {
    let bytes = store.bytes(message);
    for field in Fields::of(bytes) {
        let field = field.map_err(|error| error.after(message.start as usize))?;
        if children.is_empty() || !children.contains(&field.number) {
            parts.push(part(bytes, message.start, field, attributes)?);
        }
    }
    Ok(())
}

/// A field of a message that begins at `base`, with its key, where it is an attribute.
#[inline]
fn part(bytes: &[u8], base: u32, field: wire::Part, attributes: Option<u32>) -> Result<Part, Malformed> {
    let content = Span { start: base + field.content.start as u32, end: base + field.content.end as u32 };
    let mut key = Span::default();
    if attributes == Some(field.number) && field.wire_type == WIRE_LEN {
        let found = self::key(&bytes[field.content]).map_err(|error| error.after(content.start as usize))?;
        key = Span { start: content.start + found.start as u32, end: content.start + found.end as u32 };
    }
    let whole = Span { start: base + field.whole.start as u32, end: base + field.whole.end as u32 };
    Ok(Part { number: field.number, wire_type: field.wire_type, field: whole, content, key })
}

/// Where the key of a `KeyValue` is; the last one counts.
#[inline]
pub(super) fn key(key_value: &[u8]) -> Result<std::ops::Range<usize>, Malformed> {
    // As every encoder writes it: a short key, then one value to the end.
    if let [0x0a, length @ 0..0x80, rest @ ..] = key_value {
        let length = usize::from(*length);
        match rest.get(length..) {
            Some([]) => return Ok(2..2 + length),
            Some([0x12, value @ 0..0x80, content @ ..]) if content.len() == usize::from(*value) => {
                return Ok(2..2 + length);
            }
            _ => {}
        }
    }
    let mut found = 0..0;
    for field in Fields::of(key_value) {
        let field = field?;
        if field.number == 1 && field.wire_type == WIRE_LEN {
            found = field.content;
        }
    }
    Ok(found)
}

#[inline]
fn is_key(store: &Store, part: &Part, key: &[u8]) -> bool {
    part.key.len() == key.len() && store.bytes(part.key) == key
}

/// The content of an attribute's value; several are one, one after the other.
pub(super) fn attribute_value(store: &mut Store, part: &Part) -> Result<Span, Malformed> {
    let mut found: Option<Span> = None;
    let mut several = Vec::new();
    let base = part.content.start;
    for field in Fields::of(store.bytes(part.content)) {
        let field = field.map_err(|error| error.after(base as usize))?;
        if field.number == 2 && field.wire_type == WIRE_LEN {
            let content =
                Span { start: base + field.content.start as u32, end: base + field.content.end as u32 };
            if let Some(before) = found.replace(content) {
                several.push(before);
            }
        }
    }
    Ok(joined(store, several, found.unwrap_or_default()))
}

fn joined(store: &mut Store, several: Vec<Span>, last: Span) -> Span {
    if several.is_empty() {
        return last;
    }
    let start = store.end();
    several.into_iter().chain([last]).for_each(|part| store.copy(part));
    store.since(start)
}

fn is_of(part: &Part, place: Place) -> bool {
    match place.holds {
        Holds::Number { double, int } => part.number == double || part.number == int,
        _ => part.number == place.number,
    }
}

/// The value of a field; the last one counts, parts of one message are joined.
fn read(store: &mut Store, parts: &[Part], place: Place) -> Result<Option<Raw>, Malformed> {
    let mut several = Vec::new();
    let mut found: Option<Part> = None;
    for part in parts.iter().filter(|part| is_of(part, place)) {
        if let Some(before) = found.replace(*part) {
            several.push(before.content);
        }
    }
    let Some(part) = found else { return Ok(None) };
    let content = part.content;
    let wrong = Malformed::at("a field of another type", content.start as usize);
    let bytes = |length: usize| {
        let bytes = store.bytes(content);
        if bytes.len() == length { Ok(bytes) } else { Err(wrong) }
    };
    let fixed = || bytes(8)?.try_into().map(u64::from_le_bytes).map_err(|_| wrong);
    Ok(Some(match (place.holds, part.wire_type) {
        (Holds::Any, WIRE_LEN) => Raw::Any(joined(store, several, content)),
        (Holds::Text, WIRE_LEN) => Raw::Text(content),
        (Holds::Id(_), WIRE_LEN) if content.is_empty() => return Ok(None),
        (Holds::Id(_), WIRE_LEN) => Raw::Bytes(content),
        (Holds::Varint(_), 0) => {
            let value = crate::wire::varint_of(store.bytes(content)).ok_or(wrong)?;
            Raw::Int(value as i64)
        }
        // What is beyond the contract's integers is far beyond all times.
        (Holds::Fixed64, 1) => Raw::Int(i64::try_from(fixed()?).unwrap_or(i64::MAX)),
        (Holds::Fixed32, 5) => {
            let bits = bytes(4)?.try_into().map(u32::from_le_bytes).map_err(|_| wrong)?;
            Raw::Int(i64::from(bits))
        }
        (Holds::Number { double, .. }, 1) if part.number == double => Raw::Double(f64::from_bits(fixed()?)),
        (Holds::Number { .. }, 1) => Raw::Int(fixed()? as i64),
        _ => return Err(wrong),
    }))
}
