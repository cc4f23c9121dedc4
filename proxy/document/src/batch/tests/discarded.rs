//! What was discarded in a turn keeps its number, and has no cells any more.

use super::{
    super::*,
    attribute, limits,
    model::normal,
    operations::{Call, Look, pattern},
};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, span},
};
use prost::Message as _;

/// Of each scope, its resource; of each span, its scope. Each span has two events.
const SCOPES: [u32; 3] = [0, 1, 1];
const SPANS: [u32; 5] = [0, 0, 0, 1, 2];

/// All rows but the scopes have the same attributes.
fn spans() -> Batch {
    let attributes = || vec![attribute("k", "SECRET 7"), attribute("other", "SECRET")];
    let event = || span::Event { name: "SECRET".to_owned(), attributes: attributes(), ..Default::default() };
    let span = |number: usize| Span {
        name: format!("span {number}"),
        attributes: attributes(),
        events: vec![event(), event()],
        ..Default::default()
    };
    let scope = |scope: usize| ScopeSpans {
        spans: (0..SPANS.len()).filter(|row| SPANS[*row] as usize == scope).map(span).collect(),
        ..Default::default()
    };
    let resource = |resource| ResourceSpans {
        resource: Some(Resource { attributes: attributes(), ..Default::default() }),
        scope_spans: (0..SCOPES.len()).filter(|row| SCOPES[*row] == resource).map(scope).collect(),
        ..Default::default()
    };
    let request = ExportTraceServiceRequest { resource_spans: vec![resource(0), resource(1)] };
    let bytes = request.encode_to_vec();
    let mut batch = Batch::new(Document::parse(Signal::Traces, bytes::Bytes::from(bytes)).unwrap());
    batch.begin(limits());
    batch
}

const LEVELS: [Level; 4] = [Level::Resource, Level::Scope, Level::Record, Level::Event];

fn k(level: Level) -> Column {
    Column::attribute(level, "k")
}

/// Whether a row is gone once another one was discarded, or the same.
fn goes_with(discarded: (Level, u32), level: Level, row: u32) -> bool {
    let above = match level {
        Level::Resource => None,
        Level::Scope => Some((Level::Resource, SCOPES[row as usize])),
        Level::Record => Some((Level::Scope, SPANS[row as usize])),
        _ => Some((Level::Record, row / 2)),
    };
    (level, row) == discarded || above.is_some_and(|(level, row)| goes_with(discarded, level, row))
}

const ROWS: [(Level, u32); 4] =
    [(Level::Resource, 2), (Level::Scope, 3), (Level::Record, 5), (Level::Event, 10)];
const DISCARDED: [(Level, u32); 5] =
    [(Level::Resource, 0), (Level::Scope, 1), (Level::Record, 1), (Level::Event, 2), (Level::Event, 7)];

/// A batch of which one row was discarded.
fn without((level, row): (Level, u32)) -> Batch {
    let mut batch = spans();
    batch.discard(level, &Rows::Only(vec![row])).unwrap();
    batch
}

/// Every operation that edits, on all rows of a level.
fn edits(level: Level) -> Vec<Call> {
    let (k, to) = (|| k(level), Target::Attribute("to".to_owned()));
    let column = Column { level, target: to.clone() };
    vec![
        Call::Set(k(), "new".into(), Rows::All),
        Call::Insert(column.clone(), "new".into(), Rows::All),
        Call::Update(k(), "new".into(), Rows::All),
        Call::UpdateKeys(level, "^k$", "new".into(), Rows::All),
        Call::Remove(k(), Rows::All),
        Call::RemoveKeys(level, "^k$", Rows::All),
        Call::KeepKeys(level, "^k$", Rows::All),
        Call::Rename(level, "k", "to", Rows::All),
        Call::RenameKeys(level, "^k$", "to", Rows::All),
        Call::Copy(k(), column.clone(), Rows::All),
        Call::Copy(self::k(Level::Resource), column, Rows::All),
        Call::CopyKeys(level, "^k$", "to", Rows::All),
        Call::Hash(k(), true, Rows::All),
        Call::HashKeys(level, "^k$", false, Rows::All),
        Call::Extract(k(), "([0-9]+)", vec![("1", to)], Rows::All),
        Call::Redact(Places::ALL),
        Call::RedactCells(k(), Rows::All),
        Call::RemoveUnknownFields,
        Call::Route(level, Rows::All, vec!["archive"]),
    ]
}

/// What a turn made of a batch: what stays of it, and what leaves.
fn outcome(batch: &mut Batch) -> (Vec<String>, Vec<Vec<String>>, u64) {
    let effects = batch.commit().unwrap();
    let lines = |message: Chunks| normal(Signal::Traces, &message.to_bytes());
    let routed = effects.routed.into_iter().map(|routed| lines(routed.message)).collect();
    (lines(batch.message()), routed, effects.discarded)
}

