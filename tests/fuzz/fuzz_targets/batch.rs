//! A plugin without sense works on a batch without sense: nothing panics, what it becomes is a batch, no
//! record is lost or doubled, and what is undone never was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};
use tollgate_document::{
    Batch, Document, Signal,
    batch::{
        Action, Capture, Cells, Check, Column, Doubles, EditError, Field, HashKey, Ints, Level, Limits,
        Pattern, Places, Redaction, Rows, Selection, Target, Test, Value,
    },
};

fuzz_target!(|data: &[u8]| {
    let [how, length_low, length_high, rest @ ..] = data else { return };
    let length = usize::from(u16::from_le_bytes([*length_low, *length_high])).min(rest.len());
    let (script, bytes) = rest.split_at(length);
    let signal = [Signal::Logs, Signal::Traces, Signal::Metrics][usize::from(how % 3)];
    let Ok(document) = Document::parse(signal, bytes::Bytes::copy_from_slice(bytes)) else { return };
    let mut batch = Batch::new(document);
    let mut script = Script(script);
    for turn in 0..2 {
        let is_undone = how & (0x80 >> turn) != 0;
        take_turn(&mut batch, &mut script, is_undone);
    }
});

/// A plugin's turn.
fn take_turn(batch: &mut Batch, script: &mut Script, is_undone: bool) {
    const BYTES_MAX: u64 = 1 << 20;
    let (before, records) = (batch.message().to_bytes(), batch.records());
    batch.begin(Limits { bytes: BYTES_MAX, deadline: Instant::now() + Duration::from_secs(60) });
    let mut is_broken = false;
    let mut is_replaced = false;
    for _ in 0..40 {
        let Some(operation) = script.next() else { break };
        is_replaced |= operation % OPERATIONS == REPLACE;
        let done = operate(batch, operation % OPERATIONS, script);
        is_broken |= matches!(done, Err(EditError::Exhausted(_) | EditError::Malformed(_)));
        if is_broken {
            break;
        }
    }
    let committed = if is_undone { None } else { batch.commit().ok() };
    let Some(effects) = committed else {
        batch.undo();
        assert_eq!(batch.message().to_bytes(), before);
        assert_eq!(batch.records(), records);
        return;
    };
    let staying = batch.message().to_bytes();
    assert!(batch.is_changed() || staying == before);
    let document = Document::parse(batch.signal(), staying).expect("what stays is a batch");
    assert_eq!(document.records(), batch.records());
    let mut routed_records = 0;
    for routed in effects.routed {
        let document = Document::parse(batch.signal(), routed.message).expect("what leaves is a batch");
        assert_eq!(document.records(), routed.records);
        routed_records += routed.records;
    }
    assert!(is_replaced || document.records() + effects.discarded + routed_records == records);
}

/// Arguments, as the bytes have them.
struct Script<'s>(&'s [u8]);

impl Iterator for Script<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }
}

