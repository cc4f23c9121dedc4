//! What a plugin sees and does, through the test kit: every function of the batch once.

#![allow(clippy::unwrap_used, reason = "a test")]

use serde::Deserialize;
use serde_json::json;
use tollgate_plugin::test::{self, NOW_UNIX_NANO};
use tollgate_plugin::{
    Batch, Capture, Check, Column, Error, Field, HashKey, Level, NoConfig, Otherwise, Pattern, Places,
    Plugin, Redaction, Registration, Result, Rows, Selection, Setup, Severity, Signal, Target, Value,
    Verdict, count, info, now_unix_nano, warn,
};

/// A plugin of one function.
macro_rules! plugin {
    ($name:ident, |$batch:ident| $process:expr) => {
        struct $name;
        impl Plugin for $name {
            type Config = NoConfig;
            fn configure(_: NoConfig, _: &Setup) -> Result<$name> {
                Ok($name)
            }
            fn process(&mut self, $batch: &mut Batch) -> Result<Verdict> {
                $process;
                Ok(Verdict::Forward)
            }
        }
    };
}

fn two_logs() -> test::Request {
    test::logs(
        json!({ "service.name": "oxygen" }),
        json!([
            { "body": "first", "severityNumber": 9, "attributes": { "user": "ann", "n": 1 } },
            { "body": "second", "attributes": { "n": 2.5 } },
        ]),
    )
}

#[test]
fn operators() {
    plugin!(Operators, |batch| {
        let records = batch.records();
        records.set("set", true)?;
        records.insert("n", 7)?;
        records.update("user", "ben")?;
        records.copy("user", "copied")?;
        records.rename("user", "name")?;
        records.remove(Field::SeverityNumber)?;
        records.attribute("service").copy_from(&Column::attribute(Level::Resource, "service.name"))?;
        records.attribute("copied").hash(None)?;
        let second = records.body().equal_to("second")?;
        records.rows(&second).set("is", "second")?;
        batch.resources().set("seen", Value::Int(1))?;
    });
    let out = test::run::<Operators>("", two_logs()).unwrap();
    let records = out.records();
    assert_eq!(records[0]["attributes"]["copied"].as_str().unwrap().len(), 64);
    assert_eq!(records[0]["attributes"]["name"], "ben");
    assert_eq!(records[0]["attributes"].get("user"), None);
    assert_eq!(
        records[1]["attributes"],
        json!({ "n": 2.5, "set": true, "service": "oxygen", "is": "second" })
    );
    assert_eq!(out.resources()[0]["attributes"]["seen"], 1);
    assert_eq!((out.changed, out.discarded), (2, 0));
}

