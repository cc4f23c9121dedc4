//! The contract, version 0.1: what its functions do, said in the words of the document.
//!
//! This is the only file that knows both. Whatever a guest passes is checked here or there: nothing in it
//! panics, since a panic would unwind through the guest.

use super::state::{Phase, State, Stop};
use crate::plugin::{
    DEFAULT_DESTINATION,
    document::{self, Batch, EditError},
};
use wasmtime::component::{HasSelf, Linker};

mod bindings {
    #![allow(missing_docs, clippy::all, reason = "generated")]
    wasmtime::component::bindgen!({
        path: "../wit/v0.1",
        world: "plugin",
        imports: { default: trappable },
        trappable_error_type: { "tollgate:plugin/types.error" => super::Refusal },
    });
}

pub(super) use bindings::exports::tollgate::plugin::handler::{Otherwise, Setup, Verdict};
pub(super) use bindings::tollgate::plugin::types;
use bindings::tollgate::plugin::{batch, host};
pub(super) use bindings::{Plugin, PluginPre};

/// Gives a linker the functions of the contract.
pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    Plugin::add_to_linker::<_, HasSelf<State>>(linker, |state| state)
}

/// Why a function of the contract did not do what was asked.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The guest is told.
    Answer(types::Error),
    /// The call ends here.
    Stop(Stop),
}

impl Refusal {
    fn bad_argument(text: impl Into<String>) -> Self {
        Refusal::Answer(types::Error::BadArgument(text.into()))
    }

    fn unsupported(text: impl Into<String>) -> Self {
        Refusal::Answer(types::Error::Unsupported(text.into()))
    }
}

impl From<Stop> for Refusal {
    fn from(stop: Stop) -> Self {
        Refusal::Stop(stop)
    }
}

impl State {
    /// The batch, for a function that only looks.
    fn look(&mut self, function: &'static str) -> Result<&mut Batch, Stop> {
        match &mut self.batch {
            Some(batch) if self.phase == Phase::Process => Ok(batch),
            _ => Err(Stop::OutOfTurn(function)),
        }
    }

    /// The batch, for a function that changes it.
    fn edit(&mut self, function: &'static str) -> Result<&mut Batch, Refusal> {
        let is_read_only = self.is_read_only;
        let batch = self.look(function)?;
        if is_read_only {
            return Err(Refusal::unsupported("the plugin registered as read-only"));
        }
        Ok(batch)
    }

    fn pattern(&self, function: &'static str, number: types::Pattern) -> Result<document::Pattern, Refusal> {
        self.processing(function)?;
        let pattern = self.patterns.get(number as usize).cloned();
        pattern.ok_or_else(|| Refusal::bad_argument(format!("there is no pattern {number}")))
    }

    fn hash_key(&self, function: &'static str, number: types::HashKey) -> Result<document::HashKey, Refusal> {
        self.processing(function)?;
        let key = self.hash_keys.get(number as usize).cloned();
        key.ok_or_else(|| Refusal::bad_argument(format!("there is no hash key {number}")))
    }

    /// For what a function of the batch looks up before it.
    fn processing(&self, function: &'static str) -> Result<(), Stop> {
        if self.phase == Phase::Process { Ok(()) } else { Err(Stop::OutOfTurn(function)) }
    }

    fn redactions(
        &self,
        function: &'static str,
        redactions: Vec<types::Redaction>,
    ) -> Result<Vec<document::Redaction>, Refusal> {
        let redactions = redactions.into_iter().map(|redaction| {
            let action = self.action(function, redaction.action)?;
            Ok(document::Redaction { pattern: self.pattern(function, redaction.pattern)?, action })
        });
        redactions.collect()
    }

    fn action(&self, function: &'static str, action: types::Action) -> Result<document::Action, Refusal> {
        Ok(match action {
            types::Action::Mask(text) => document::Action::Mask(text),
            types::Action::Hash(key) => document::Action::Hash(self.hash_key(function, key)?),
            types::Action::Remove => document::Action::Remove,
            types::Action::Truncate(characters) => document::Action::Truncate(characters),
        })
    }

    /// What an operator of the document answers, in the contract's words. Where it ran out of time the
    /// guest is not asked any more.
    fn answer<T>(&self, answer: Result<T, EditError>) -> Result<T, Refusal> {
        answer.map_err(|error| match error {
            EditError::BadArgument(text) => Refusal::bad_argument(text),
            EditError::Unsupported(text) => Refusal::unsupported(text),
            EditError::Exhausted(exhausted) => Refusal::Stop(self.exhausted(exhausted)),
            EditError::Malformed(malformed) => Refusal::Stop(Stop::Malformed(malformed)),
        })
    }

