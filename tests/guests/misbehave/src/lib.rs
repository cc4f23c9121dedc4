//! A plugin that does what its configuration says, all of it wrong: `{ "do": "…" }`.

wit_bindgen::generate!({ path: "../../../wit/v0.1", world: "plugin" });

use exports::tollgate::plugin::handler::{Guest, Otherwise, Registration, Setup, Verdict};
use std::{
    collections::HashMap,
    hint::black_box,
    sync::{Mutex, OnceLock},
    thread,
    time::{Duration, Instant, SystemTime},
};
use tollgate::plugin::{batch, host, types::*};

struct Misbehave;
export!(Misbehave);

static DO: OnceLock<String> = OnceLock::new();
static TOKEN: OnceLock<String> = OnceLock::new();
static CALLS: Mutex<u32> = Mutex::new(0);

/// What stands in quotes after a key.
fn word<'a>(config: &'a str, key: &str) -> &'a str {
    let after = config.split(&format!("\"{key}\":\"")).nth(1).unwrap_or_default();
    after.split('"').next().unwrap_or_default()
}

fn records(key: &str) -> Column {
    Column { level: Level::Record, target: Target::Attribute(key.into()) }
}

fn spin() -> ! {
    let mut n = 0_u64;
    loop {
        n = black_box(n.wrapping_add(1));
    }
}

fn recurse(depth: u64) -> u64 {
    let room = black_box([depth; 64]);
    if black_box(depth) == u64::MAX { 0 } else { recurse(depth + 1) + room[(depth % 64) as usize] }
}

fn flood() {
    let mut kept: Vec<Vec<u8>> = Vec::new();
    loop {
        kept.push(black_box(vec![1; 1 << 20]));
    }
}

impl Guest for Misbehave {
    fn configure(setup: Setup) -> Result<Registration, Error> {
        let action = word(&setup.config, "do").to_owned();
        // No other escapes are in there.
        let token = word(&setup.config, "token").replace("\\n", "\n").replace("\\\\", "\\");
        let mut registration = Registration {
            signals: vec![Signal::Logs],
            others: Otherwise::Pass,
            destinations: Vec::new(),
            read_only: false,
        };
        match action.as_str() {
            "loop in configure" => spin(),
            "say so and loop in configure" => {
                host::log(host::Severity::Info, "it begins");
                spin();
            }
            "flood in configure" => flood(),
            "panic in configure" => panic!("not like this"),
            "look at the batch in configure" => drop(batch::count(Level::Record)),
            "change the batch in configure" => drop(batch::remove(&records("a"), &Rows::All)),
            "route in configure" => drop(batch::route(Level::Record, &Rows::All, &["default".into()])),
            "refuse the configuration" => {
                let message = "no such word; there are `all` and \u{1b}[2J`none`".into();
                return Err(Error::BadConfig(ConfigMistake { pointer: "/do".into(), message }));
            }
            "say the token, and refuse it" => {
                host::log(host::Severity::Warn, &format!("the token is {token}"));
                println!("it is {token}");
                eprintln!("or {token}");
                let message = format!("no good: {token}, as {token:?} of {}", setup.config);
                return Err(Error::BadConfig(ConfigMistake { pointer: "/token".into(), message }));
            }
            "fail with the token in configure" => return Err(Error::Unsupported(token)),
            "panic with the token in configure" => panic!("no good: {token}"),
            "register the token" => registration.destinations.push(token.clone()),
            "redact by a pattern in configure" => {
                drop(batch::redact_keys(0, &Action::Remove));
            }
            "compile too many patterns" => {
                for n in 0..100_000 {
                    host::compile_pattern(&format!("a{n}"), Check::None)?;
                }
            }
            "compile a pattern that is too large" => {
                host::compile_pattern("((a{100}){100}){100}", Check::None)?;
            }
            "compile what is no pattern" => drop(host::compile_pattern("(", Check::None)?),
            "give a short key" => drop(host::prepare_hash_key(b"short", None)?),
            "register an unknown destination" => registration.destinations.push("elsewhere".into()),
            "route to an unknown destination" | "discard the first and route the last" => {
                registration.destinations.push("archive".into())
            }
            "register as read-only, and change" => registration.read_only = true,
            "refuse other signals" => registration.others = Otherwise::Refuse,
            "register differently each time" => {
                if host::now() / 1_000 % 2 == 0 {
                    registration.destinations.push("archive".into());
                }
            }
            _ => {}
        }
        let _set = (DO.set(action), TOKEN.set(token));
        Ok(registration)
    }

