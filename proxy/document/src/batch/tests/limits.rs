//! What a turn may take: bytes and time.

use super::{
    super::{leave::DESTINATIONS_MAX, *},
    batch,
    generate::{Oddities, odd_batches},
    limits,
    operations::{Call, calls, pattern},
    request,
};
use proptest::{collection::vec, prelude::*};
use prost::Message as _;
use std::time::{Duration, Instant};

fn bytes_of(bytes: u64) -> Limits {
    Limits { bytes, ..limits() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::batch::tests::cases(400)))]

    /// A turn ends as it would without limits, or is exhausted and undone; meanwhile it never holds much
    /// more than it may.
    #[test]
    fn the_limit_of_bytes_holds(
        (signal, bytes) in odd_batches(Oddities { broken_texts: false }),
        most in 0..3_000_u64,
        calls in vec(calls(), 1..8),
    ) {
        let calls: Vec<&Call> = calls.iter().filter(|call| !matches!(call, Call::Replace(..))).collect();
        let document = Document::parse(signal, bytes::Bytes::from(bytes.clone())).unwrap();
        let mut free = Batch::new(document.clone());
        let mut limited = Batch::new(document);
        free.begin(limits());
        limited.begin(bytes_of(most));
        let mut is_exhausted = false;
        for call in calls {
            let done = call.make(&mut limited);
            // A row that is written at once, and the value for it.
            prop_assert!(limited.bytes_held() <= most + 2 * bytes.len() as u64 + 2_000);
            if matches!(done, Err(EditError::Exhausted(Exhausted::Bytes))) {
                is_exhausted = true;
                break;
            }
            prop_assert_eq!(done, call.make(&mut free));
        }
        match limited.commit() {
            Ok(_) if !is_exhausted => {
                free.commit().unwrap();
                prop_assert_eq!(limited.message().to_bytes(), free.message().to_bytes());
            }
            Ok(_) => {
                // What was handed out was too much, and nothing was begun.
            }
            Err(error) => {
                prop_assert_eq!(error, EditError::Exhausted(Exhausted::Bytes));
                limited.undo();
                prop_assert_eq!(limited.message().to_bytes(), bytes);
                prop_assert_eq!(limited.bytes_held(), 0);
            }
        }
    }
}

fn record(key: &str) -> Column {
    Column::attribute(Level::Record, key)
}

#[test]
fn a_turn_whose_time_is_over_does_no_more() {
    let request = request(3_000);
    let mut batch = batch(&request);
    let before = batch.message().to_bytes();
    let selection = Selection { places: Places::ALL, only_keys: None, except_keys: None };
    let redaction = Redaction { pattern: pattern("body"), action: Action::Remove };
    let names = [String::from("archive")];
    let operations: [&dyn Fn(&mut Batch) -> Edited; 8] = [
        &|batch| batch.remove(&record("level"), &Rows::All),
        &|batch| {
            batch
                .set(&record("level"), &"x".into(), &Rows::All)
                .and_then(|()| batch.count(Level::Record))
                .map(drop)
        },
        &|batch| batch.redact(std::slice::from_ref(&redaction), &selection).map(drop),
        &|batch| batch.find(&record("level"), &Test::Present, &Rows::All).map(drop),
        &|batch| batch.read_texts(&record("level"), &Rows::All).map(drop),
        &|batch| batch.copy(&Column::attribute(Level::Resource, "service.name"), &record("a"), &Rows::All),
        &|batch| batch.remove_unknown_fields().map(drop),
        &|batch| {
            let ones = Ints { values: vec![1; 3_000], present: vec![true; 3_000] };
            batch.write_ints(&record("a"), &ones, &Rows::All)?;
            batch.count(Level::Record).map(drop)
        },
    ];
    for operate in operations {
        batch.begin(Limits { deadline: Instant::now() - Duration::from_secs(1), ..limits() });
        batch.route(Level::Record, &Rows::Only(vec![0]), &names).unwrap();
        assert_eq!(operate(&mut batch), Err(EditError::Exhausted(Exhausted::Time)));
        batch.undo();
        assert_eq!(batch.message().to_bytes(), before);
    }
}