#[test]
fn columns() {
    plugin!(Columns, |batch| {
        let records = batch.records();
        assert_eq!(records.count(), 2);

        let users = records.attribute("user").texts()?;
        assert_eq!((users.len(), users.is_empty()), (2, false));
        assert_eq!((&users).into_iter().collect::<Vec<_>>(), [(0, "ann")]);
        assert_eq!(users.cells().collect::<Vec<_>>(), [Some("ann"), None]);
        assert_eq!(records.attribute("n").ints()?.cells().collect::<Vec<_>>(), [Some(1), None]);
        assert_eq!(records.attribute("n").doubles()?.cells().collect::<Vec<_>>(), [Some(1.0), Some(2.5)]);
        assert_eq!(records.body().bytes()?.iter().map(|(row, _)| row).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(records.body().values()?.cells()[1], Some(Value::from("second".to_owned())));

        // The rows of a choice keep their numbers, whatever their order.
        let chosen = Rows::from(vec![1, 0, 1]);
        assert_eq!(
            records.rows(&chosen).body().texts()?.iter().collect::<Vec<_>>(),
            [(0, "first"), (1, "second")]
        );
        let below = Rows::under(Level::Resource, [0]);
        assert_eq!(
            records.rows(&below).body().texts()?.iter().collect::<Vec<_>>(),
            [(0, "first"), (1, "second")]
        );
        assert_eq!(records.rows(&Rows::under(Level::Resource, [9])).indexes(), [0u32; 0]);

        records.attribute("upper").write_texts(users.cells().map(|user| user.map(str::to_uppercase)))?;
        records.attribute("i").write_ints([None, Some(5)])?;
        records.attribute("d").write_doubles([Some(0.5), None])?;
        records.attribute("v").write_values(&[Some(Value::Boolean(true)), None])?;
        records.body().edit_texts(|body| Some(body.strip_prefix("se")?.into()))?;
    });
    let records = test::run::<Columns>("", two_logs()).unwrap().records();
    assert_eq!(
        records[0]["attributes"],
        json!({ "user": "ann", "n": 1, "upper": "ANN", "d": 0.5, "v": true })
    );
    assert_eq!(records[1]["attributes"], json!({ "n": 2.5, "i": 5 }));
    assert_eq!(records[1]["body"], "cond");
}

#[test]
fn cells() {
    plugin!(OneByOne, |batch| {
        let record = batch.records().row(0);
        assert_eq!(record.get("user")?, Some(Value::from("ann".to_owned())));
        assert_eq!(record.get("absent")?, None);
        assert_eq!(record.get(Field::SeverityNumber)?, Some(Value::Int(9)));
        assert_eq!(record.attributes()?.len(), 2);
        record.set("a", 1)?;
        record.remove("user")?;
        assert!(matches!(batch.records().row(2).get("x"), Err(Error::BadArgument(_))));
        assert!(matches!(record.get(Field::Kind), Err(Error::Unsupported(_))));
    });
    let records = test::run::<OneByOne>("", two_logs()).unwrap().records();
    assert_eq!(records[0]["attributes"], json!({ "n": 1, "a": 1 }));
}

#[test]
fn the_whole() {
    plugin!(Whole, |batch| {
        let before = batch.to_otlp()?;
        batch.records().set("lost", 1)?;
        batch.replace(&before)?;
        assert!(batch.replace(b"\xff").is_err());
    });
    let out = test::run::<Whole>("", two_logs()).unwrap();
    assert_eq!(out.records()[0]["attributes"], json!({ "user": "ann", "n": 1 }));
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Patterns {
    digits: Pattern,
    card: Pattern,
    key: HashKey,
    into: Target,
}

impl Plugin for Patterns {
    type Config = Patterns;

    fn configure(config: Patterns, setup: &Setup) -> Result<Patterns> {
        assert_eq!((setup.tenant.as_str(), setup.plugin.as_str()), ("test", "test"));
        Pattern::checked(r"[A-Z]{2}\d{2}", Check::Iban)?;
        Ok(config)
    }

    fn registration(&self) -> Registration {
        Registration { others: Otherwise::Refuse, ..Registration::default() }.signals([Signal::Logs])
    }

    fn process(&mut self, batch: &mut Batch) -> Result<Verdict> {
        let body = batch.records().body();
        let extracted = body.extract(self.digits, &[Capture::new("number", &self.into)])?;
        assert_eq!((extracted.matched, extracted.invalid), (1, 0));
        let counts =
            body.redact(&[Redaction::mask(self.card, "[card]"), Redaction::hash(self.digits, self.key)])?;
        assert_eq!(counts, [1, 1]);
        let names = Selection::of(Places::ATTRIBUTE_VALUES).except_keys(self.digits);
        batch.redact(&[Redaction::truncate(self.digits, 1)], &names)?;
        assert!(matches!(Pattern::new("late"), Err(Error::Unsupported(_))));
        Ok(Verdict::Reject("seen enough".to_owned()))
    }
}

#[test]
fn patterns_keys_and_verdicts() {
    let config = r#"
        digits = '\b(?<number>\d{4})\b'
        card = { regex = '\d{16}', check = "luhn" }
        key = { key = "0123456789abcdef", previous = "fedcba9876543210" }
        into = "number"
    "#;
    let logs = test::logs(json!({}), json!([{ "body": "4111111111111111 and 2024" }]));
    let mut plugin = test::Instance::<Patterns>::new(config).unwrap();
    let out = plugin.run(logs).unwrap();
    let body = out.records()[0]["body"].as_str().unwrap().to_owned();
    assert!(body.starts_with("[card] and ") && body.len() == "[card] and ".len() + 33, "{body}");
    assert_eq!(out.records()[0]["attributes"]["number"], "2…");
    assert_eq!(out.verdict, Verdict::Reject("seen enough".to_owned()));

    // What it did not register does not reach it.
    let span =
        json!([{ "traceId": "4bf92f3577b34da6a3ce929d0e0e4736", "spanId": "00f067aa0ba902b7", "name": "x" }]);
    assert_eq!(plugin.run(test::spans(json!({}), span)).unwrap().verdict, Verdict::Forward);
}

#[test]
fn mistakes_of_the_configuration_are_located() {
    let mistake = |config: &str| match test::Instance::<Patterns>::new(config) {
        Err(Error::BadConfig(mistake)) => (mistake.pointer, mistake.message),
        other => panic!("{:?}", other.map(|_| ())),
    };
    assert_eq!(mistake(r#"{ "digits": "(" }"#).0, "/digits");
    assert!(mistake(r#"{ "digits": "(" }"#).1.contains("unclosed group"));
    assert_eq!(mistake(r#"{ "key": "short" }"#).0, "/key");
    assert_eq!(mistake(r#"{ "into": "@nothing" }"#).0, "/into");
    assert_eq!(mistake(r#"{ "colour": 1 }"#).0, "/colour");
}

#[test]
fn what_was_discarded_has_no_cells_any_more() {
    struct Discarding;
    impl Plugin for Discarding {
        type Config = NoConfig;
        fn configure(_: NoConfig, _: &Setup) -> Result<Discarding> {
            Ok(Discarding)
        }
        fn registration(&self) -> Registration {
            Registration::default().destinations(["archive"])
        }
        fn process(&mut self, batch: &mut Batch) -> Result<Verdict> {
            let records = batch.records();
            records.rows(&Rows::from(vec![0])).discard()?;
            assert_eq!((records.count(), records.parents()), (2, vec![0, 0]));
            let others = Rows::from(vec![1]);
            assert_eq!(
                (records.body().present()?, records.attribute("none").absent()?),
                (others.clone(), others)
            );
            let bodies = records.body().texts()?;
            assert_eq!(bodies.cells().collect::<Vec<_>>(), [None, Some("second")]);
            assert_eq!((records.row(0).get(Field::Body)?, records.row(0).attributes()?), (None, Vec::new()));
            records.row(0).set("x", 1)?;
            records.body().edit_texts(|body| Some(body.to_uppercase().into()))?;
            records.route(["archive"])?;
            assert_eq!(
                records.body().equal_to("SECOND")?,
                Rows::from(vec![1]),
                "what is routed is there still"
            );
            Ok(Verdict::Forward)
        }
    }
    let out = test::run::<Discarding>("", two_logs()).unwrap();
    assert_eq!((out.discarded, out.records().len()), (1, 0));
    assert_eq!(out.routed_to(&["archive"]).len(), 1);
    assert_eq!(out.routed_to(&["archive"])[0]["body"], "SECOND");
}

#[test]
fn routes_discards_and_tells() {
    struct Telling;
    impl Plugin for Telling {
        type Config = NoConfig;
        fn configure(_: NoConfig, _: &Setup) -> Result<Telling> {
            Ok(Telling)
        }
        fn registration(&self) -> Registration {
            Registration::default().destinations(["archive"])
        }
        fn process(&mut self, batch: &mut Batch) -> Result<Verdict> {
            info!("{} records of {}", batch.records().count(), batch.signal());
            warn!("at {}", now_unix_nano());
            count("seen", 2);
            count("seen", 1);
            batch.records().rows(&Rows::from(vec![0])).route(["archive"])?;
            batch.records().rows(&Rows::from(vec![1])).discard()?;
            assert!(batch.records().route(["elsewhere"]).is_err());
            Ok(Verdict::Forward)
        }
    }
    let out = test::run::<Telling>("", two_logs()).unwrap();
    assert_eq!(out.routed_to(&["archive"])[0]["body"], "first");
    assert_eq!((out.records().len(), out.discarded), (0, 1));
    assert_eq!(out.counters["seen"], 3);
    assert_eq!(
        out.logs,
        [(Severity::Info, "2 records of logs".to_owned()), (Severity::Warn, format!("at {NOW_UNIX_NANO}")),]
    );
}

#[test]
fn who_reads_only_changes_nothing() {
    struct Reader;
    impl Plugin for Reader {
        type Config = NoConfig;
        fn configure(_: NoConfig, _: &Setup) -> Result<Reader> {
            Ok(Reader)
        }
        fn registration(&self) -> Registration {
            Registration { read_only: true, ..Registration::default() }
        }
        fn process(&mut self, batch: &mut Batch) -> Result<Verdict> {
            batch.records().set("x", 1)?;
            Ok(Verdict::Forward)
        }
    }
    assert!(matches!(test::run::<Reader>("", two_logs()), Err(Error::Unsupported(_))));
}

/// What the SDK says of fields is what the host does.
#[test]
fn fields_are_where_they_are_said_to_be() {
    plugin!(Fields, |batch| {
        for &level in Level::ALL {
            assert_eq!(batch.level(level).count() > 0, level.is_in(batch.signal()), "{level}");
            if !level.is_in(batch.signal()) {
                assert!(Field::ALL.iter().all(|field| !field.is_in(batch.signal(), level)));
                continue; // no rows, and so nothing to refuse
            }
            for &field in Field::ALL {
                let read = batch.level(level).field(field).values();
                let is_in = !matches!(read, Err(Error::Unsupported(_)));
                assert_eq!(
                    is_in,
                    field.is_in(batch.signal(), level),
                    "{field} of a {level} in {}",
                    batch.signal()
                );
            }
        }
    });
    let ids = json!({ "traceId": "4bf92f3577b34da6a3ce929d0e0e4736", "spanId": "00f067aa0ba902b7" });
    let mut span = ids.clone();
    span["links"] = json!([ids]);
    span["events"] = json!([{ "name": "e" }]);
    test::run::<Fields>("", two_logs()).unwrap();
    test::run::<Fields>("", test::spans(json!({}), json!([span]))).unwrap();
    let point = json!([{ "asInt": "1", "exemplars": [{ "asInt": "1" }] }]);
    test::run::<Fields>("", test::data_points(json!({}), "m", point)).unwrap();
}