    /// The same for a function that answers whatever it is asked: of what a batch does not have, there is
    /// nothing.
    fn answer_anyway<T: Default>(&self, answer: Result<T, EditError>) -> wasmtime::Result<T> {
        match self.answer(answer) {
            Ok(value) => Ok(value),
            Err(Refusal::Answer(_)) => Ok(T::default()),
            Err(Refusal::Stop(stop)) => Err(stop.into()),
        }
    }
}

impl types::Host for State {
    fn convert_error(&mut self, refusal: Refusal) -> wasmtime::Result<types::Error> {
        match refusal {
            Refusal::Answer(error) => Ok(error),
            Refusal::Stop(stop) => Err(stop.into()),
        }
    }
}

impl host::Host for State {
    fn log(&mut self, severity: host::Severity, message: String) -> wasmtime::Result<()> {
        let level = match severity {
            host::Severity::Debug => tracing::Level::DEBUG,
            host::Severity::Info => tracing::Level::INFO,
            host::Severity::Warn => tracing::Level::WARN,
            host::Severity::Error => tracing::Level::ERROR,
        };
        match severity {
            host::Severity::Error => self.said.complain(level, message.as_bytes()),
            _ => self.said.log(level, message.as_bytes()),
        }
        Ok(())
    }

    fn count(&mut self, counter: String, amount: u64) -> wasmtime::Result<()> {
        self.said.count(counter, amount);
        Ok(())
    }

    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(super::wasi::wall_nanoseconds())
    }

    fn compile_pattern(&mut self, expression: String, check: types::Check) -> Result<u32, Refusal> {
        self.configuring("compile-pattern")?;
        let check = match check {
            types::Check::None => document::Check::None,
            types::Check::Luhn => document::Check::Luhn,
            types::Check::Iban => document::Check::Iban,
        };
        let number = self.room_for_another(self.patterns.len(), "patterns")?;
        self.patterns.push(self.role.pattern(&expression, check).map_err(Refusal::bad_argument)?);
        self.until.check()?;
        Ok(number)
    }

    fn prepare_hash_key(&mut self, key: Vec<u8>, previous: Option<Vec<u8>>) -> Result<u32, Refusal> {
        self.configuring("prepare-hash-key")?;
        let number = self.room_for_another(self.hash_keys.len(), "hash keys")?;
        let key = document::HashKey::new(&key, previous.as_deref()).map_err(Refusal::bad_argument)?;
        self.hash_keys.push(key);
        Ok(number)
    }
}

impl State {
    fn configuring(&self, function: &str) -> Result<(), Refusal> {
        match self.phase {
            Phase::Configure => Ok(()),
            _ => Err(Refusal::unsupported(format!("`{function}` is for `configure` only"))),
        }
    }

    /// The number of the next pattern or key.
    fn room_for_another(&self, count: usize, what: &str) -> Result<u32, Refusal> {
        let most = self.role.limits.patterns;
        match u32::try_from(count) {
            Ok(number) if number < most => Ok(number),
            _ => Err(Refusal::bad_argument(format!("more than {most} {what} (limits.patterns)"))),
        }
    }
}

impl batch::Host for State {
    fn carries(&mut self) -> wasmtime::Result<types::Signal> {
        use crate::otlp::Signal;
        match self.look("carries")?.signal() {
            Signal::Logs => Ok(types::Signal::Logs),
            Signal::Traces => Ok(types::Signal::Traces),
            Signal::Metrics => Ok(types::Signal::Metrics),
            Signal::Profiles => Err(Stop::OutOfTurn("carries").into()), // no plugin can ask for them
        }
    }

    fn count(&mut self, level: types::Level) -> wasmtime::Result<u32> {
        let answer = self.look("count")?.count(level.into());
        self.answer_anyway(answer)
    }

    fn parents(&mut self, level: types::Level) -> wasmtime::Result<Vec<u32>> {
        let answer = self.look("parents")?.parents(level.into());
        self.answer_anyway(answer)
    }

    fn set(&mut self, column: types::Column, value: types::Value, rows: types::Rows) -> Result<(), Refusal> {
        let answer = self.edit("set")?.set(&column.into(), &value.into(), &rows.into());
        self.answer(answer)
    }

