//! The contract's functions, natively: what a host does, without its limits.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use tollgate_document as document;
use tollgate_document::batch as edit;
use tollgate_document::batch::EditError;

use super::{NOW_UNIX_NANO, Outcome, Routed};
use crate::bindings::tollgate::plugin::types as wit;
use crate::{Error, Registration, Result, Severity, Signal, Verdict};

/// Larger than any batch of a test.
const BYTES_MAX: u64 = 1 << 30;
/// As a host's.
const PATTERN_BYTES_MAX: usize = 10 << 20;

thread_local! {
    static WORLD: RefCell<World> = const { RefCell::new(World { host: None, turn: None, configuring: false }) };
}

/// What surrounds a plugin on this thread.
struct World {
    host: Option<Host>,
    turn: Option<Turn>,
    configuring: bool,
}

/// What a plugin made in `configure`.
#[derive(Debug, Default)]
pub struct Host {
    patterns: Vec<edit::Pattern>,
    keys: Vec<edit::HashKey>,
}

/// A batch, and what a plugin does with it.
pub struct Turn {
    batch: edit::Batch,
    registration: Registration,
    logs: Vec<(Severity, String)>,
    counters: BTreeMap<String, u64>,
    pub(super) verdict: Option<Result<Verdict>>,
}

pub fn during_configure<T>(configure: impl FnOnce() -> T) -> (Host, T) {
    WORLD.with_borrow_mut(|world| {
        *world = World { host: Some(Host::default()), turn: None, configuring: true }
    });
    let configured = configure();
    let host = WORLD.with_borrow_mut(|world| world.host.take());
    (host.unwrap_or_default(), configured)
}

pub fn during_process(host: &mut Host, turn: Turn, process: impl FnOnce() -> Result<Verdict>) -> Turn {
    let lent = std::mem::take(host);
    WORLD.with_borrow_mut(|world| *world = World { host: Some(lent), turn: Some(turn), configuring: false });
    let verdict = process();
    WORLD.with_borrow_mut(|world| {
        *host = world.host.take().unwrap_or_default();
        let mut turn = world.turn.take().expect("invariant: it was put there above");
        turn.verdict = Some(verdict);
        turn
    })
}

impl Turn {
    #[allow(clippy::panic, reason = "a mistake in a test")]
    pub fn new(signal: Signal, json: &Json, registration: &Registration) -> Turn {
        let request =
            document::to_protobuf(signal.into(), json.to_string().as_bytes(), BYTES_MAX, |_| Ok(()))
                .map_err(|error| error.to_string())
                .and_then(|(bytes, _)| {
                    document::Document::parse(signal.into(), bytes).map_err(|error| error.to_string())
                });
        let request = match request {
            Ok(request) => request,
            Err(error) => panic!("the batch is no OTLP/JSON: {error}"),
        };
        let mut batch = edit::Batch::new(request);
        batch.begin(edit::Limits { bytes: BYTES_MAX, deadline: Instant::now() + Duration::from_secs(3600) });
        Turn {
            batch,
            registration: registration.clone(),
            logs: Vec::new(),
            counters: BTreeMap::new(),
            verdict: None,
        }
    }

    pub fn end(mut self, verdict: Verdict) -> Outcome {
        let signal = self.batch.signal();
        let effects = told(self.batch.commit()).unwrap_or_default();
        Outcome {
            verdict,
            batch: as_json(signal, &self.batch.message()),
            routed: effects
                .routed
                .into_iter()
                .map(|part| Routed { destinations: part.destinations, batch: as_json(signal, &part.message) })
                .collect(),
            discarded: effects.discarded,
            changed: effects.changed,
            logs: self.logs,
            counters: self.counters,
        }
    }
}

impl std::fmt::Debug for Turn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Turn").finish_non_exhaustive()
    }
}

#[allow(clippy::panic, reason = "a mistake in a test")]
fn as_json(signal: document::Signal, message: &document::Chunks) -> Json {
    let json = match document::to_json(signal, message, BYTES_MAX, |_| Ok(())) {
        Ok(json) => json,
        Err(error) => panic!("what the plugin made is no OTLP: {error}"),
    };
    serde_json::from_slice(&json).expect("invariant: the translation is JSON")
}

