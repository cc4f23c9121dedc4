//! Batches that are broken below their records: refused or passed through, never half edited.

use super::{
    super::*,
    generate::{Oddities, odd_batches},
    limits,
    operations::{Call, calls, secret},
};
use crate::wire::put_bytes;
use proptest::{collection::vec, prelude::*, sample::Index};

/// A batch of logs with one record of these bytes.
fn of_record(record: &[u8]) -> Vec<u8> {
    [2, 2, 1].into_iter().fold(record.to_vec(), |content, number| {
        let mut out = Vec::new();
        put_bytes(&mut out, number, &content);
        out
    })
}

fn parsed(signal: Signal, bytes: &[u8]) -> Option<Batch> {
    Document::parse(signal, bytes::Bytes::from(bytes.to_vec())).ok().map(Batch::new)
}

/// Makes calls until one finds the batch broken; then the turn can only be undone.
fn survive(mut batch: Batch, bytes: &[u8], calls: &[Call]) {
    let (signal, records) = (batch.signal(), batch.records());
    batch.begin(limits());
    let mut is_replaced = false;
    for call in calls {
        is_replaced |= matches!(call, Call::Replace(..));
        let _ = call.make(&mut batch);
    }
    let committed = batch.commit();
    if let Ok(effects) = &committed {
        let message = batch.message().to_bytes();
        let document = Document::parse(signal, message).expect("what it becomes is a batch");
        let routed: u64 = effects.routed.iter().map(|routed| routed.records).sum();
        assert_eq!(document.records(), batch.records());
        assert!(is_replaced || document.records() + effects.discarded + routed == records);
    } else {
        assert_eq!(batch.commit().map(drop), committed.map(drop), "it stays broken");
        batch.undo();
        assert_eq!(batch.message().to_bytes(), bytes);
        assert_eq!(batch.records(), records);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::batch::tests::cases(400)))]

    #[test]
    fn broken_batches_are_refused_or_pass(
        (signal, bytes) in odd_batches(Oddities { broken_texts: true }),
        flips in vec((any::<Index>(), any::<u8>()), 1..4),
        calls in vec(calls(), 1..8),
    ) {
        let mut bytes = bytes;
        for (place, byte) in flips {
            if !bytes.is_empty() {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
        }
        if let Some(batch) = parsed(signal, &bytes) {
            survive(batch, &bytes, &calls);
        }
    }

    #[test]
    fn records_of_any_bytes_are_refused_or_pass(
        signal in prop::sample::select(&Signal::ALL[..3]),
        record in vec(prop_oneof![any::<u8>(), prop::sample::select(&b"\x0a\x12\x1a\x2a\x32\x3a\x4a\x5a\x6a\x7a\x02\x04"[..])], 0..60),
        calls in vec(calls(), 1..8),
    ) {
        let bytes = match signal {
            Signal::Metrics => {
                let mut points = Vec::new();
                put_bytes(&mut points, 1, &record);
                let mut metric = Vec::new();
                put_bytes(&mut metric, 9, &points);
                of_record(&metric)
            }
            _ => of_record(&record),
        };
        survive(parsed(signal, &bytes).unwrap(), &bytes, &calls);
    }
}

/// Values inside each other, as deep as told: lists, or lists of keys and values.
fn nested(depth: usize, keys: bool) -> Vec<u8> {
    let mut any = b"\x0a\x06SECRET".to_vec();
    for _ in 0..depth {
        let mut element = Vec::new();
        if keys {
            put_bytes(&mut element, 2, &any);
            any = std::mem::take(&mut element);
        }
        put_bytes(&mut element, 1, &any);
        any.clear();
        put_bytes(&mut any, if keys { 6 } else { 5 }, &element);
    }
    any
}

/// Text under the number of a field that holds none: some receivers refuse such a message, others keep it.
#[test]
fn a_secret_in_a_field_of_another_type_does_not_pass() {
    let mut in_severity = Vec::new();
    put_bytes(&mut in_severity, 2, b"SECRET");
    let mut in_boolean = Vec::new();
    put_bytes(&mut in_boolean, 2, b"SECRET");
    let mut pair = b"\x0a\x01k".to_vec();
    put_bytes(&mut pair, 2, &in_boolean);
    let mut in_attribute = Vec::new();
    put_bytes(&mut in_attribute, 6, &pair);
    let selection = Selection { places: Places::ALL, only_keys: None, except_keys: None };
    for record in [in_severity, in_attribute] {
        let mut batch = parsed(Signal::Logs, &of_record(&record)).unwrap();
        let looks: [fn(&mut Batch, &Selection) -> Edited; 2] = [
            |batch, selection| batch.redact(&secret(), selection).map(drop),
            |batch, _| batch.remove_unknown_fields().map(drop),
        ];
        for look in looks {
            batch.begin(limits());
            let Err(EditError::Malformed(why)) = look(&mut batch, &selection) else { panic!("it passed") };
            assert!(why.to_string().contains("another type"), "{why}");
            batch.undo();
        }
    }
}