impl Script<'_> {
    fn byte(&mut self) -> u8 {
        self.next().unwrap_or(0)
    }

    fn one_of<'l, T>(&mut self, list: &'l [T]) -> &'l T {
        &list[usize::from(self.byte()) % list.len()]
    }

    fn list<T>(&mut self, mut element: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.byte() % 8).map(|_| element(self)).collect()
    }

    fn bytes(&mut self) -> Vec<u8> {
        let length = usize::from(self.byte()).min(self.0.len());
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        bytes.to_vec()
    }

    fn text(&mut self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    fn number(&mut self) -> i64 {
        match self.byte() {
            0xff => i64::from_le_bytes(std::array::from_fn(|_| self.byte())),
            small => i64::from(small) - 8,
        }
    }

    /// A row's number, a wild one now and then.
    fn row(&mut self) -> u32 {
        match self.byte() {
            0xff => u32::MAX,
            small => small.into(),
        }
    }

    fn level(&mut self) -> Level {
        *self.one_of(&Level::ALL)
    }

    fn target(&mut self) -> Target {
        match self.byte() % 3 {
            0 => Target::Attribute((*self.one_of(&["", "a", "k", "service.name"])).to_owned()),
            1 => Target::Attribute(self.text()),
            _ => Target::Field(*self.one_of(FIELDS)),
        }
    }

    fn column(&mut self) -> Column {
        Column { level: self.level(), target: self.target() }
    }

    fn rows(&mut self) -> Rows {
        match self.byte() % 4 {
            0 | 1 => Rows::All,
            2 => Rows::Only(self.list(Self::row)),
            _ => Rows::Under(self.level(), self.list(Self::row)),
        }
    }

    fn value(&mut self) -> Value {
        match self.byte() % 7 {
            0 => Value::Empty,
            1 => Value::Text(self.text()),
            2 => Value::Boolean(self.byte() & 1 == 1),
            3 => Value::Int(self.number()),
            4 => Value::Double(f64::from_bits(self.number() as u64)),
            5 => Value::Bytes(self.bytes()),
            _ => Value::Encoded(self.bytes()),
        }
    }

    fn pattern(&mut self) -> Pattern {
        self.one_of(&PATTERNS).clone()
    }

    fn key(&mut self) -> Option<HashKey> {
        (self.byte() & 1 == 1).then(|| KEY.clone())
    }

    fn places(&mut self) -> Places {
        let bits = self.byte();
        Places {
            attribute_values: bits & 1 != 0,
            attribute_keys: bits & 2 != 0,
            integers: bits & 4 != 0,
            bodies: bits & 8 != 0,
            names: bits & 16 != 0,
            versions: bits & 64 != 0,
            texts: bits & 32 != 0,
        }
    }

    fn redactions(&mut self) -> Vec<Redaction> {
        self.list(|script| Redaction { pattern: script.pattern(), action: script.action() })
    }

    fn action(&mut self) -> Action {
        match self.byte() % 4 {
            0 => Action::Mask(self.text()),
            1 => Action::Hash(KEY.clone()),
            2 => Action::Remove,
            _ => Action::Truncate(self.byte().into()),
        }
    }

    fn test(&mut self) -> Test {
        match self.byte() % 6 {
            0 => Test::Present,
            1 => Test::Absent,
            2 => Test::Equals(self.value()),
            3 => Test::Matches(self.pattern()),
            4 => Test::AtLeast(self.number() as f64),
            _ => Test::Below(self.number() as f64),
        }
    }
}