    fn process() -> Result<Verdict, Error> {
        if batch::count(Level::Record) == 1 {
            return Ok(Verdict::Forward); // so that it can be seen that the next request is served
        }
        let call = {
            let mut calls = CALLS.lock().unwrap();
            *calls += 1;
            *calls
        };
        let token = TOKEN.get().map_or("", String::as_str);
        match DO.get().map_or("", String::as_str) {
            "reject with the token" => return Ok(Verdict::Reject(format!("{token} {token:?}"))),
            "fail with the token" => return Err(Error::BadArgument(format!("{}{token}", "x".repeat(505)))),
            "panic with the token" => panic!("no good: {token}"),
            "route to the token" => batch::route(Level::Record, &Rows::All, &[token.into()])?,
            "loop" => spin(),
            "loop for a while" => {
                let begun = Instant::now();
                while begun.elapsed() < Duration::from_millis(20) {
                    black_box(());
                }
            }
            "loop on the first call" if call == 1 => spin(),
            "flood" => flood(),
            "recurse" => drop(black_box(recurse(0))),
            "change half and panic" => {
                batch::set(&records("half"), &Value::Text("done".into()), &Rows::Only(vec![0]))?;
                panic!("mid-batch, on purpose");
            }
            "say much and panic" => {
                (1..=6).for_each(|n| eprintln!("word {n}{}", " and more".repeat(1_000 * (n / 6))));
                panic!("after all that, on purpose");
            }
            "complain, and end on the second call" => {
                host::log(host::Severity::Error, "this goes wrong");
                host::log(host::Severity::Error, &format!("and that was call {call}"));
                if call == 2 {
                    core::arch::wasm32::unreachable();
                }
            }
            "change half and fail" => {
                batch::set(&records("half"), &Value::Text("done".into()), &Rows::Only(vec![0]))?;
                return Err(Error::Failed("half of it, on purpose".into()));
            }
            "change half and loop" => {
                batch::set(&records("half"), &Value::Text("done".into()), &Rows::Only(vec![0]))?;
                spin();
            }
            "mark" => batch::set(&records("marked"), &Value::Boolean(true), &Rows::All)?,
            "discard the first and route the last" => {
                let last = batch::count(Level::Record) - 1;
                batch::discard(Level::Record, &Rows::Only(vec![0]))?;
                batch::route(Level::Record, &Rows::Only(vec![last]), &["archive".into(), "default".into()])?;
            }
            "discard all" => batch::discard(Level::Resource, &Rows::All)?,
            "name rows that are not there" => wrong_rows()?,
            "name patterns that are not there" => wrong_patterns()?,
            "hand over a giant string" => {
                host::log(host::Severity::Info, &"x".repeat(32 << 20));
            }
            "hand over a giant list" => {
                let cells = vec![None; 1 << 20];
                batch::write_texts(&records("a"), &cells, &Rows::All)?;
            }
            "write too much" => {
                let value = Value::Text("x".repeat(1 << 20));
                for n in 0..1_000 {
                    batch::set(&records(&n.to_string()), &value, &Rows::All)?;
                }
            }
            "write giant keys" => {
                let key = "k".repeat(1 << 20);
                for n in 0..1_000 {
                    let target = Target::Attribute(format!("{n}{key}"));
                    let column = Column { level: Level::Record, target };
                    batch::set(&column, &Value::Empty, &Rows::All)?;
                }
            }
            "name the same row over and over" => {
                let rows = Rows::Only(vec![0; 1 << 20]);
                for _ in 0..20 {
                    batch::set(&records("a"), &Value::Empty, &rows)?;
                }
            }
            "read the bodies" => {
                batch::read_text(
                    &Column { level: Level::Record, target: Target::BuiltIn(Field::Body) },
                    &Rows::All,
                )?;
            }
            "read too much" => {
                for _ in 0..100_000 {
                    black_box(batch::to_otlp()?);
                }
            }
            "flood the log" => {
                for n in 0..100_000 {
                    host::log(host::Severity::Info, &format!("line {n} \u{1b}[2J"));
                }
                println!("{}", "a line without an end ".repeat(100_000));
            }
            "flood the counters" => {
                for n in 0..10_000 {
                    host::count(&format!("counter_{n}"), 1);
                }
                host::count("no name, this", 1);
                host::count("", 1);
            }
            "route to an unknown destination" => {
                batch::route(Level::Record, &Rows::All, &["elsewhere".into()])?;
            }
            "register as read-only, and change" => {
                batch::set(&records("a"), &Value::Empty, &Rows::All)?;
            }
            "replace by nothing" => batch::replace(&[])?,
            "replace by rubbish" => {
                for rubbish in [vec![0xff; 100], vec![0x0a, 0x7f], vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]] {
                    if batch::replace(&rubbish).is_ok() {
                        return Err(Error::Failed("rubbish was taken".into()));
                    }
                }
            }
            "do a million things" => {
                for n in 0..1_000_000 {
                    batch::set_cell(Level::Record, 0, &Target::Attribute("n".into()), &Value::Int(n))?;
                }
            }
            "leak" => drop(black_box(Box::leak(vec![1_u8; 1 << 20].into_boxed_slice()))),
            "compile a pattern" => drop(host::compile_pattern("a", Check::None)?),
            "exit" => std::process::exit(1),
            "open a file" => drop(std::fs::File::open("/etc/passwd").map_err(told)?),
            "connect" => drop(std::net::TcpStream::connect("127.0.0.1:1").map_err(told)?),
            "wait" => thread::sleep(Duration::from_secs(3600)),
            "look around" => look_around()?,
            "reject" => return Ok(Verdict::Reject(format!("no\u{1b}[2J\n{}", "!".repeat(10_000)))),
            "fail" => return Err(Error::Unsupported("this\nand that".into())),
            "remember" => host::count("remembered", u64::from(call)),
            _ => {}
        }
        Ok(Verdict::Forward)
    }
}