#[test]
fn an_edit_does_to_the_others_what_it_does_once_they_are_gone() {
    for discarded in DISCARDED {
        for call in LEVELS.into_iter().flat_map(edits) {
            let mut at_once = without(discarded);
            let given = call.make(&mut at_once);
            let (stays, routed, _) = outcome(&mut at_once);

            let mut one_after_the_other = without(discarded);
            one_after_the_other.commit().unwrap();
            one_after_the_other.begin(limits());
            assert_eq!(call.make(&mut one_after_the_other), given, "{discarded:?} {call:?}");
            let expected = outcome(&mut one_after_the_other);
            assert_eq!((stays, routed), (expected.0, expected.1), "{discarded:?} {call:?}");
        }
        let keys = pattern("^k$");
        let mask = Action::Mask("*".to_owned());
        let mut at_once = without(discarded);
        let with_k = ROWS.into_iter().filter(|(level, _)| *level != Level::Scope);
        let living = with_k.flat_map(|(level, rows)| living(discarded, level, rows)).count();
        assert_eq!(at_once.redact_keys(&keys, &mask), Ok(living as u64));
        assert_eq!(at_once.redact_keys(&pattern("^none$"), &mask), Ok(0));
    }
}

fn living(discarded: (Level, u32), level: Level, rows: u32) -> Vec<u32> {
    (0..rows).filter(|row| !goes_with(discarded, level, *row)).collect()
}

#[test]
fn they_keep_their_numbers_and_have_no_cells() {
    for discarded in DISCARDED {
        for (level, count) in ROWS {
            let mut batch = without(discarded);
            let parents = spans().parents(level);
            assert_eq!((batch.count(level), batch.parents(level)), (Ok(count), parents));
            let living = living(discarded, level, count);
            let absent = Column::attribute(level, "nothing");
            let find = |batch: &mut Batch, column: &Column, look: Look| {
                Call::Find(column.clone(), look, Rows::All).make(batch).unwrap()
            };
            let with_k: &[u32] = if level == Level::Scope { &[] } else { &living };
            let all = format!("{living:?}");
            assert_eq!(find(&mut batch, &absent, Look::Absent), all, "{discarded:?} {level:?}");
            assert_eq!(find(&mut batch, &k(level), Look::Present), format!("{with_k:?}"));
            assert_eq!(find(&mut batch, &k(level), Look::Matches("SECRET")), format!("{with_k:?}"));
            let named = batch.find(&absent, &Test::Absent, &Rows::Only((0..count).collect())).unwrap();
            let under =
                batch.find(&absent, &Test::Absent, &Rows::Under(Level::Resource, vec![0, 1])).unwrap();
            assert_eq!((named, under), (living.clone(), living.clone()));

            let texts = batch.read_texts(&k(level), &Rows::All).unwrap();
            let is_there: Vec<u32> =
                (0..).zip(&texts).filter(|(_, text)| text.is_some()).map(|(row, _)| row).collect();
            assert_eq!((texts.len(), is_there), (count as usize, with_k.to_vec()));
            for row in 0..count {
                let there = with_k.contains(&row);
                let target = Target::Attribute("k".to_owned());
                assert_eq!(batch.get_cell(level, row, &target).unwrap().is_some(), there);
                assert_eq!(batch.attributes(level, row).unwrap().len(), if there { 2 } else { 0 });
            }
            let last = batch.get_cell(level, count, &Target::Attribute("k".to_owned()));
            assert!(matches!(last, Err(EditError::BadArgument(_))), "there is no such row");
        }
    }
}

#[test]
fn columns_of_every_kind_read_as_not_there() {
    let mut batch = without((Level::Record, 1));
    let (k, name) = (k(Level::Record), Column::field(Level::Record, Field::Name));
    let offsets = batch.read_text(&name, &Rows::Only(vec![0, 1])).unwrap().offsets;
    assert_eq!(offsets, [0, 6, Cells::ABSENT, Cells::ABSENT]);
    let offsets = batch.read_bytes(&k, &Rows::Only(vec![1, 2])).unwrap().offsets;
    assert_eq!(offsets, [Cells::ABSENT, Cells::ABSENT, 0, 8]);
    batch.write_ints(&k, &Ints { values: vec![5; 5], present: vec![true; 5] }, &Rows::All).unwrap();
    let present = [true, false, true, true, true];
    assert_eq!(batch.read_ints(&k, &Rows::All).unwrap().present, present);
    assert_eq!(batch.read_doubles(&k, &Rows::All).unwrap().present, present);
    let values = batch.read_values(&k, &Rows::All).unwrap();
    assert_eq!(values, [5, 0, 5, 5, 5].map(|int| (int > 0).then_some(Value::Int(int))));
}