/// What a host tells a plugin, unless it ends the call.
#[allow(clippy::panic, reason = "the call ends; here, the test")]
fn told<T>(edited: std::result::Result<T, EditError>) -> Result<T> {
    edited.map_err(|error| match error {
        EditError::BadArgument(message) => Error::BadArgument(message),
        EditError::Unsupported(message) => Error::Unsupported(message),
        ends => panic!("the host ends the call: {ends}"),
    })
}

pub mod host {
    use super::*;

    pub fn log(severity: Severity, message: &str) {
        WORLD.with_borrow_mut(|world| {
            if let Some(turn) = &mut world.turn {
                turn.logs.push((severity, message.to_owned()));
            }
        });
    }

    pub fn count(counter: &str, amount: u64) {
        WORLD.with_borrow_mut(|world| {
            if let Some(turn) = &mut world.turn {
                *turn.counters.entry(counter.to_owned()).or_default() += amount;
            }
        });
    }

    pub fn now() -> u64 {
        NOW_UNIX_NANO
    }

    pub fn compile_pattern(expression: &str, check: wit::Check) -> Result<wit::Pattern> {
        configuring(|host| {
            let check = match check {
                wit::Check::None => edit::Check::None,
                wit::Check::Luhn => edit::Check::Luhn,
                wit::Check::Iban => edit::Check::Iban,
            };
            host.patterns.push(edit::Pattern::compile(expression, check, PATTERN_BYTES_MAX)?);
            Ok(host.patterns.len() as u32 - 1)
        })
    }

    pub fn prepare_hash_key(key: &[u8], previous: Option<&[u8]>) -> Result<wit::HashKey> {
        configuring(|host| {
            host.keys.push(edit::HashKey::new(key, previous)?);
            Ok(host.keys.len() as u32 - 1)
        })
    }

    fn configuring(make: impl FnOnce(&mut Host) -> std::result::Result<u32, String>) -> Result<u32> {
        WORLD.with_borrow_mut(|world| match &mut world.host {
            Some(host) if world.configuring => make(host).map_err(Error::BadArgument),
            _ => Err(Error::Unsupported("patterns and keys are made in `configure`".to_owned())),
        })
    }
}

pub mod batch {
    use super::*;
    use crate::bindings::tollgate::plugin::types::{
        Action, Capture, Cells, Column, Doubles, Extracted, Ints, KeyValue, Level, Redaction, Rows,
        Selection, Target, Test, Value,
    };

    pub fn carries() -> Signal {
        reading(|batch, _| Ok(batch.signal())).ok().and_then(from_document).unwrap_or(Signal::Logs)
    }

    pub fn count(level: Level) -> u32 {
        reading(|batch, _| told(batch.count(level.into()))).unwrap_or_default()
    }

    pub fn parents(level: Level) -> Vec<u32> {
        reading(|batch, _| told(batch.parents(level.into()))).unwrap_or_default()
    }

    pub fn set(column: &Column, value: &Value, rows: &Rows) -> Result<()> {
        editing(|batch, _| told(batch.set(&column.into(), &value.into(), &rows.into())))
    }

    pub fn insert(column: &Column, value: &Value, rows: &Rows) -> Result<()> {
        editing(|batch, _| told(batch.insert(&column.into(), &value.into(), &rows.into())))
    }

    pub fn update(column: &Column, value: &Value, rows: &Rows) -> Result<()> {
        editing(|batch, _| told(batch.update(&column.into(), &value.into(), &rows.into())))
    }

    pub fn update_keys(level: Level, keys: u32, value: &Value, rows: &Rows) -> Result<()> {
        editing(|batch, host| {
            told(batch.update_keys(level.into(), host.pattern(keys)?, &value.into(), &rows.into()))
        })
    }

    pub fn remove(column: &Column, rows: &Rows) -> Result<()> {
        editing(|batch, _| told(batch.remove(&column.into(), &rows.into())))
    }