fn told(error: std::io::Error) -> Error {
    Error::Failed(error.to_string())
}

const LEVELS: [Level; 7] =
    [Level::Resource, Level::Scope, Level::Metric, Level::Record, Level::Event, Level::Link, Level::Exemplar];

/// Every function with rows that there are not. What is not refused changes nothing.
fn wrong_rows() -> Result<(), Error> {
    let value = || Value::Text("wrong".into());
    for level in LEVELS {
        for index in [1_000, u32::MAX - 1, u32::MAX] {
            let column = Column { level, target: Target::Attribute("wrong".into()) };
            let field = Column { level, target: Target::BuiltIn(Field::Body) };
            for rows in [
                Rows::Only(vec![index]),
                Rows::Only(vec![index; 1_000]),
                Rows::Under(ParentsAt { level, indexes: vec![index] }),
                Rows::Under(ParentsAt { level: Level::Exemplar, indexes: vec![index, 0] }),
            ] {
                drop(batch::set(&column, &value(), &rows));
                drop(batch::set(&field, &value(), &rows));
                drop(batch::insert(&column, &value(), &rows));
                drop(batch::update(&field, &value(), &rows));
                drop(batch::remove(&column, &rows));
                drop(batch::rename(level, "a", "wrong", &rows));
                drop(batch::copy(&field, &column, &rows));
                drop(batch::hash(&column, None, &rows));
                drop(batch::find(&field, &Test::Present, &rows));
                drop(batch::discard(level, &rows));
                drop(batch::route(level, &rows, &["default".into()]));
                drop(batch::read_text(&field, &rows));
                drop(batch::read_values(&column, &rows));
                let cells = Cells { data: vec![1, 2, 3], offsets: vec![index, 0, 7] };
                drop(batch::write_text(&column, &cells, &rows));
                let ints = Ints { values: vec![1], present: vec![true, true] };
                drop(batch::write_ints(&column, &ints, &rows));
            }
            drop(batch::get_cell(level, index, &Target::BuiltIn(Field::TraceId)));
            drop(batch::set_cell(level, index, &Target::Attribute("wrong".into()), &value()));
            drop(batch::set_cell(level, index, &Target::BuiltIn(Field::Kind), &Value::Int(i64::MIN)));
            drop(batch::remove_cell(level, index, &Target::BuiltIn(Field::Number)));
            drop(batch::attributes(level, index));
        }
    }
    // And of the first row, values that its fields cannot have.
    for field in [Field::TraceId, Field::SpanId, Field::SeverityNumber, Field::TimeUnixNano, Field::Flags] {
        for value in [
            Value::Encoded(vec![0xff; 20]),
            Value::Bytes(vec![1; 3]),
            Value::Text("zz".into()),
            Value::Double(f64::NAN),
        ] {
            drop(batch::set_cell(Level::Record, 1_000, &Target::BuiltIn(field), &value));
        }
    }
    Ok(())
}

fn wrong_patterns() -> Result<(), Error> {
    for number in [0, 1, u32::MAX] {
        let refused = [
            batch::remove_keys(Level::Record, number, &Rows::All).is_err(),
            batch::rename_keys(Level::Record, number, "$9${x}", &Rows::All).is_err(),
            batch::hash(&records("a"), Some(number), &Rows::All).is_err(),
            batch::find(&records("a"), &Test::Matches(number), &Rows::All).is_err(),
            batch::extract(&records("a"), number, &[], &Rows::All).is_err(),
            batch::redact(
                &[Redaction { pattern: number, action: Action::Hash(number) }],
                Selection { places: Places::all(), only_keys: Some(number), except_keys: None },
            )
            .is_err(),
            batch::redact_keys(number, &Action::Remove).is_err(),
        ];
        if refused.contains(&false) {
            return Err(Error::Failed(format!("{number}: {refused:?}")));
        }
    }
    Ok(())
}

/// What a plugin finds of the world.
fn look_around() -> Result<(), Error> {
    let found = [
        ("environment", std::env::vars().next().is_some()),
        ("arguments", std::env::args().count() > 1),
        ("stdin", std::io::stdin().read_line(&mut String::new()).is_ok_and(|bytes| bytes > 0)),
        ("no time of day", SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs() < 1_700_000_000),
        ("no time", Instant::now() > Instant::now()),
        ("the host's clock differs", host::now() / 1_000_000_000 < 1_700_000_000),
    ];
    black_box(HashMap::from([(1, 2)])); // asks for random numbers
    match found.iter().find(|(_, found)| *found) {
        Some((what, _)) => Err(Error::Failed((*what).into())),
        None => Ok(()),
    }
}