    fn insert(
        &mut self,
        column: types::Column,
        value: types::Value,
        rows: types::Rows,
    ) -> Result<(), Refusal> {
        let answer = self.edit("insert")?.insert(&column.into(), &value.into(), &rows.into());
        self.answer(answer)
    }

    fn update(
        &mut self,
        column: types::Column,
        value: types::Value,
        rows: types::Rows,
    ) -> Result<(), Refusal> {
        let answer = self.edit("update")?.update(&column.into(), &value.into(), &rows.into());
        self.answer(answer)
    }

    fn update_keys(
        &mut self,
        level: types::Level,
        keys: types::Pattern,
        value: types::Value,
        rows: types::Rows,
    ) -> Result<(), Refusal> {
        let keys = self.pattern("update-keys", keys)?;
        let answer = self.edit("update-keys")?.update_keys(level.into(), &keys, &value.into(), &rows.into());
        self.answer(answer)
    }

    fn remove(&mut self, column: types::Column, rows: types::Rows) -> Result<(), Refusal> {
        let answer = self.edit("remove")?.remove(&column.into(), &rows.into());
        self.answer(answer)
    }

    fn remove_keys(
        &mut self,
        level: types::Level,
        keys: types::Pattern,
        rows: types::Rows,
    ) -> Result<(), Refusal> {
        let keys = self.pattern("remove-keys", keys)?;
        let answer = self.edit("remove-keys")?.remove_keys(level.into(), &keys, &rows.into());
        self.answer(answer)
    }

    fn keep_keys(
        &mut self,
        level: types::Level,
        keys: types::Pattern,
        rows: types::Rows,
    ) -> Result<(), Refusal> {
        let keys = self.pattern("keep-keys", keys)?;
        let answer = self.edit("keep-keys")?.keep_keys(level.into(), &keys, &rows.into());
        self.answer(answer)
    }

    fn rename(
        &mut self,
        level: types::Level,
        key: String,
        to: String,
        rows: types::Rows,
    ) -> Result<(), Refusal> {
        let answer = self.edit("rename")?.rename(level.into(), &key, &to, &rows.into());
        self.answer(answer)
    }

    fn rename_keys(
        &mut self,
        level: types::Level,
        keys: types::Pattern,
        to: String,
        rows: types::Rows,
    ) -> Result<(), Refusal> {
        let keys = self.pattern("rename-keys", keys)?;
        let answer = self.edit("rename-keys")?.rename_keys(level.into(), &keys, &to, &rows.into());
        self.answer(answer)
    }

    fn copy(&mut self, source: types::Column, to: types::Column, rows: types::Rows) -> Result<(), Refusal> {
        let answer = self.edit("copy")?.copy(&source.into(), &to.into(), &rows.into());
        self.answer(answer)
    }

    fn copy_keys(
        &mut self,
        level: types::Level,
        keys: types::Pattern,
        to: String,
        rows: types::Rows,
    ) -> Result<(), Refusal> {
        let keys = self.pattern("copy-keys", keys)?;
        let answer = self.edit("copy-keys")?.copy_keys(level.into(), &keys, &to, &rows.into());
        self.answer(answer)
    }

    fn hash(
        &mut self,
        column: types::Column,
        key: Option<types::HashKey>,
        rows: types::Rows,
    ) -> Result<(), Refusal> {
        let key = key.map(|key| self.hash_key("hash", key)).transpose()?;
        let answer = self.edit("hash")?.hash(&column.into(), key.as_ref(), &rows.into());
        self.answer(answer)
    }

    fn hash_keys(
        &mut self,
        level: types::Level,
        keys: types::Pattern,
        key: Option<types::HashKey>,
        rows: types::Rows,
    ) -> Result<(), Refusal> {
        let keys = self.pattern("hash-keys", keys)?;
        let key = key.map(|key| self.hash_key("hash-keys", key)).transpose()?;
        let answer = self.edit("hash-keys")?.hash_keys(level.into(), &keys, key.as_ref(), &rows.into());
        self.answer(answer)
    }

    fn extract(
        &mut self,
        source: types::Column,
        pattern: types::Pattern,
        into: Vec<types::Capture>,
        rows: types::Rows,
    ) -> Result<types::Extracted, Refusal> {
        let pattern = self.pattern("extract", pattern)?;
        let into: Vec<_> = into
            .into_iter()
            .map(|capture| document::Capture { group: capture.group, to: capture.to.into() })
            .collect();
        let answer = self.edit("extract")?.extract(&source.into(), &pattern, &into, &rows.into());
        let document::Extracted { matched, invalid } = self.answer(answer)?;
        Ok(types::Extracted { matched, invalid })
    }