#[test]
fn matches_of_one_text_take_no_longer_than_there_is_time() {
    // Each of millions of matches takes a look at all that is left: hours, if nobody looked at the clock.
    let mut request = request(1);
    super::records(&mut request)[0].body = Some(super::text(&"A".repeat(4 << 20)));
    let mut batch = batch(&request);
    batch.begin(Limits { bytes: 64 << 20, deadline: Instant::now() + Duration::from_millis(200) });
    let redaction = Redaction { pattern: pattern(".*[^A-Z]|[A-Z]"), action: Action::Mask("#".to_owned()) };
    let selection = Selection { places: Places::ALL, only_keys: None, except_keys: None };
    assert_eq!(batch.redact(&[redaction], &selection), Err(EditError::Exhausted(Exhausted::Time)));

    // And so does each that fails its check, which is tried again from its next byte on.
    super::records(&mut request)[0].body = Some(super::text(&"1".repeat(4 << 20)));
    let body = Column { level: Level::Record, target: Target::Field(super::Field::Body) };
    for expression in ["(?<secret>1{102})1*", "1{102}"] {
        let number = Pattern::compile(expression, Check::Luhn, 1 << 20).unwrap();
        let in_a_moment =
            || Limits { bytes: 64 << 20, deadline: Instant::now() + Duration::from_millis(200) };
        let mut batch = super::batch(&request);
        batch.begin(in_a_moment());
        let redaction = Redaction { pattern: number.clone(), action: Action::Mask("#".to_owned()) };
        assert_eq!(batch.redact(&[redaction], &selection), Err(EditError::Exhausted(Exhausted::Time)));
        batch.begin(in_a_moment());
        let found = batch.find(&body, &Test::Matches(number), &Rows::All);
        assert_eq!(found, Err(EditError::Exhausted(Exhausted::Time)), "{expression}");
    }
}

/// What a few bytes of arguments could become.
#[test]
fn what_multiplies_is_stopped_before_it_is_made() {
    let mut request = request(1);
    let attributes = (0..1_000).map(|number| super::attribute(&format!("k{number}"), "value")).collect();
    super::records(&mut request)[0].attributes = attributes;
    let mut batch = batch(&request);
    let (long, all) = ("a".repeat(100_000), pattern("^k"));
    let mask = |mask: &str| [Redaction { pattern: pattern("[a-z]"), action: Action::Mask(mask.to_owned()) }];
    let selection = Selection { places: Places::ALL, only_keys: None, except_keys: None };
    let captures = vec![Capture { group: "0".to_owned(), to: Target::Attribute("x".to_owned()) }; 1_000];
    let body = Column::field(Level::Record, Field::Body);
    // A thousand cells, each of them the same bytes.
    let cells = Cells { data: vec![b'a'; 100_000], offsets: [0, 100_000].repeat(1_000) };
    let operations: [&dyn Fn(&mut Batch) -> Edited; 7] = [
        &|batch| batch.update_keys(Level::Record, &all, &long.as_str().into(), &Rows::All),
        &|batch| batch.rename_keys(Level::Record, &all, &"$0".repeat(100_000), &Rows::All),
        &|batch| batch.copy_keys(Level::Record, &all, &long, &Rows::All),
        &|batch| batch.redact(&mask(&long), &selection).map(drop),
        &|batch| batch.redact_cells(&body, &mask(&long), &Rows::All).map(drop),
        &|batch| batch.extract(&body, &pattern(".*"), &captures, &Rows::All).map(drop),
        &|batch| batch.write_text(&body, &cells, &Rows::All),
    ];
    for (number, operate) in operations.into_iter().enumerate() {
        batch.begin(limits());
        batch.set(&body, &"a".repeat(10_000).as_str().into(), &Rows::All).unwrap();
        assert_eq!(operate(&mut batch), Err(EditError::Exhausted(Exhausted::Bytes)), "{number}");
        assert!(batch.bytes_held() < 2 << 20, "{number}: {}", batch.bytes_held());
        batch.undo();
    }
}