    pub fn remove_keys(level: Level, keys: u32, rows: &Rows) -> Result<()> {
        editing(|batch, host| told(batch.remove_keys(level.into(), host.pattern(keys)?, &rows.into())))
    }

    pub fn keep_keys(level: Level, keys: u32, rows: &Rows) -> Result<()> {
        editing(|batch, host| told(batch.keep_keys(level.into(), host.pattern(keys)?, &rows.into())))
    }

    pub fn rename(level: Level, key: &str, to: &str, rows: &Rows) -> Result<()> {
        editing(|batch, _| told(batch.rename(level.into(), key, to, &rows.into())))
    }

    pub fn rename_keys(level: Level, keys: u32, to: &str, rows: &Rows) -> Result<()> {
        editing(|batch, host| told(batch.rename_keys(level.into(), host.pattern(keys)?, to, &rows.into())))
    }

    pub fn copy(source: &Column, to: &Column, rows: &Rows) -> Result<()> {
        editing(|batch, _| told(batch.copy(&source.into(), &to.into(), &rows.into())))
    }

    pub fn copy_keys(level: Level, keys: u32, to: &str, rows: &Rows) -> Result<()> {
        editing(|batch, host| told(batch.copy_keys(level.into(), host.pattern(keys)?, to, &rows.into())))
    }

    pub fn hash(column: &Column, key: Option<u32>, rows: &Rows) -> Result<()> {
        editing(|batch, host| told(batch.hash(&column.into(), host.key(key)?, &rows.into())))
    }

    pub fn hash_keys(level: Level, keys: u32, key: Option<u32>, rows: &Rows) -> Result<()> {
        editing(|batch, host| {
            told(batch.hash_keys(level.into(), host.pattern(keys)?, host.key(key)?, &rows.into()))
        })
    }

    pub fn extract(source: &Column, pattern: u32, into: &[Capture], rows: &Rows) -> Result<Extracted> {
        editing(|batch, host| {
            let into: Vec<edit::Capture> = into
                .iter()
                .map(|capture| edit::Capture { group: capture.group.clone(), to: (&capture.to).into() })
                .collect();
            let extracted = told(batch.extract(&source.into(), host.pattern(pattern)?, &into, &rows.into()))?;
            Ok(Extracted { matched: extracted.matched, invalid: extracted.invalid })
        })
    }

    pub fn redact(redactions: &[Redaction], selection: Selection) -> Result<Vec<u64>> {
        editing(|batch, host| {
            let selection = edit::Selection {
                places: selection.places.into(),
                only_keys: selection.only_keys.map(|keys| host.pattern(keys).cloned()).transpose()?,
                except_keys: selection.except_keys.map(|keys| host.pattern(keys).cloned()).transpose()?,
            };
            told(batch.redact(&host.redactions(redactions)?, &selection))
        })
    }

    pub fn redact_keys(keys: u32, action: &Action) -> Result<u64> {
        editing(|batch, host| told(batch.redact_keys(host.pattern(keys)?, &host.action(action)?)))
    }

    pub fn redact_cells(column: &Column, redactions: &[Redaction], rows: &Rows) -> Result<Vec<u64>> {
        editing(|batch, host| {
            told(batch.redact_cells(&column.into(), &host.redactions(redactions)?, &rows.into()))
        })
    }

    pub fn remove_unknown_fields() -> Result<u64> {
        editing(|batch, _| told(batch.remove_unknown_fields()))
    }

    pub fn find(column: &Column, test: &Test, rows: &Rows) -> Result<Vec<u32>> {
        reading(|batch, host| {
            let test = match test {
                Test::Present => edit::Test::Present,
                Test::Absent => edit::Test::Absent,
                Test::Equals(value) => edit::Test::Equals(value.into()),
                Test::Matches(pattern) => edit::Test::Matches(host.pattern(*pattern)?.clone()),
                Test::AtLeast(number) => edit::Test::AtLeast(*number),
                Test::Below(number) => edit::Test::Below(*number),
            };
            told(batch.find(&column.into(), &test, &rows.into()))
        })
    }