    fn redact(
        &mut self,
        redactions: Vec<types::Redaction>,
        selection: types::Selection,
    ) -> Result<Vec<u64>, Refusal> {
        let redactions = self.redactions("redact", redactions)?;
        let pattern = |number: Option<_>| number.map(|number| self.pattern("redact", number)).transpose();
        let selection = document::Selection {
            places: selection.places.into(),
            only_keys: pattern(selection.only_keys)?,
            except_keys: pattern(selection.except_keys)?,
        };
        let answer = self.edit("redact")?.redact(&redactions, &selection);
        self.answer(answer)
    }

    fn redact_keys(&mut self, keys: types::Pattern, action: types::Action) -> Result<u64, Refusal> {
        let (keys, action) = (self.pattern("redact-keys", keys)?, self.action("redact-keys", action)?);
        let answer = self.edit("redact-keys")?.redact_keys(&keys, &action);
        self.answer(answer)
    }

    fn redact_cells(
        &mut self,
        column: types::Column,
        redactions: Vec<types::Redaction>,
        rows: types::Rows,
    ) -> Result<Vec<u64>, Refusal> {
        let redactions = self.redactions("redact-cells", redactions)?;
        let answer = self.edit("redact-cells")?.redact_cells(&column.into(), &redactions, &rows.into());
        self.answer(answer)
    }

    fn remove_unknown_fields(&mut self) -> Result<u64, Refusal> {
        let answer = self.edit("remove-unknown-fields")?.remove_unknown_fields();
        self.answer(answer)
    }

    fn find(
        &mut self,
        column: types::Column,
        test: types::Test,
        rows: types::Rows,
    ) -> Result<Vec<u32>, Refusal> {
        let test = match test {
            types::Test::Present => document::Test::Present,
            types::Test::Absent => document::Test::Absent,
            types::Test::Equals(value) => document::Test::Equals(value.into()),
            types::Test::Matches(pattern) => document::Test::Matches(self.pattern("find", pattern)?),
            types::Test::AtLeast(number) => document::Test::AtLeast(number),
            types::Test::Below(number) => document::Test::Below(number),
        };
        let answer = self.look("find")?.find(&column.into(), &test, &rows.into());
        self.answer(answer)
    }

    fn discard(&mut self, level: types::Level, rows: types::Rows) -> Result<(), Refusal> {
        let answer = self.edit("discard")?.discard(level.into(), &rows.into());
        self.answer(answer)
    }

    fn route(
        &mut self,
        level: types::Level,
        rows: types::Rows,
        mut destinations: Vec<String>,
    ) -> Result<(), Refusal> {
        self.edit("route")?;
        destinations.sort_unstable();
        destinations.dedup();
        if destinations.is_empty() {
            return Err(Refusal::bad_argument("no destination: what should go nowhere is discarded"));
        }
        for destination in &destinations {
            if destination != DEFAULT_DESTINATION && !self.destinations.contains(destination) {
                let known = self.destinations.iter().map(|known| format!(", `{known}`"));
                return Err(Refusal::bad_argument(format!(
                    "`{}` is no destination that the plugin registered; there are: `{}`{}",
                    self.role.secrets.printable(destination.as_bytes(), 64),
                    DEFAULT_DESTINATION,
                    known.collect::<String>(),
                )));
            }
        }
        let answer = self.edit("route")?.route(level.into(), &rows.into(), &destinations);
        self.answer(answer)
    }

    fn read_text(&mut self, column: types::Column, rows: types::Rows) -> Result<types::Cells, Refusal> {
        let answer = self.look("read-text")?.read_text(&column.into(), &rows.into());
        self.answer(answer).map(Into::into)
    }

    fn read_texts(
        &mut self,
        column: types::Column,
        rows: types::Rows,
    ) -> Result<Vec<Option<String>>, Refusal> {
        let answer = self.look("read-texts")?.read_texts(&column.into(), &rows.into());
        self.answer(answer)
    }

    fn read_bytes(&mut self, column: types::Column, rows: types::Rows) -> Result<types::Cells, Refusal> {
        let answer = self.look("read-bytes")?.read_bytes(&column.into(), &rows.into());
        self.answer(answer).map(Into::into)
    }