#[test]
fn lists_have_a_place_for_them() {
    let (k, name) = (k(Level::Record), Column::field(Level::Record, Field::Name));
    let names = |batch: &mut Batch| batch.read_texts(&name, &Rows::All).unwrap();
    let written = [Some("a"), None, Some("c"), Some("d"), Some("e")].map(|name| name.map(str::to_owned));
    let list = |rows: std::ops::Range<u8>| rows.map(|row| Some(char::from(b'a' + row).to_string())).collect();
    let text = |texts: &str| Cells {
        data: texts.as_bytes().to_vec(),
        offsets: (0..texts.len() as u32).flat_map(|at| [at, at + 1]).collect(),
    };
    let values = |values: &str| values.chars().map(|char| Some(Value::Text(char.to_string()))).collect();
    let writes: [&dyn Fn(&mut Batch) -> Edited; 4] = [
        &|batch| batch.write_texts(&name, list(0..5), &Rows::All),
        &|batch| batch.write_text(&name, &text("abcde"), &Rows::Only(vec![4, 0, 1, 2, 3])),
        &|batch| batch.write_values(&name, values("abcde"), &Rows::Under(Level::Scope, vec![0, 1, 2])),
        &|batch| {
            (0..5).try_for_each(|row| {
                let letter = Value::Text(char::from(b'a' + row as u8).to_string());
                batch.set_cell(Level::Record, row, &name.target, &letter)
            })
        },
    ];
    for write in writes {
        let mut batch = without((Level::Record, 1));
        write(&mut batch).unwrap();
        assert_eq!(names(&mut batch), written);
    }
    let mut batch = without((Level::Record, 1));
    let too_few = batch.write_texts(&name, list(0..4), &Rows::All);
    assert!(matches!(too_few, Err(EditError::BadArgument(_))));
    let doubles = Doubles { values: vec![1.0; 5], present: vec![true; 5] };
    batch.write_doubles(&k, &doubles, &Rows::All).unwrap();
    (0..5).try_for_each(|row| batch.remove_cell(Level::Record, row, &k.target)).unwrap();
    let found = batch.find(&k, &Test::Absent, &Rows::All).unwrap();
    assert_eq!(found, [0, 2, 3, 4]);
}

#[test]
fn nobody_brings_them_back() {
    for discarded in [(Level::Resource, 0), (Level::Record, 1)] {
        let mut batch = without(discarded);
        let expected = outcome(&mut without(discarded));
        batch.discard(Level::Event, &Rows::Only(vec![2])).unwrap();
        batch.discard(discarded.0, &Rows::Only(vec![discarded.1])).unwrap();
        batch.route(discarded.0, &Rows::Only(vec![discarded.1]), &["archive".to_owned()]).unwrap();
        assert_eq!(outcome(&mut batch), expected);

        let mut batch = without(discarded);
        batch.route(Level::Resource, &Rows::All, &["archive".to_owned()]).unwrap();
        let (stays, routed, count) = outcome(&mut batch);
        assert_eq!((stays, routed), (Vec::new(), vec![expected.0]));
        assert_eq!(count, expected.2);
    }
}

#[test]
fn what_was_routed_is_there_until_the_turn_ends() {
    let mut batch = spans();
    let k = k(Level::Record);
    batch.route(Level::Record, &Rows::Only(vec![0, 1]), &["archive".to_owned()]).unwrap();
    assert_eq!(batch.find(&k, &Test::Present, &Rows::All).unwrap(), [0, 1, 2, 3, 4]);
    batch.set(&k, &"new".into(), &Rows::All).unwrap();
    batch.discard(Level::Record, &Rows::Only(vec![1])).unwrap();
    assert_eq!(batch.find(&k, &Test::Present, &Rows::All).unwrap(), [0, 2, 3, 4]);
    batch.route(Level::Record, &Rows::Only(vec![2]), &["other".to_owned()]).unwrap();
    batch.route(Level::Record, &Rows::Only(vec![2]), &["archive".to_owned()]).unwrap();
    let effects = batch.commit().unwrap();
    assert_eq!((effects.discarded, effects.routed.len(), effects.routed[0].records), (1, 1, 2));
    let request = ExportTraceServiceRequest::decode(effects.routed[0].message.to_bytes()).unwrap();
    let spans = &request.resource_spans[0].scope_spans[0].spans;
    assert!(spans.iter().all(|span| span.attributes[0] == attribute("k", "new")));
}

#[test]
fn undone_they_are_back_and_another_batch_has_all_its_rows() {
    let mut batch = without((Level::Resource, 0));
    batch.undo();
    batch.begin(limits());
    assert_eq!(batch.find(&k(Level::Record), &Test::Present, &Rows::All).unwrap(), [0, 1, 2, 3, 4]);
    batch.discard(Level::Resource, &Rows::All).unwrap();
    batch.replace(spans().message().to_bytes().into()).unwrap();
    assert_eq!(batch.find(&k(Level::Record), &Test::Present, &Rows::All).unwrap(), [0, 1, 2, 3, 4]);
}

#[test]
fn fields_that_nobody_knows_do_not_count_in_a_metric_that_is_gone() {
    let message = |number: u64, content: &[u8]| {
        let mut out = Vec::new();
        crate::wire::put_bytes(&mut out, number, content);
        out
    };
    let unknown = message(77, b"unknown");
    let gauge = message(5, &[message(1, b""), unknown].concat());
    let metrics = message(2, &gauge).repeat(3);
    let request = message(1, &message(2, &metrics));
    let mut batch = Batch::new(Document::parse(Signal::Metrics, bytes::Bytes::from(request)).unwrap());
    batch.begin(limits());
    batch.discard(Level::Metric, &Rows::Only(vec![0])).unwrap();
    assert_eq!(batch.remove_unknown_fields(), Ok(2));
}
