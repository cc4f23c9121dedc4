//! Every operation of the contract, in any order, beside a model that does it the plain way.

use super::{
    super::*,
    generate::{Oddities, odd_batches},
    limits,
    model::{self, Leaves, Model, No, any_of, bytes_of_cell, hashed, masked, normal, value_of_cell},
};
use proptest::{collection::vec, prelude::*, sample::select};
use regex_automata::meta::Regex;

/// A call of a plugin.
#[derive(Debug, Clone)]
pub(super) enum Call {
    Set(Column, Value, Rows),
    Insert(Column, Value, Rows),
    Update(Column, Value, Rows),
    UpdateKeys(Level, &'static str, Value, Rows),
    Remove(Column, Rows),
    RemoveKeys(Level, &'static str, Rows),
    KeepKeys(Level, &'static str, Rows),
    Rename(Level, &'static str, &'static str, Rows),
    RenameKeys(Level, &'static str, &'static str, Rows),
    Copy(Column, Column, Rows),
    CopyKeys(Level, &'static str, &'static str, Rows),
    Hash(Column, bool, Rows),
    HashKeys(Level, &'static str, bool, Rows),
    Extract(Column, &'static str, Vec<(&'static str, Target)>, Rows),
    Redact(Places),
    RedactKeys(&'static str),
    RedactCells(Column, Rows),
    RemoveUnknownFields,
    Find(Column, Look, Rows),
    Discard(Level, Rows),
    Route(Level, Rows, Vec<&'static str>),
    ReadText(Column, Rows),
    ReadTexts(Column, Rows),
    ReadBytes(Column, Rows),
    ReadInts(Column, Rows),
    ReadDoubles(Column, Rows),
    ReadValues(Column, Rows),
    WriteText(Column, Vec<Option<&'static str>>, Rows),
    WriteTexts(Column, Vec<Option<&'static str>>, Rows),
    WriteInts(Column, Vec<Option<i64>>, Rows),
    WriteDoubles(Column, Vec<Option<f64>>, Rows),
    WriteValues(Column, Vec<Option<Value>>, Rows),
    GetCell(Level, u32, Target),
    SetCell(Level, u32, Target, Value),
    RemoveCell(Level, u32, Target),
    Attributes(Level, u32),
    Count(Level),
    Parents(Level),
    ToOtlp,
    /// With a batch of this signal.
    Replace(Signal, Vec<u8>),
}

/// A test, as far as it can be shown.
#[derive(Debug, Clone)]
pub(super) enum Look {
    Present,
    Absent,
    Equals(Value),
    Matches(&'static str),
    AtLeast(f64),
    Below(f64),
}

const KEYS: &[&str] = &["", "a", "service.name", "null", "SECRET", "new"];
const KEY_PATTERNS: &[&str] =
    &["^a$", "^a", "e", "", "^(s)ervice[.](n)ame$", "(?-u:\\xff)", "^(?<rest>.*)$", "SECRET"];
const RENAMED: &[&str] = &["", "b", "a", "x.$1", "${rest}.more", "$2$1$0", "$$"];
const TEXTS: &[&str] =
    &["", "a", "SECRET", "1234", "-5", "2.5", "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"];
const BYTES: &[&[u8]] = &[&[7; 16], &[1; 8], &[0; 16], b"SECRET \xff", b""];
const TEXT_PATTERNS: &[&str] =
    &["a", "(?<first>[a-z])(.)?", "([0-9]+)", ".*", "SE(CR)ET", "(?-u:(.\\xff)(.))"];
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

fn levels() -> impl Strategy<Value = Level> {
    prop_oneof![
        1 => select(&Level::ALL[..]),
        1 => Just(Level::Resource),
        3 => Just(Level::Record),
    ]
}

fn targets() -> impl Strategy<Value = Target> {
    let key = select(KEYS).prop_map(|key| Target::Attribute(key.to_owned()));
    prop_oneof![3 => key, 2 => select(FIELDS).prop_map(Target::Field)]
}

fn columns() -> impl Strategy<Value = Column> {
    (levels(), targets()).prop_map(|(level, target)| Column { level, target })
}

fn rows() -> impl Strategy<Value = Rows> {
    prop_oneof![
        5 => Just(Rows::All),
        3 => vec(0..4_u32, 0..4).prop_map(Rows::Only),
        1 => vec(0..9_u32, 0..9).prop_map(Rows::Only),
        2 => (select(&Level::ALL[..4]), vec(0..3_u32, 0..3)).prop_map(|(level, rows)| Rows::Under(level, rows)),
    ]
}

fn values() -> impl Strategy<Value = Value> {
    let encoded = [
        &b""[..],
        b"\x2a\x08\x0a\x06\x0a\x04SECR",
        b"\x32\x05\x0a\x03\x0a\x01k",
        b"\x0a\x05no",
        b"\x9a\x01\x00",
    ];
    prop_oneof![
        1 => Just(Value::Empty),
        4 => select(TEXTS).prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::Boolean),
        2 => select(&[0, 1, 5, -1, i64::MAX, i64::MIN, 4_294_967_295][..]).prop_map(Value::Int),
        1 => select(&[0.0, 2.5, f64::NAN][..]).prop_map(Value::Double),
        1 => select(BYTES).prop_map(|bytes| Value::Bytes(bytes.to_vec())),
        1 => select(encoded.to_vec()).prop_map(|any| Value::Encoded(any.to_vec())),
    ]
}

fn looks() -> impl Strategy<Value = Look> {
    prop_oneof![
        Just(Look::Present),
        Just(Look::Absent),
        values().prop_map(Look::Equals),
        select(TEXT_PATTERNS).prop_map(Look::Matches),
        select(&[0.0, 1.0, f64::NAN][..]).prop_map(Look::AtLeast),
        select(&[0.0, 1e300][..]).prop_map(Look::Below),
    ]
}

fn places() -> impl Strategy<Value = Places> {
    any::<[bool; 6]>().prop_map(|[attribute_values, attribute_keys, bodies, names, versions, texts]| Places {
        attribute_values,
        attribute_keys,
        integers: false,
        bodies,
        names,
        versions,
        texts,
    })
}

pub(super) fn calls() -> impl Strategy<Value = Call> {
    let keys = || select(KEY_PATTERNS);
    let edits = prop_oneof![
        3 => (columns(), values(), rows()).prop_map(|(c, v, r)| Call::Set(c, v, r)),
        2 => (columns(), values(), rows()).prop_map(|(c, v, r)| Call::Insert(c, v, r)),
        2 => (columns(), values(), rows()).prop_map(|(c, v, r)| Call::Update(c, v, r)),
        1 => (levels(), keys(), values(), rows()).prop_map(|(l, k, v, r)| Call::UpdateKeys(l, k, v, r)),
        3 => (columns(), rows()).prop_map(|(c, r)| Call::Remove(c, r)),
        1 => (levels(), keys(), rows()).prop_map(|(l, k, r)| Call::RemoveKeys(l, k, r)),
        1 => (levels(), keys(), rows()).prop_map(|(l, k, r)| Call::KeepKeys(l, k, r)),
        2 => (levels(), select(KEYS), select(KEYS), rows()).prop_map(|(l, k, t, r)| Call::Rename(l, k, t, r)),
        2 => (levels(), keys(), select(RENAMED), rows()).prop_map(|(l, k, t, r)| Call::RenameKeys(l, k, t, r)),
        3 => (columns(), columns(), rows()).prop_map(|(s, t, r)| Call::Copy(s, t, r)),
        2 => (columns(), targets(), rows()).prop_map(|(s, target, r)| {
            let to = Column { level: s.level, target };
            Call::Copy(s, to, r)
        }),
        1 => (levels(), keys(), select(RENAMED), rows()).prop_map(|(l, k, t, r)| Call::CopyKeys(l, k, t, r)),
        2 => (columns(), any::<bool>(), rows()).prop_map(|(c, k, r)| Call::Hash(c, k, r)),
        1 => (levels(), keys(), any::<bool>(), rows()).prop_map(|(l, k, keyed, r)| Call::HashKeys(l, k, keyed, r)),
        3 => (columns(), select(TEXT_PATTERNS), vec((select(&["0", "1", "2", "first"][..]), targets()), 0..3), rows())
            .prop_map(|(c, p, into, r)| Call::Extract(c, p, into, r)),
        2 => places().prop_map(Call::Redact),
        1 => keys().prop_map(Call::RedactKeys),
        2 => (columns(), rows()).prop_map(|(c, r)| Call::RedactCells(c, r)),
        1 => Just(Call::RemoveUnknownFields),
    ];
    let reads = prop_oneof![
        2 => (columns(), looks(), rows()).prop_map(|(c, l, r)| Call::Find(c, l, r)),
        1 => (columns(), rows()).prop_map(|(c, r)| Call::ReadText(c, r)),
        1 => (columns(), rows()).prop_map(|(c, r)| Call::ReadTexts(c, r)),
        1 => (columns(), rows()).prop_map(|(c, r)| Call::ReadBytes(c, r)),
        1 => (columns(), rows()).prop_map(|(c, r)| Call::ReadInts(c, r)),
        1 => (columns(), rows()).prop_map(|(c, r)| Call::ReadDoubles(c, r)),
        1 => (columns(), rows()).prop_map(|(c, r)| Call::ReadValues(c, r)),
        1 => (levels(), 0..5_u32, targets()).prop_map(|(l, r, t)| Call::GetCell(l, r, t)),
        1 => (levels(), 0..5_u32).prop_map(|(l, r)| Call::Attributes(l, r)),
        1 => levels().prop_map(Call::Count),
        1 => levels().prop_map(Call::Parents),
        2 => Just(Call::ToOtlp),
    ];
    let cells = || vec(prop::option::of(select(TEXTS)), 0..4);
    let writes = prop_oneof![
        1 => (columns(), cells(), rows()).prop_map(|(c, w, r)| Call::WriteText(c, w, r)),
        1 => (columns(), cells(), rows()).prop_map(|(c, w, r)| Call::WriteTexts(c, w, r)),
        1 => (columns(), vec(prop::option::of(-1..3_i64), 0..4), rows()).prop_map(|(c, w, r)| Call::WriteInts(c, w, r)),
        1 => (columns(), vec(prop::option::of(-1.0..3.0), 0..4), rows()).prop_map(|(c, w, r)| Call::WriteDoubles(c, w, r)),
        1 => (columns(), vec(prop::option::of(values()), 0..4), rows()).prop_map(|(c, w, r)| Call::WriteValues(c, w, r)),
        2 => (levels(), 0..5_u32, targets(), values()).prop_map(|(l, r, t, v)| Call::SetCell(l, r, t, v)),
        1 => (levels(), 0..5_u32, targets()).prop_map(|(l, r, t)| Call::RemoveCell(l, r, t)),
    ];
    let moves = prop_oneof![
        2 => (levels(), rows()).prop_map(|(l, r)| Call::Discard(l, r)),
        3 => (levels(), rows(), vec(select(&["archive", "other", "default"][..]), 0..3)).prop_map(|(l, r, d)| Call::Route(l, r, d)),
        1 => odd_batches(Oddities { broken_texts: true }).prop_map(|(signal, bytes)| Call::Replace(signal, bytes)),
        1 => select(&Signal::ALL[..3]).prop_map(|signal| Call::Replace(signal, b"\x0a\x7f".to_vec())),
    ];
    prop_oneof![5 => edits, 3 => reads, 2 => writes, 2 => moves]
}

pub(super) fn pattern(expression: &str) -> Pattern {
    Pattern::compile(expression, Check::None, 1 << 20).unwrap()
}

fn regex(expression: &str) -> Regex {
    Regex::builder()
        .configure(regex_automata::meta::Config::new().utf8_empty(false))
        .syntax(regex_automata::util::syntax::Config::new().utf8(false))
        .build(expression)
        .unwrap()
}

fn hash_key() -> HashKey {
    HashKey::new(b"0123456789abcdef", Some(b"fedcba9876543210")).unwrap()
}

pub(super) fn secret() -> [Redaction; 1] {
    [Redaction { pattern: pattern("SECRET"), action: Action::Mask("[gone]".to_owned()) }]
}

/// What an operation gave, in words.
type Answer = Result<String, No>;

fn answer(given: Edited<String>) -> Answer {
    match given {
        Ok(given) => Ok(given),
        Err(EditError::BadArgument(_)) => Err(No::Bad),
        Err(EditError::Unsupported(_)) => Err(No::Unsupported),
        Err(other) => panic!("{other}"),
    }
}

fn words<T: std::fmt::Debug>(given: T) -> Answer {
    Ok(format!("{given:?}"))
}

impl Call {
    /// Whether it can be made: the model knows well-formed records only.
    fn is_for(&self, signal: Signal) -> bool {
        !matches!(self, Call::Replace(of, _) if *of != signal)
    }

    /// Calls the batch.
    pub(super) fn make(&self, batch: &mut Batch) -> Edited<String> {
        fn told<T: std::fmt::Debug>(given: T) -> String {
            format!("{given:?}")
        }
        let key = hash_key();
        let key = |keyed: bool| keyed.then_some(&key);
        let owned = |texts: &[Option<&str>]| texts.iter().map(|text| text.map(str::to_owned)).collect();
        match self {
            Call::Set(column, value, rows) => batch.set(column, value, rows).map(told),
            Call::Insert(column, value, rows) => batch.insert(column, value, rows).map(told),
            Call::Update(column, value, rows) => batch.update(column, value, rows).map(told),
            Call::UpdateKeys(level, keys, value, rows) => {
                batch.update_keys(*level, &pattern(keys), value, rows).map(told)
            }
            Call::Remove(column, rows) => batch.remove(column, rows).map(told),
            Call::RemoveKeys(level, keys, rows) => batch.remove_keys(*level, &pattern(keys), rows).map(told),
            Call::KeepKeys(level, keys, rows) => batch.keep_keys(*level, &pattern(keys), rows).map(told),
            Call::Rename(level, key, to, rows) => batch.rename(*level, key, to, rows).map(told),
            Call::RenameKeys(level, keys, to, rows) => {
                batch.rename_keys(*level, &pattern(keys), to, rows).map(told)
            }
            Call::Copy(source, to, rows) => batch.copy(source, to, rows).map(told),
            Call::CopyKeys(level, keys, to, rows) => {
                batch.copy_keys(*level, &pattern(keys), to, rows).map(told)
            }
            Call::Hash(column, keyed, rows) => batch.hash(column, key(*keyed), rows).map(told),
            Call::HashKeys(level, keys, keyed, rows) => {
                batch.hash_keys(*level, &pattern(keys), key(*keyed), rows).map(told)
            }
            Call::Extract(column, text, into, rows) => {
                let capture =
                    |(group, to): &(&str, Target)| Capture { group: (*group).to_owned(), to: to.clone() };
                let into: Vec<Capture> = into.iter().map(capture).collect();
                batch.extract(column, &pattern(text), &into, rows).map(told)
            }
            Call::Redact(places) => {
                let selection = Selection { places: *places, only_keys: None, except_keys: None };
                batch.redact(&secret(), &selection).map(told)
            }
            Call::RedactKeys(keys) => {
                batch.redact_keys(&pattern(keys), &Action::Mask("[gone]".to_owned())).map(told)
            }
            Call::RedactCells(column, rows) => batch.redact_cells(column, &secret(), rows).map(told),
            Call::RemoveUnknownFields => batch.remove_unknown_fields().map(told),
            Call::Find(column, look, rows) => {
                let test = match look {
                    Look::Present => Test::Present,
                    Look::Absent => Test::Absent,
                    Look::Equals(value) => Test::Equals(value.clone()),
                    Look::Matches(text) => Test::Matches(pattern(text)),
                    Look::AtLeast(limit) => Test::AtLeast(*limit),
                    Look::Below(limit) => Test::Below(*limit),
                };
                batch.find(column, &test, rows).map(told)
            }
            Call::Discard(level, rows) => batch.discard(*level, rows).map(told),
            Call::Route(level, rows, to) => {
                let to: Vec<String> = to.iter().map(|&to| to.to_owned()).collect();
                batch.route(*level, rows, &to).map(told)
            }
            Call::ReadText(column, rows) => batch.read_text(column, rows).map(told),
            Call::ReadTexts(column, rows) => batch.read_texts(column, rows).map(told),
            Call::ReadBytes(column, rows) => batch.read_bytes(column, rows).map(told),
            Call::ReadInts(column, rows) => batch.read_ints(column, rows).map(told),
            Call::ReadDoubles(column, rows) => batch.read_doubles(column, rows).map(told),
            Call::ReadValues(column, rows) => batch.read_values(column, rows).map(told),
            Call::WriteText(column, texts, rows) => batch.write_text(column, &cells(texts), rows).map(told),
            Call::WriteTexts(column, texts, rows) => batch.write_texts(column, owned(texts), rows).map(told),
            Call::WriteInts(column, ints, rows) => {
                let present = ints.iter().map(Option::is_some).collect();
                let values = ints.iter().map(|int| int.unwrap_or_default()).collect();
                batch.write_ints(column, &Ints { values, present }, rows).map(told)
            }
            Call::WriteDoubles(column, doubles, rows) => {
                let present = doubles.iter().map(Option::is_some).collect();
                let values = doubles.iter().map(|double| double.unwrap_or_default()).collect();
                batch.write_doubles(column, &Doubles { values, present }, rows).map(told)
            }
            Call::WriteValues(column, values, rows) => {
                batch.write_values(column, values.clone(), rows).map(told)
            }
            Call::GetCell(level, row, target) => batch.get_cell(*level, *row, target).map(told),
            Call::SetCell(level, row, target, value) => batch.set_cell(*level, *row, target, value).map(told),
            Call::RemoveCell(level, row, target) => batch.remove_cell(*level, *row, target).map(told),
            Call::Attributes(level, row) => batch.attributes(*level, *row).map(told),
            Call::Count(level) => batch.count(*level).map(told),
            Call::Parents(level) => batch.parents(*level).map(told),
            // It is compared by itself.
            Call::ToOtlp => batch.to_otlp().map(|_| told(())),
            Call::Replace(_, bytes) => batch.replace(bytes.clone()).map(told),
        }
    }

    /// Does the same to the model.
    fn tell(&self, model: &mut Model) -> Answer {
        match self {
            Call::Set(column, value, rows) => model.set(column, value, rows, |_| true),
            Call::Insert(column, value, rows) => model.set(column, value, rows, |is_there| !is_there),
            Call::Update(column, value, rows) => model.set(column, value, rows, |is_there| is_there),
            Call::SetCell(level, row, target, value) => {
                let column = Column { level: *level, target: target.clone() };
                model.set(&column, value, &Rows::Only(vec![*row]), |_| true)
            }
            Call::UpdateKeys(level, keys, value, rows) => {
                model.check_value(*level, &Target::Attribute(String::new()), value)?;
                let keys = regex(keys);
                model.each(*level, rows, |row| row.revalue(|key| keys.is_match(key), |_| any_of(value)))
            }
            Call::Remove(column, rows) => model.remove_all(column, rows),
            Call::RemoveCell(level, row, target) => {
                let column = Column { level: *level, target: target.clone() };
                model.remove_all(&column, &Rows::Only(vec![*row]))
            }
            Call::RemoveKeys(level, keys, rows) => {
                let keys = regex(keys);
                model.each(*level, rows, |row| row.retain(|field| !keys.is_match(&model::key_of(field))))
            }
            Call::KeepKeys(level, keys, rows) => {
                let keys = regex(keys);
                model.each(*level, rows, |row| row.retain(|field| keys.is_match(&model::key_of(field))))
            }
            Call::Rename(level, key, to, rows) => model.each(*level, rows, |row| {
                row.rekey(false, |known| (known == key.as_bytes()).then(|| to.as_bytes().to_vec()));
            }),
            Call::RenameKeys(level, keys, to, rows) => model.rekey(*level, keys, to, rows, false),
            Call::CopyKeys(level, keys, to, rows) => model.rekey(*level, keys, to, rows, true),
            Call::Copy(source, to, rows) => model.copy(source, to, rows),
            Call::Hash(column, keyed, rows) => model.hash(column, *keyed, rows),
            Call::HashKeys(level, keys, keyed, rows) => {
                let (keys, key) = (regex(keys), hash_key());
                model.each(*level, rows, |row| {
                    row.revalue(
                        |known| keys.is_match(known),
                        |any| {
                            let hashed = hashed(&model::Cell::Any(any.to_vec()), keyed.then_some(&key));
                            any_of(&Value::Text(String::from_utf8(hashed).unwrap()))
                        },
                    );
                })
            }
            Call::Extract(column, text, into, rows) => model.extract(column, text, into, rows),
            Call::Redact(places) => words([model.redact(b"SECRET", b"[gone]", *places)]),
            Call::RedactKeys(keys) => {
                let keys = regex(keys);
                words(model.redact_keys(|key| keys.is_match(key), &any_of(&"[gone]".into())))
            }
            Call::RedactCells(column, rows) => model.redact_cells(column, rows),
            Call::RemoveUnknownFields => words(model.remove_unknown()),
            Call::Find(column, look, rows) => {
                let mut found = model.cells(column, rows)?;
                found.retain(|(row, cell)| look.passes(cell.as_ref()) && !model.is_gone(column.level, *row));
                words(found.into_iter().map(|(row, _)| row as u32).collect::<Vec<_>>())
            }
            Call::Discard(level, rows) => {
                let chosen = model.choose(*level, rows)?;
                model.leave(*level, &chosen, &Leaves::Discarded);
                words(())
            }
            Call::Route(level, rows, to) => {
                if *level > Level::Record {
                    return Err(No::Unsupported);
                }
                let mut to: Vec<String> = to.iter().map(|&to| to.to_owned()).collect();
                to.sort();
                to.dedup();
                if to.is_empty() {
                    return Err(No::Bad);
                }
                let chosen = model.choose(*level, rows)?;
                model.leave(*level, &chosen, &Leaves::Routed(to));
                words(())
            }
            Call::ReadText(column, rows) => {
                let texts = model.texts(column, rows)?;
                let texts: Vec<Option<&str>> = texts.iter().map(Option::as_deref).collect();
                words(cells(&texts))
            }
            Call::ReadTexts(column, rows) => words(model.texts(column, rows)?),
            Call::ReadBytes(column, rows) => {
                let mut read = Cells::default();
                for (_, cell) in model.cells(column, rows)? {
                    match cell.as_ref().and_then(bytes_of_cell) {
                        None => read.offsets.extend([Cells::ABSENT; 2]),
                        Some(bytes) => {
                            read.offsets.push(read.data.len() as u32);
                            read.data.extend(bytes);
                            read.offsets.push(read.data.len() as u32);
                        }
                    }
                }
                words(read)
            }
            Call::ReadInts(column, rows) => {
                let ints = model.values(column, rows)?.into_iter();
                let ints: Vec<_> = ints
                    .map(|value| if let Some(Value::Int(int)) = value { Some(int) } else { None })
                    .collect();
                let present = ints.iter().map(Option::is_some).collect();
                words(Ints { values: ints.iter().map(|int| int.unwrap_or_default()).collect(), present })
            }
            Call::ReadDoubles(column, rows) => {
                let doubles: Vec<_> =
                    model.values(column, rows)?.iter().map(|value| double(value.as_ref())).collect();
                let present = doubles.iter().map(Option::is_some).collect();
                words(Doubles {
                    values: doubles.iter().map(|double| double.unwrap_or_default()).collect(),
                    present,
                })
            }
            Call::ReadValues(column, rows) => words(model.values(column, rows)?),
            Call::WriteText(column, texts, rows) | Call::WriteTexts(column, texts, rows) => model.write_each(
                column,
                rows,
                &texts.iter().map(|text| text.map(Value::from)).collect::<Vec<_>>(),
            ),
            Call::WriteInts(column, ints, rows) => model.write_each(
                column,
                rows,
                &ints.iter().map(|int| int.map(Value::Int)).collect::<Vec<_>>(),
            ),
            Call::WriteDoubles(column, doubles, rows) => model.write_each(
                column,
                rows,
                &doubles.iter().map(|double| double.map(Value::Double)).collect::<Vec<_>>(),
            ),
            Call::WriteValues(column, values, rows) => model.write_each(column, rows, values),
            Call::GetCell(level, row, target) => {
                model.check_target(*level, target)?;
                model.choose(*level, &Rows::Only(vec![*row]))?;
                words(model.read(*level, *row as usize, target).as_ref().map(value_of_cell))
            }
            Call::Attributes(level, row) => {
                model.choose(*level, &Rows::Only(vec![*row]))?;
                if model.is_gone(*level, *row as usize) {
                    return words(Vec::<KeyValue>::new());
                }
                let attributes = model.row(*level, *row as usize).attributes().map(|field| KeyValue {
                    key: String::from_utf8_lossy(&model::key_of(field)).into_owned(),
                    value: value_of_cell(&model::Cell::Any(model::value_of(field))),
                });
                words(attributes.collect::<Vec<_>>())
            }
            Call::Count(level) => words(model.count(*level) as u32),
            Call::Parents(Level::Resource) => words(Vec::<u32>::new()),
            Call::Parents(level) => {
                words(model.rows[*level as usize].iter().map(|row| row.parent as u32).collect::<Vec<_>>())
            }
            Call::ToOtlp => words(()),
            Call::Replace(_, bytes) => {
                Document::parse(model.signal, bytes::Bytes::from(bytes.clone())).map_err(|_| No::Bad)?;
                model.replace(bytes);
                words(())
            }
        }
    }
}

fn cells(texts: &[Option<&str>]) -> Cells {
    let mut cells = Cells::default();
    for text in texts {
        match text {
            None => cells.offsets.extend([Cells::ABSENT; 2]),
            Some(text) => {
                cells.offsets.push(cells.data.len() as u32);
                cells.data.extend(text.bytes());
                cells.offsets.push(cells.data.len() as u32);
            }
        }
    }
    cells
}

fn double(value: Option<&Value>) -> Option<f64> {
    match value? {
        Value::Int(int) => Some(*int as f64),
        Value::Double(double) => Some(*double),
        _ => None,
    }
}

impl Look {
    fn passes(&self, cell: Option<&model::Cell>) -> bool {
        let value = cell.map(value_of_cell);
        match self {
            Look::Present => cell.is_some(),
            Look::Absent => cell.is_none(),
            Look::Equals(wanted) => value.as_ref() == Some(wanted),
            Look::Matches(text) => {
                cell.and_then(bytes_of_cell).is_some_and(|bytes| regex(text).is_match(&bytes))
            }
            Look::AtLeast(limit) => double(value.as_ref()).is_some_and(|number| number >= *limit),
            Look::Below(limit) => double(value.as_ref()).is_some_and(|number| number < *limit),
        }
    }
}

impl Model {
    fn each(&mut self, level: Level, rows: &Rows, mut change: impl FnMut(&mut model::Row)) -> Answer {
        for row in self.choose(level, rows)? {
            if !self.is_gone(level, row) {
                change(self.row(level, row));
            }
        }
        words(())
    }

    fn set(&mut self, column: &Column, value: &Value, rows: &Rows, when: impl Fn(bool) -> bool) -> Answer {
        let chosen = self.choose(column.level, rows)?;
        if self.has_level(column.level) {
            self.check_value(column.level, &column.target, value)?;
        }
        for row in chosen {
            if when(self.read(column.level, row, &column.target).is_some()) {
                self.write(column.level, row, &column.target, value);
            }
        }
        words(())
    }

    fn remove_all(&mut self, column: &Column, rows: &Rows) -> Answer {
        self.check_target(column.level, &column.target)?;
        for row in self.choose(column.level, rows)? {
            self.remove(column.level, row, &column.target);
        }
        words(())
    }

    fn rekey(&mut self, level: Level, keys: &str, to: &str, rows: &Rows, copies: bool) -> Answer {
        let keys = regex(keys);
        self.each(level, rows, |row| {
            row.rekey(copies, |key| {
                let mut captures = keys.create_captures();
                keys.captures(key, &mut captures);
                let matched = captures.get_match()?;
                let mut out = key[..matched.start()].to_vec();
                captures.interpolate_bytes_into(key, to.as_bytes(), &mut out);
                out.extend(&key[matched.end()..]);
                Some(out)
            });
        })
    }

    fn copy(&mut self, source: &Column, to: &Column, rows: &Rows) -> Answer {
        self.check_target(source.level, &source.target)?;
        self.check_target(to.level, &to.target)?;
        // Only what is above a row can be copied to it.
        self.choose(to.level, &Rows::Under(source.level, Vec::new()))?;
        if !self.has_level(source.level) {
            return self.choose(to.level, rows).and_then(|_| words(()));
        }
        let copies: Vec<(usize, Option<model::Cell>)> = self
            .choose(to.level, rows)?
            .into_iter()
            .map(|row| {
                let above = self.ancestor(to.level, row, source.level)?;
                Ok((row, self.read(source.level, above, &source.target)))
            })
            .collect::<Result<_, No>>()?;
        for (row, cell) in copies {
            if let Some(cell) = cell {
                self.write_cell(to.level, row, &to.target, &cell);
            }
        }
        words(())
    }

    fn hash(&mut self, column: &Column, keyed: bool, rows: &Rows) -> Answer {
        self.check_target(column.level, &column.target)?;
        if self.has_level(column.level) {
            let is_text = self.check_value(column.level, &column.target, &"no id".into());
            is_text.map_err(|_| No::Unsupported)?;
        }
        let key = hash_key();
        for row in self.choose(column.level, rows)? {
            if let Some(cell) = self.read(column.level, row, &column.target) {
                self.write_text(column.level, row, &column.target, &hashed(&cell, keyed.then_some(&key)));
            }
        }
        words(())
    }

    fn extract(&mut self, column: &Column, text: &str, into: &[(&str, Target)], rows: &Rows) -> Answer {
        let level = column.level;
        self.check_target(level, &column.target)?;
        let text = regex(text);
        let mut captures = text.create_captures();
        let mut groups = Vec::new();
        for (group, to) in into {
            self.check_target(level, to)?;
            let named = captures.group_info().to_index(regex_automata::PatternID::ZERO, group);
            let numbered =
                group.parse().ok().filter(|number: &usize| *number < text.group_info().all_group_len());
            groups.push((numbered.or(named).ok_or(No::Bad)?, to));
        }
        let mut done = Extracted::default();
        for row in self.choose(level, rows)? {
            let Some(bytes) = self.read(level, row, &column.target).as_ref().and_then(bytes_of_cell) else {
                continue;
            };
            text.captures(&bytes[..], &mut captures);
            done.matched += u32::from(captures.is_match());
            for (group, to) in &groups {
                if let Some(group) = captures.get_group(*group) {
                    done.invalid += u32::from(!self.write_text(level, row, to, &bytes[group.range()]));
                }
            }
        }
        words(done)
    }

    fn redact_cells(&mut self, column: &Column, rows: &Rows) -> Answer {
        let Column { level, target } = column;
        self.check_target(*level, target)?;
        let mut count = 0;
        for row in self.choose(*level, rows)? {
            let before = count;
            match self.read(*level, row, target) {
                Some(model::Cell::Any(any)) => {
                    let any = masked(&any, b"SECRET", b"[gone]", &mut count);
                    if count > before {
                        self.write(*level, row, target, &Value::Encoded(any));
                    }
                }
                Some(model::Cell::Text(text)) => {
                    let any = masked(&any_of(&Value::Bytes(text)), b"SECRET", b"[gone]", &mut count);
                    if count > before {
                        let text = model::parse(&any)[0].content.clone();
                        self.write_field(*level, row, target, &text);
                    }
                }
                _ => {}
            }
        }
        words([count])
    }

    fn cells(&self, column: &Column, rows: &Rows) -> Result<Vec<(usize, Option<model::Cell>)>, No> {
        self.check_target(column.level, &column.target)?;
        let chosen = self.choose(column.level, rows)?.into_iter();
        Ok(chosen.map(|row| (row, self.read(column.level, row, &column.target))).collect())
    }

    fn values(&self, column: &Column, rows: &Rows) -> Result<Vec<Option<Value>>, No> {
        Ok(self.cells(column, rows)?.iter().map(|(_, cell)| cell.as_ref().map(value_of_cell)).collect())
    }

    fn texts(&self, column: &Column, rows: &Rows) -> Result<Vec<Option<String>>, No> {
        let text = |value| if let Some(Value::Text(text)) = value { Some(text) } else { None };
        Ok(self.values(column, rows)?.into_iter().map(text).collect())
    }

    fn write_each(&mut self, column: &Column, rows: &Rows, values: &[Option<Value>]) -> Answer {
        let Column { level, target } = column;
        self.check_target(*level, target)?;
        let chosen = self.choose(*level, rows)?;
        if chosen.len() != values.len() {
            return Err(No::Bad);
        }
        for value in values.iter().flatten() {
            self.check_value(*level, target, value)?;
        }
        for (row, value) in chosen.into_iter().zip(values) {
            if let Some(value) = value {
                self.write(*level, row, target, value);
            }
        }
        words(())
    }
}

/// A batch, and the model of it.
struct Pair {
    batch: Batch,
    model: Model,
    records: u64,
}

impl Pair {
    fn new(signal: Signal, bytes: &[u8]) -> Self {
        let document = Document::parse(signal, bytes::Bytes::from(bytes.to_vec())).unwrap();
        let records = document.records();
        let mut batch = Batch::new(document);
        batch.begin(limits());
        Self { batch, model: Model::parse(signal, bytes), records }
    }

    fn call(&mut self, call: &Call) {
        if !call.is_for(self.model.signal) {
            return;
        }
        let before = self.model.clone();
        let told = call.tell(&mut self.model);
        if told.is_err() {
            self.model = before; // nothing was changed
        }
        assert_eq!(answer(call.make(&mut self.batch)), told, "{call:?}");
        if matches!(call, Call::ToOtlp) {
            let bytes = self.batch.to_otlp().unwrap();
            self.compare(&bytes);
        }
        if matches!(call, Call::Replace(..)) && told.is_ok() {
            self.records = self.batch.records();
        }
    }

    fn compare(&mut self, bytes: &[u8]) {
        same(&self.model, bytes, &self.model.part(&Leaves::No).unwrap());
    }

    /// The turn ends, and what it did is what the model did.
    fn commit(&mut self) {
        let effects = self.batch.commit().unwrap();
        let (discarded, mut routed) = self.model.leave_now();
        let of_this: u64 = routed.iter().map(|(_, records, _)| records).sum();
        assert_eq!(effects.discarded, discarded);
        let mut left: Vec<_> =
            effects.routed.into_iter().map(|r| (r.destinations, r.records, r.message.to_bytes())).collect();
        left.sort();
        routed.sort();
        assert_eq!(left.len(), routed.len());
        for (left, routed) in left.iter().zip(&routed) {
            assert_eq!((&left.0, left.1), (&routed.0, routed.1));
            same(&self.model, &left.2, &routed.2);
            let document = Document::parse(self.batch.signal(), left.2.clone()).unwrap();
            assert_eq!(document.records(), left.1);
        }
        let stays = self.batch.message().to_bytes();
        let expected = self.model.part(&Leaves::No).unwrap();
        // Of a batch of which nothing stays, nothing stays.
        if !stays.is_empty() {
            same(&self.model, &stays, &expected);
        } else {
            assert!(Model::parse(self.model.signal, &expected).rows.iter().all(Vec::is_empty));
        }
        let document = Document::parse(self.batch.signal(), stays.clone()).unwrap();
        assert_eq!(document.records(), self.batch.records());
        if !self.model.was_replaced() {
            assert_eq!(document.records() + discarded + of_this, self.records, "records do not balance");
        }
        self.model = Model::parse(self.model.signal, &stays);
        self.records = document.records();
        self.batch.begin(limits());
    }
}

fn same(model: &Model, bytes: &[u8], expected: &[u8]) {
    if !model.is_container_edited() && !model.was_replaced() {
        assert_eq!(bytes.escape_ascii().to_string(), expected.escape_ascii().to_string());
    }
    assert_eq!(normal(model.signal, bytes), normal(model.signal, expected));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::batch::tests::cases(400)))]

    #[test]
    fn every_operation_does_what_the_contract_says(
        (signal, bytes) in odd_batches(Oddities { broken_texts: true }),
        turns in vec(vec(calls(), 0..8), 1..3),
    ) {
        let mut pair = Pair::new(signal, &bytes);
        for turn in &turns {
            turn.iter().for_each(|call| pair.call(call));
            pair.commit();
        }
        let message = pair.batch.message().to_bytes();
        prop_assert_eq!(pair.batch.into_message().to_bytes(), message);
    }

    #[test]
    fn what_is_undone_never_was_there(
        (signal, bytes) in odd_batches(Oddities { broken_texts: true }),
        kept in vec(calls(), 0..4),
        undone in vec(calls(), 0..8),
        after in vec(calls(), 0..4),
    ) {
        let mut pair = Pair::new(signal, &bytes);
        kept.iter().for_each(|call| pair.call(call));
        pair.commit();
        let (message, records) = (pair.batch.message().to_bytes(), pair.batch.records());
        let model = pair.model.clone();
        undone.iter().for_each(|call| pair.call(call));
        pair.batch.undo();
        prop_assert_eq!(&pair.batch.message().to_bytes(), &message);
        prop_assert_eq!(pair.batch.records(), records);
        pair.model = model;
        pair.records = records;
        pair.batch.begin(limits());
        after.iter().for_each(|call| pair.call(call));
        pair.commit();
    }

    #[test]
    fn a_batch_that_is_only_read_is_the_bytes_that_came(
        (signal, bytes) in odd_batches(Oddities { broken_texts: true }),
        calls in vec(calls(), 0..8),
    ) {
        let mut pair = Pair::new(signal, &bytes);
        for call in calls.iter().filter(|call| call.is_for(signal)) {
            let before = pair.model.part(&Leaves::No);
            let mut after = pair.model.clone();
            // Only what changes nothing.
            if call.tell(&mut after).is_err() || !after.is_changed() && after.part(&Leaves::No) == before {
                pair.call(call);
            }
        }
        let effects = pair.batch.commit().unwrap();
        prop_assert_eq!((effects.changed, effects.discarded, effects.routed.len()), (0, 0, 0));
        prop_assert!(!pair.batch.is_changed());
        prop_assert_eq!(pair.batch.message().to_bytes(), bytes);
    }
}