static PATTERNS: LazyLock<Vec<Pattern>> = LazyLock::new(|| {
    let expressions = [
        (r"(?i)\b[a-z0-9._%+-]+@[a-z0-9.-]+\.[a-z]{2,}\b", Check::None),
        (r"\b(?:\d[ -]?){12,18}\d\b", Check::Luhn),
        (r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b", Check::Iban),
        (r"", Check::None),
        (r"[0-9]*", Check::Luhn),
        (r"^(.)(?<rest>.*)$", Check::None),
        (r"(?s-u:.)", Check::None),
        (r"a|k|[\x00-\x1f]+", Check::None),
    ];
    let compile = |(expression, check): (&str, Check)| Pattern::compile(expression, check, 1 << 20);
    expressions.into_iter().map(|written| compile(written).expect("it is an expression")).collect()
});

static KEY: LazyLock<HashKey> =
    LazyLock::new(|| HashKey::new(&[7; 16], Some(&[8; 16])).expect("these are long enough"));

const FIELDS: &[Field] = &[
    Field::Body,
    Field::Name,
    Field::Version,
    Field::SchemaUrl,
    Field::SeverityNumber,
    Field::SeverityText,
    Field::EventName,
    Field::TimeUnixNano,
    Field::ObservedTimeUnixNano,
    Field::StartTimeUnixNano,
    Field::EndTimeUnixNano,
    Field::TraceId,
    Field::SpanId,
    Field::ParentSpanId,
    Field::TraceState,
    Field::Kind,
    Field::StatusCode,
    Field::StatusMessage,
    Field::Flags,
    Field::Unit,
    Field::Description,
    Field::Number,
];

const OPERATIONS: u8 = 40;
const REPLACE: u8 = 39;

/// Does one operation of the contract.
fn operate(batch: &mut Batch, operation: u8, script: &mut Script) -> Result<(), EditError> {
    let s = script;
    match operation {
        0 => batch.set(&s.column(), &s.value(), &s.rows()),
        1 => batch.insert(&s.column(), &s.value(), &s.rows()),
        2 => batch.update(&s.column(), &s.value(), &s.rows()),
        3 => batch.update_keys(s.level(), &s.pattern(), &s.value(), &s.rows()),
        4 => batch.remove(&s.column(), &s.rows()),
        5 => batch.remove_keys(s.level(), &s.pattern(), &s.rows()),
        6 => batch.keep_keys(s.level(), &s.pattern(), &s.rows()),
        7 => batch.rename(s.level(), &s.text(), &s.text(), &s.rows()),
        8 => batch.rename_keys(s.level(), &s.pattern(), &s.text(), &s.rows()),
        9 => batch.copy(&s.column(), &s.column(), &s.rows()),
        10 => batch.copy_keys(s.level(), &s.pattern(), &s.text(), &s.rows()),
        11 => batch.hash(&s.column(), s.key().as_ref(), &s.rows()),
        12 => batch.hash_keys(s.level(), &s.pattern(), s.key().as_ref(), &s.rows()),
        13 => {
            let (column, pattern) = (s.column(), s.pattern());
            let into = s.list(|s| Capture {
                group: (*s.one_of(&["0", "1", "rest", "9"])).to_owned(),
                to: s.target(),
            });
            batch.extract(&column, &pattern, &into, &s.rows()).map(drop)
        }
        14 => {
            let places = s.places();
            let only_keys = (s.byte() & 1 == 1).then(|| s.pattern());
            let except_keys = (s.byte() & 1 == 1).then(|| s.pattern());
            batch.redact(&s.redactions(), &Selection { places, only_keys, except_keys }).map(drop)
        }
        15 => batch.redact_cells(&s.column(), &s.redactions(), &s.rows()).map(drop),
        16 => batch.remove_unknown_fields().map(drop),
        17 => batch.find(&s.column(), &s.test(), &s.rows()).map(drop),
        18 | 19 => {
            let (level, rows) = (s.level(), s.rows());
            batch.discard(level, &rows)?;
            for test in [Test::Present, Test::Absent] {
                assert!(batch.find(&Column::attribute(level, "k"), &test, &rows)?.is_empty());
            }
            Ok(())
        }
        20 => {
            let (level, rows) = (s.level(), s.rows());
            let to = s.list(|s| (*s.one_of(&["archive", "other", "default"])).to_owned());
            batch.route(level, &rows, &to)
        }
        21 => batch.redact_keys(&s.pattern(), &s.action()).map(drop),
        22 => batch.read_text(&s.column(), &s.rows()).map(drop),
        23 => batch.read_texts(&s.column(), &s.rows()).map(drop),
        24 => batch.read_bytes(&s.column(), &s.rows()).map(drop),
        25 => batch.read_ints(&s.column(), &s.rows()).map(drop),
        26 => batch.read_doubles(&s.column(), &s.rows()).map(drop),
        27 => batch.read_values(&s.column(), &s.rows()).map(drop),
        28 => {
            let (column, data) = (s.column(), s.bytes());
            let offsets = s.list(|s| if s.byte() == 0xff { Cells::ABSENT } else { s.row() });
            batch.write_text(&column, &Cells { data, offsets }, &s.rows())
        }
        29 => batch.write_texts(&s.column(), s.list(|s| (s.byte() & 1 == 1).then(|| s.text())), &s.rows()),
        30 => {
            let (column, values, present) =
                (s.column(), s.list(Script::number), s.list(|s| s.byte() & 1 == 1));
            batch.write_ints(&column, &Ints { values, present }, &s.rows())
        }
        31 => {
            let (column, values) = (s.column(), s.list(|s| s.number() as f64));
            let present = s.list(|s| s.byte() & 1 == 1);
            batch.write_doubles(&column, &Doubles { values, present }, &s.rows())
        }
        32 => batch.write_values(&s.column(), s.list(|s| (s.byte() & 1 == 1).then(|| s.value())), &s.rows()),
        33 => batch.get_cell(s.level(), s.row(), &s.target()).map(drop),
        34 => batch.set_cell(s.level(), s.row(), &s.target(), &s.value()),
        35 => batch.remove_cell(s.level(), s.row(), &s.target()),
        36 => batch.attributes(s.level(), s.row()).map(drop),
        37 => batch.count(s.level()).and_then(|_| batch.parents(s.level())).map(drop),
        38 => batch.to_otlp().map(|otlp| {
            Document::parse(batch.signal(), bytes::Bytes::from(otlp)).expect("it is a batch");
        }),
        _ => batch.replace(s.bytes()),
    }
}