    pub fn discard(level: Level, rows: &Rows) -> Result<()> {
        editing(|batch, _| told(batch.discard(level.into(), &rows.into())))
    }

    pub fn route(level: Level, rows: &Rows, destinations: &[String]) -> Result<()> {
        let registered = WORLD.with_borrow(|world| {
            let turn = world.turn.as_ref();
            turn.map(|turn| turn.registration.destinations.clone()).unwrap_or_default()
        });
        let is_known = |name: &&String| *name == crate::DEFAULT_DESTINATION || registered.contains(name);
        if let Some(unknown) = destinations.iter().find(|name| !is_known(name)) {
            return Err(Error::BadArgument(format!("the destination `{unknown}` was not registered")));
        }
        editing(|batch, _| told(batch.route(level.into(), &rows.into(), destinations)))
    }

    pub fn read_text(column: &Column, rows: &Rows) -> Result<Cells> {
        reading(|batch, _| told(batch.read_text(&column.into(), &rows.into())).map(Cells::from))
    }

    pub fn read_bytes(column: &Column, rows: &Rows) -> Result<Cells> {
        reading(|batch, _| told(batch.read_bytes(&column.into(), &rows.into())).map(Cells::from))
    }

    pub fn read_ints(column: &Column, rows: &Rows) -> Result<Ints> {
        reading(|batch, _| {
            let edit::Ints { values, present } = told(batch.read_ints(&column.into(), &rows.into()))?;
            Ok(Ints { values, present })
        })
    }

    pub fn read_doubles(column: &Column, rows: &Rows) -> Result<Doubles> {
        reading(|batch, _| {
            let edit::Doubles { values, present } = told(batch.read_doubles(&column.into(), &rows.into()))?;
            Ok(Doubles { values, present })
        })
    }

    pub fn read_values(column: &Column, rows: &Rows) -> Result<Vec<Option<Value>>> {
        reading(|batch, _| {
            let values = told(batch.read_values(&column.into(), &rows.into()))?;
            Ok(values.into_iter().map(|value| value.map(Value::from)).collect())
        })
    }

    pub fn write_text(column: &Column, cells: &Cells, rows: &Rows) -> Result<()> {
        let cells = edit::Cells { data: cells.data.clone(), offsets: cells.offsets.clone() };
        editing(|batch, _| told(batch.write_text(&column.into(), &cells, &rows.into())))
    }

    pub fn write_ints(column: &Column, cells: &Ints, rows: &Rows) -> Result<()> {
        let cells = edit::Ints { values: cells.values.clone(), present: cells.present.clone() };
        editing(|batch, _| told(batch.write_ints(&column.into(), &cells, &rows.into())))
    }

    pub fn write_doubles(column: &Column, cells: &Doubles, rows: &Rows) -> Result<()> {
        let cells = edit::Doubles { values: cells.values.clone(), present: cells.present.clone() };
        editing(|batch, _| told(batch.write_doubles(&column.into(), &cells, &rows.into())))
    }

    pub fn write_values(column: &Column, cells: &[Option<Value>], rows: &Rows) -> Result<()> {
        let cells = cells.iter().map(|value| value.as_ref().map(edit::Value::from)).collect();
        editing(|batch, _| told(batch.write_values(&column.into(), cells, &rows.into())))
    }

    pub fn get_cell(level: Level, row: u32, target: &Target) -> Result<Option<Value>> {
        reading(|batch, _| Ok(told(batch.get_cell(level.into(), row, &target.into()))?.map(Value::from)))
    }

    pub fn set_cell(level: Level, row: u32, target: &Target, value: &Value) -> Result<()> {
        editing(|batch, _| told(batch.set_cell(level.into(), row, &target.into(), &value.into())))
    }

    pub fn remove_cell(level: Level, row: u32, target: &Target) -> Result<()> {
        editing(|batch, _| told(batch.remove_cell(level.into(), row, &target.into())))
    }

    pub fn attributes(level: Level, row: u32) -> Result<Vec<KeyValue>> {
        reading(|batch, _| {
            let attributes = told(batch.attributes(level.into(), row))?;
            Ok(attributes.into_iter().map(|a| KeyValue { key: a.key, value: a.value.into() }).collect())
        })
    }