    fn read_ints(&mut self, column: types::Column, rows: types::Rows) -> Result<types::Ints, Refusal> {
        let answer = self.look("read-ints")?.read_ints(&column.into(), &rows.into());
        let document::Ints { values, present } = self.answer(answer)?;
        Ok(types::Ints { values, present })
    }

    fn read_doubles(&mut self, column: types::Column, rows: types::Rows) -> Result<types::Doubles, Refusal> {
        let answer = self.look("read-doubles")?.read_doubles(&column.into(), &rows.into());
        let document::Doubles { values, present } = self.answer(answer)?;
        Ok(types::Doubles { values, present })
    }

    fn read_values(
        &mut self,
        column: types::Column,
        rows: types::Rows,
    ) -> Result<Vec<Option<types::Value>>, Refusal> {
        let answer = self.look("read-values")?.read_values(&column.into(), &rows.into());
        let values = self.answer(answer)?;
        Ok(values.into_iter().map(|value| value.map(Into::into)).collect())
    }

    fn write_text(
        &mut self,
        column: types::Column,
        cells: types::Cells,
        rows: types::Rows,
    ) -> Result<(), Refusal> {
        let cells = document::Cells { data: cells.data, offsets: cells.offsets };
        let answer = self.edit("write-text")?.write_text(&column.into(), &cells, &rows.into());
        self.answer(answer)
    }

    fn write_texts(
        &mut self,
        column: types::Column,
        cells: Vec<Option<String>>,
        rows: types::Rows,
    ) -> Result<(), Refusal> {
        let answer = self.edit("write-texts")?.write_texts(&column.into(), cells, &rows.into());
        self.answer(answer)
    }

    fn write_ints(
        &mut self,
        column: types::Column,
        cells: types::Ints,
        rows: types::Rows,
    ) -> Result<(), Refusal> {
        let cells = document::Ints { values: cells.values, present: cells.present };
        let answer = self.edit("write-ints")?.write_ints(&column.into(), &cells, &rows.into());
        self.answer(answer)
    }

    fn write_doubles(
        &mut self,
        column: types::Column,
        cells: types::Doubles,
        rows: types::Rows,
    ) -> Result<(), Refusal> {
        let cells = document::Doubles { values: cells.values, present: cells.present };
        let answer = self.edit("write-doubles")?.write_doubles(&column.into(), &cells, &rows.into());
        self.answer(answer)
    }

    fn write_values(
        &mut self,
        column: types::Column,
        cells: Vec<Option<types::Value>>,
        rows: types::Rows,
    ) -> Result<(), Refusal> {
        let cells: Vec<_> = cells.into_iter().map(|value| value.map(Into::into)).collect();
        let answer = self.edit("write-values")?.write_values(&column.into(), cells, &rows.into());
        self.answer(answer)
    }

    fn get_cell(
        &mut self,
        level: types::Level,
        row: u32,
        target: types::Target,
    ) -> Result<Option<types::Value>, Refusal> {
        let answer = self.look("get-cell")?.get_cell(level.into(), row, &target.into());
        Ok(self.answer(answer)?.map(Into::into))
    }

    fn set_cell(
        &mut self,
        level: types::Level,
        row: u32,
        target: types::Target,
        value: types::Value,
    ) -> Result<(), Refusal> {
        let answer = self.edit("set-cell")?.set_cell(level.into(), row, &target.into(), &value.into());
        self.answer(answer)
    }

    fn remove_cell(&mut self, level: types::Level, row: u32, target: types::Target) -> Result<(), Refusal> {
        let answer = self.edit("remove-cell")?.remove_cell(level.into(), row, &target.into());
        self.answer(answer)
    }

    fn attributes(&mut self, level: types::Level, row: u32) -> Result<Vec<types::KeyValue>, Refusal> {
        let answer = self.look("attributes")?.attributes(level.into(), row);
        let attributes = self.answer(answer)?;
        let attributes = attributes
            .into_iter()
            .map(|attribute| types::KeyValue { key: attribute.key, value: attribute.value.into() });
        Ok(attributes.collect())
    }

    fn to_otlp(&mut self) -> Result<Vec<u8>, Refusal> {
        let answer = self.look("to-otlp")?.to_otlp();
        self.answer(answer)
    }

    fn replace(&mut self, otlp: Vec<u8>) -> Result<(), Refusal> {
        let answer = self.edit("replace")?.replace(otlp);
        self.answer(answer)
    }
}