#[test]
fn what_took_the_place_of_what_came_is_held() {
    let request = request(10);
    let mut batch = batch(&request);
    let came = batch.message().len() as u64;
    batch.begin(limits());
    batch.discard(Level::Record, &Rows::Only(vec![0])).unwrap();
    assert_eq!(batch.bytes_held(), 0);
    batch.commit().unwrap();
    let left = batch.message().len() as u64;
    assert!(left < came);
    assert_eq!(batch.bytes_held(), left);
    batch.begin(limits());
    batch.replace(request.encode_to_vec()).unwrap();
    assert_eq!(batch.bytes_held(), came);
    batch.undo();
    assert_eq!(batch.bytes_held(), left);
}

#[test]
fn there_are_so_many_sets_of_destinations() {
    let request = request(DESTINATIONS_MAX + 1);
    let mut batch = batch(&request);
    let names = |number: usize| [format!("to {number}"), "archive".to_owned()];
    batch.begin(limits());
    for number in 0..DESTINATIONS_MAX {
        batch.route(Level::Record, &Rows::Only(vec![number as u32]), &names(number)).unwrap();
    }
    let refused = batch.route(Level::Record, &Rows::All, &names(DESTINATIONS_MAX));
    assert!(matches!(refused, Err(EditError::BadArgument(_))));
    batch.route(Level::Record, &Rows::Only(vec![0]), &names(1)).unwrap();
    let effects = batch.commit().unwrap();
    assert_eq!((effects.routed.len(), batch.records()), (DESTINATIONS_MAX - 1, 1));
    let records: Vec<u64> = effects.routed.iter().map(|routed| routed.records).collect();
    assert_eq!((records[0], &records[1..]), (2, &[1; DESTINATIONS_MAX - 2][..]));
}

/// What several requests have in common counts for each of them.
#[test]
fn a_resource_is_not_copied_without_end() {
    let mut request = request(200);
    request.resource_logs[0].resource.as_mut().unwrap().attributes =
        vec![super::attribute("a", &"x".repeat(100_000))];
    let mut batch = batch(&request);
    let before = batch.message().to_bytes();
    batch.begin(limits());
    for row in 0..200 {
        batch.route(Level::Record, &Rows::Only(vec![row]), &[row.to_string()]).unwrap();
    }
    assert_eq!(batch.commit().map(drop), Err(EditError::Exhausted(Exhausted::Bytes)));
    batch.undo();
    assert_eq!(batch.message().to_bytes(), before);
}

/// Each would take the square of something that a sender or a plugin has in hand.
#[test]
fn nothing_takes_the_square() {
    let begun = Instant::now();
    // An event each with two bytes, all edited at once.
    let mut record = [0x5a, 0x00].repeat(100_000);
    for number in [2, 2, 1] {
        let mut out = Vec::new();
        crate::wire::put_bytes(&mut out, number, &record);
        record = out;
    }
    let mut batch = Batch::new(Document::parse(Signal::Traces, bytes::Bytes::from(record)).unwrap());
    let event = Column::field(Level::Event, Field::TimeUnixNano);
    batch.begin(Limits { bytes: 64 << 20, ..limits() });
    batch.set(&event, &Value::Int(1), &Rows::All).unwrap();
    batch.discard(Level::Event, &Rows::Only((0..50_000).rev().chain(0..60_000).collect())).unwrap();
    batch.commit().unwrap();
    assert_eq!(batch.count(Level::Event), Ok(40_000));
    // Digits of which no sixteen are a card.
    let card = Pattern::compile(r"[0-9]{16,}", Check::Luhn, 1 << 20).unwrap();
    let mut digits = [b'1'; 200_000];
    digits[100_000] = b'x';
    assert!(!card.is_match(&[b'5'; 15]));
    let _ = card.is_match(&digits);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}