    pub fn to_otlp() -> Result<Vec<u8>> {
        reading(|batch, _| told(batch.to_otlp()))
    }

    pub fn replace(otlp: &[u8]) -> Result<()> {
        editing(|batch, _| told(batch.replace(otlp.to_vec())))
    }

    fn editing<T>(edit: impl FnOnce(&mut edit::Batch, &Host) -> Result<T>) -> Result<T> {
        let read_only =
            WORLD.with_borrow(|world| world.turn.as_ref().is_some_and(|turn| turn.registration.read_only));
        if read_only {
            return Err(Error::Unsupported("the plugin registered that it changes nothing".to_owned()));
        }
        reading(edit)
    }

    #[allow(clippy::panic, reason = "the host ends the call; here, the test")]
    fn reading<T>(read: impl FnOnce(&mut edit::Batch, &Host) -> Result<T>) -> Result<T> {
        WORLD.with_borrow_mut(|world| match (&mut world.turn, &world.host) {
            (Some(turn), Some(host)) => read(&mut turn.batch, host),
            _ => panic!("there is a batch during `process` only"),
        })
    }
}

impl Host {
    fn pattern(&self, id: wit::Pattern) -> Result<&edit::Pattern> {
        self.patterns.get(id as usize).ok_or_else(|| Error::BadArgument(format!("there is no pattern {id}")))
    }

    fn key(&self, id: Option<wit::HashKey>) -> Result<Option<&edit::HashKey>> {
        let Some(id) = id else { return Ok(None) };
        match self.keys.get(id as usize) {
            Some(key) => Ok(Some(key)),
            None => Err(Error::BadArgument(format!("there is no key {id}"))),
        }
    }

    fn redactions(&self, redactions: &[wit::Redaction]) -> Result<Vec<edit::Redaction>> {
        let redactions = redactions.iter().map(|redaction| {
            let pattern = self.pattern(redaction.pattern)?.clone();
            Ok(edit::Redaction { pattern, action: self.action(&redaction.action)? })
        });
        redactions.collect()
    }

    fn action(&self, action: &wit::Action) -> Result<edit::Action> {
        Ok(match action {
            wit::Action::Mask(text) => edit::Action::Mask(text.clone()),
            wit::Action::Hash(id) => match self.key(Some(*id))? {
                Some(key) => edit::Action::Hash(key.clone()),
                None => return Err(Error::BadArgument("there is no key".to_owned())),
            },
            wit::Action::Remove => edit::Action::Remove,
            wit::Action::Truncate(characters) => edit::Action::Truncate(*characters),
        })
    }
}

// The contract's words, in the document's.

fn from_document(signal: document::Signal) -> Option<Signal> {
    match signal {
        document::Signal::Logs => Some(Signal::Logs),
        document::Signal::Traces => Some(Signal::Traces),
        document::Signal::Metrics => Some(Signal::Metrics),
        document::Signal::Profiles => None,
    }
}

impl From<Signal> for document::Signal {
    fn from(signal: Signal) -> document::Signal {
        match signal {
            Signal::Logs => document::Signal::Logs,
            Signal::Traces => document::Signal::Traces,
            Signal::Metrics => document::Signal::Metrics,
        }
    }
}

impl From<wit::Level> for edit::Level {
    fn from(level: wit::Level) -> edit::Level {
        match level {
            wit::Level::Resource => edit::Level::Resource,
            wit::Level::Scope => edit::Level::Scope,
            wit::Level::Metric => edit::Level::Metric,
            wit::Level::Record => edit::Level::Record,
            wit::Level::Event => edit::Level::Event,
            wit::Level::Link => edit::Level::Link,
            wit::Level::Exemplar => edit::Level::Exemplar,
        }
    }
}