#[test]
fn ten_thousand_levels_do_not_exhaust_the_stack() {
    for keys in [false, true] {
        let mut record = Vec::new();
        put_bytes(&mut record, 5, &nested(10_000, keys));
        let mut pair = b"\x0a\x01k".to_vec();
        put_bytes(&mut pair, 2, &nested(10_000, keys));
        put_bytes(&mut record, 6, &pair);
        let bytes = of_record(&record);
        let mut batch = parsed(Signal::Logs, &bytes).unwrap();
        let selection = Selection { places: Places::ALL, only_keys: None, except_keys: None };
        let body = Column::field(Level::Record, Field::Body);
        // What looks into it refuses it.
        let refused: [fn(&mut Batch, &Column, &Selection) -> Edited; 4] = [
            |batch, _, selection| batch.redact(&secret(), selection).map(drop),
            |batch, body, _| batch.redact_cells(body, &secret(), &Rows::All).map(drop),
            |batch, body, _| batch.hash(body, None, &Rows::All),
            |batch, _, _| batch.remove_unknown_fields().map(drop),
        ];
        for look in refused {
            batch.begin(limits());
            batch.set(&Column::attribute(Level::Resource, "a"), &"b".into(), &Rows::All).unwrap();
            assert!(matches!(look(&mut batch, &body, &selection), Err(EditError::Malformed(_))));
            // From then on the turn can only be undone.
            assert!(matches!(batch.commit(), Err(EditError::Malformed(_))));
            batch.undo();
            assert_eq!(batch.message().to_bytes(), bytes);
        }
        // What does not passes it through.
        batch.begin(Limits { bytes: 16 << 20, ..limits() });
        batch.set(&Column::attribute(Level::Record, "new"), &"b".into(), &Rows::All).unwrap();
        batch.copy(&body, &Column::attribute(Level::Record, "copy"), &Rows::All).unwrap();
        batch.rename(Level::Record, "k", "l", &Rows::All).unwrap();
        assert_eq!(batch.attributes(Level::Record, 0).unwrap().len(), 3);
        batch.commit().unwrap();
    }
}

#[test]
fn groups_pass_as_deep_as_protobuf_has_them() {
    let group = |depth: usize| [vec![0x0b; depth], vec![0x0c; depth]].concat();
    for (depth, is_good) in [(1, true), (100, true), (101, false), (10_000, false)] {
        let bytes = of_record(&group(depth));
        let mut batch = parsed(Signal::Logs, &bytes).unwrap();
        batch.begin(limits());
        batch.set(&Column::attribute(Level::Record, "a"), &"b".into(), &Rows::All).unwrap();
        assert_eq!(batch.commit().is_ok(), is_good, "{depth}");
        if is_good {
            assert_eq!(
                batch.message().to_bytes(),
                of_record(&[&group(depth)[..], b"\x32\x08\x0a\x01a\x12\x03\x0a\x01b"].concat())
            );
        } else {
            batch.undo();
            assert_eq!(batch.message().to_bytes(), bytes);
        }
    }
}

#[test]
fn absurd_lengths_are_refused() {
    for record in [
        &b"\x32\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"[..],
        b"\x32\x7f",
        b"\x32\x02\x0a\x7f",
        b"\x32\x04\x12\x02\x0a\x7f",
        b"\x2a\x02\x0a\x7f",
        b"\x07",
        b"\x32",
        b"\x80",
    ] {
        let bytes = of_record(record);
        let mut batch = parsed(Signal::Logs, &bytes).unwrap();
        batch.begin(limits());
        let read = batch.read_values(&Column::attribute(Level::Record, ""), &Rows::All);
        let body = batch.read_values(&Column::field(Level::Record, Field::Body), &Rows::All);
        assert!(
            matches!(read, Err(EditError::Malformed(_))) || matches!(body, Err(EditError::Malformed(_))),
            "{record:x?}"
        );
        // It leaves as it came, and only as a whole.
        batch.undo();
        assert_eq!(batch.message().to_bytes(), bytes);
    }
}

#[test]
fn a_broken_record_leaves_the_others_as_they_were() {
    let good = b"\x12\x0a\x32\x08\x0a\x01k\x12\x03\x0a\x01v";
    let mut scope = good.to_vec();
    put_bytes(&mut scope, 2, b"\x32\x7f");
    let mut resource = Vec::new();
    put_bytes(&mut resource, 2, &scope);
    let mut bytes = Vec::new();
    put_bytes(&mut bytes, 1, &resource);
    let mut batch = parsed(Signal::Logs, &bytes).unwrap();
    batch.begin(limits());
    // The first is edited before the second is found to be broken.
    let removed = batch.remove(&Column::attribute(Level::Record, "k"), &Rows::All);
    assert!(matches!(removed, Err(EditError::Malformed(_))));
    assert!(matches!(batch.count(Level::Record), Err(EditError::Malformed(_))));
    assert!(batch.commit().is_err());
    batch.undo();
    assert_eq!(batch.message().to_bytes(), bytes);
    // The broken one can be taken out, and nobody looks into it any more.
    batch.begin(limits());
    batch.discard(Level::Record, &Rows::Only(vec![1])).unwrap();
    batch.remove(&Column::attribute(Level::Record, "k"), &Rows::All).unwrap();
    assert_eq!(batch.commit().unwrap().discarded, 1);
    assert_eq!(batch.message().to_bytes(), of_record(b""));
}