impl From<types::Level> for document::Level {
    fn from(level: types::Level) -> Self {
        match level {
            types::Level::Resource => document::Level::Resource,
            types::Level::Scope => document::Level::Scope,
            types::Level::Metric => document::Level::Metric,
            types::Level::Record => document::Level::Record,
            types::Level::Event => document::Level::Event,
            types::Level::Link => document::Level::Link,
            types::Level::Exemplar => document::Level::Exemplar,
        }
    }
}

impl From<types::Field> for document::Field {
    fn from(field: types::Field) -> Self {
        match field {
            types::Field::Body => document::Field::Body,
            types::Field::Name => document::Field::Name,
            types::Field::Version => document::Field::Version,
            types::Field::SchemaUrl => document::Field::SchemaUrl,
            types::Field::SeverityNumber => document::Field::SeverityNumber,
            types::Field::SeverityText => document::Field::SeverityText,
            types::Field::EventName => document::Field::EventName,
            types::Field::TimeUnixNano => document::Field::TimeUnixNano,
            types::Field::ObservedTimeUnixNano => document::Field::ObservedTimeUnixNano,
            types::Field::StartTimeUnixNano => document::Field::StartTimeUnixNano,
            types::Field::EndTimeUnixNano => document::Field::EndTimeUnixNano,
            types::Field::TraceId => document::Field::TraceId,
            types::Field::SpanId => document::Field::SpanId,
            types::Field::ParentSpanId => document::Field::ParentSpanId,
            types::Field::TraceState => document::Field::TraceState,
            types::Field::Kind => document::Field::Kind,
            types::Field::StatusCode => document::Field::StatusCode,
            types::Field::StatusMessage => document::Field::StatusMessage,
            types::Field::Flags => document::Field::Flags,
            types::Field::Unit => document::Field::Unit,
            types::Field::Description => document::Field::Description,
            types::Field::Number => document::Field::Number,
        }
    }
}

impl From<types::Target> for document::Target {
    fn from(target: types::Target) -> Self {
        match target {
            types::Target::Attribute(key) => document::Target::Attribute(key),
            types::Target::BuiltIn(field) => document::Target::Field(field.into()),
        }
    }
}

impl From<types::Column> for document::Column {
    fn from(column: types::Column) -> Self {
        Self { level: column.level.into(), target: column.target.into() }
    }
}

impl From<types::Rows> for document::Rows {
    fn from(rows: types::Rows) -> Self {
        match rows {
            types::Rows::All => document::Rows::All,
            types::Rows::Only(indexes) => document::Rows::Only(indexes),
            types::Rows::Under(parents) => document::Rows::Under(parents.level.into(), parents.indexes),
        }
    }
}

impl From<types::Value> for document::Value {
    fn from(value: types::Value) -> Self {
        match value {
            types::Value::Empty => document::Value::Empty,
            types::Value::Text(text) => document::Value::Text(text),
            types::Value::Boolean(boolean) => document::Value::Boolean(boolean),
            types::Value::Int(int) => document::Value::Int(int),
            types::Value::Double(double) => document::Value::Double(double),
            types::Value::Bytes(bytes) => document::Value::Bytes(bytes),
            types::Value::Encoded(bytes) => document::Value::Encoded(bytes),
        }
    }
}

impl From<document::Value> for types::Value {
    fn from(value: document::Value) -> Self {
        match value {
            document::Value::Empty => types::Value::Empty,
            document::Value::Text(text) => types::Value::Text(text),
            document::Value::Boolean(boolean) => types::Value::Boolean(boolean),
            document::Value::Int(int) => types::Value::Int(int),
            document::Value::Double(double) => types::Value::Double(double),
            document::Value::Bytes(bytes) => types::Value::Bytes(bytes),
            document::Value::Encoded(bytes) => types::Value::Encoded(bytes),
        }
    }
}

impl From<document::Cells> for types::Cells {
    fn from(cells: document::Cells) -> Self {
        Self { data: cells.data, offsets: cells.offsets }
    }
}

impl From<types::Places> for document::Places {
    fn from(places: types::Places) -> Self {
        use types::Places;
        Self {
            attribute_values: places.contains(Places::ATTRIBUTE_VALUES),
            attribute_keys: places.contains(Places::ATTRIBUTE_KEYS),
            integers: places.contains(Places::INTEGERS),
            bodies: places.contains(Places::BODIES),
            names: places.contains(Places::NAMES),
            versions: places.contains(Places::VERSIONS),
            texts: places.contains(Places::TEXTS),
        }
    }
}