impl From<wit::Field> for edit::Field {
    fn from(field: wit::Field) -> edit::Field {
        use edit::Field;
        match field {
            wit::Field::Body => Field::Body,
            wit::Field::Name => Field::Name,
            wit::Field::Version => Field::Version,
            wit::Field::SchemaUrl => Field::SchemaUrl,
            wit::Field::SeverityNumber => Field::SeverityNumber,
            wit::Field::SeverityText => Field::SeverityText,
            wit::Field::EventName => Field::EventName,
            wit::Field::TimeUnixNano => Field::TimeUnixNano,
            wit::Field::ObservedTimeUnixNano => Field::ObservedTimeUnixNano,
            wit::Field::StartTimeUnixNano => Field::StartTimeUnixNano,
            wit::Field::EndTimeUnixNano => Field::EndTimeUnixNano,
            wit::Field::TraceId => Field::TraceId,
            wit::Field::SpanId => Field::SpanId,
            wit::Field::ParentSpanId => Field::ParentSpanId,
            wit::Field::TraceState => Field::TraceState,
            wit::Field::Kind => Field::Kind,
            wit::Field::StatusCode => Field::StatusCode,
            wit::Field::StatusMessage => Field::StatusMessage,
            wit::Field::Flags => Field::Flags,
            wit::Field::Unit => Field::Unit,
            wit::Field::Description => Field::Description,
            wit::Field::Number => Field::Number,
        }
    }
}

impl From<&wit::Target> for edit::Target {
    fn from(target: &wit::Target) -> edit::Target {
        match target {
            wit::Target::Attribute(key) => edit::Target::Attribute(key.clone()),
            wit::Target::BuiltIn(field) => edit::Target::Field((*field).into()),
        }
    }
}

impl From<&wit::Column> for edit::Column {
    fn from(column: &wit::Column) -> edit::Column {
        edit::Column { level: column.level.into(), target: (&column.target).into() }
    }
}

impl From<&wit::Rows> for edit::Rows {
    fn from(rows: &wit::Rows) -> edit::Rows {
        match rows {
            wit::Rows::All => edit::Rows::All,
            wit::Rows::Only(indexes) => edit::Rows::Only(indexes.clone()),
            wit::Rows::Under(parents) => edit::Rows::Under(parents.level.into(), parents.indexes.clone()),
        }
    }
}

impl From<&wit::Value> for edit::Value {
    fn from(value: &wit::Value) -> edit::Value {
        match value.clone() {
            wit::Value::Empty => edit::Value::Empty,
            wit::Value::Text(text) => edit::Value::Text(text),
            wit::Value::Boolean(boolean) => edit::Value::Boolean(boolean),
            wit::Value::Int(int) => edit::Value::Int(int),
            wit::Value::Double(double) => edit::Value::Double(double),
            wit::Value::Bytes(bytes) => edit::Value::Bytes(bytes),
            wit::Value::Encoded(bytes) => edit::Value::Encoded(bytes),
        }
    }
}

impl From<edit::Value> for wit::Value {
    fn from(value: edit::Value) -> wit::Value {
        match value {
            edit::Value::Empty => wit::Value::Empty,
            edit::Value::Text(text) => wit::Value::Text(text),
            edit::Value::Boolean(boolean) => wit::Value::Boolean(boolean),
            edit::Value::Int(int) => wit::Value::Int(int),
            edit::Value::Double(double) => wit::Value::Double(double),
            edit::Value::Bytes(bytes) => wit::Value::Bytes(bytes),
            edit::Value::Encoded(bytes) => wit::Value::Encoded(bytes),
        }
    }
}

impl From<edit::Cells> for wit::Cells {
    fn from(cells: edit::Cells) -> wit::Cells {
        wit::Cells { data: cells.data, offsets: cells.offsets }
    }
}

impl From<wit::Places> for edit::Places {
    fn from(places: wit::Places) -> edit::Places {
        edit::Places {
            attribute_values: places.contains(wit::Places::ATTRIBUTE_VALUES),
            attribute_keys: places.contains(wit::Places::ATTRIBUTE_KEYS),
            integers: places.contains(wit::Places::INTEGERS),
            bodies: places.contains(wit::Places::BODIES),
            names: places.contains(wit::Places::NAMES),
            versions: places.contains(wit::Places::VERSIONS),
            texts: places.contains(wit::Places::TEXTS),
        }
    }
}
