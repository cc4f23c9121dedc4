//! CPU per request: small, middling and large requests over keep-alive connections, every peer in turn.

use super::{Transform, Transport, digits, mebibytes, show};
use crate::{
    certificate::Certificate,
    form::{self, Form},
    lab::Lab,
    load::{Load, Outcome},
    machine,
    measure::{self, Spread},
    payload,
    peer::{self, NAMES, Peer, Running, Tls},
    sender,
    sink::Sink,
    table::Table,
};
use anyhow::Result;
use std::{borrow::Cow, time::Duration};

/// What is measured against each other: a peer, and the form of what it gets.
struct Row {
    peer: Box<dyn Peer>,
    name: String,
    form: Form,
    transform: Transform,
}

/// What one turn has shown.
struct Turn {
    /// The row's number.
    row: usize,
    records: usize,
    cpu_us: f64,
    per_second: f64,
    p50: Duration,
    p99: Duration,
    peak_bytes: u64,
}

/// Measures every peer in turn, several rounds long, and prints a table for each size.
pub fn run(lab: &mut Lab, transport: Transport) -> Result<()> {
    let usual = match transport {
        Transport::Plain => &NAMES[..],
        Transport::Tls => &["tollgate", "nginx"],
    };
    let row = |peer: Box<dyn Peer>| Row {
        name: peer.name().to_owned(),
        peer,
        form: Form::Protobuf,
        transform: Transform::None,
    };
    let rows: Vec<Row> = lab.peers(usual)?.into_iter().map(row).collect();
    let certificate = match transport {
        Transport::Plain => None,
        Transport::Tls => Some(Certificate::make(&lab.folder)?),
    };
    let over = match transport {
        Transport::Plain => "HTTP/1.1",
        Transport::Tls => "HTTP/1.1 over TLS 1.3",
    };
    compare(lab, &rows, certificate.as_ref(), over)
}

/// The same for those peers that know OTLP, with what they get in each of these forms.
pub fn run_forms(lab: &mut Lab, forms: &[Form]) -> Result<()> {
    let mut rows = Vec::new();
    for &form in forms {
        for peer in lab.peers(&["tollgate", "collector"])? {
            let name = format!("{}, {}", peer.name(), form.name());
            rows.push(Row { name, peer, form, transform: Transform::None });
        }
    }
    let names: Vec<_> = forms.iter().map(|form| form.name()).collect();
    compare(lab, &rows, None, &names.join(" and "))?;
    if forms.contains(&Form::Gzip) {
        for &records in &lab.options.records {
            let inflate = form::bare_inflate(&Form::Gzip.body(records)?)?;
            println!("a bare inflate of {records} records: {}", show(inflate));
        }
    }
    Ok(())
}

/// The same for those peers that can change what they hand on.
pub fn run_transforms(lab: &mut Lab) -> Result<()> {
    let mut rows = Vec::new();
    for transform in Transform::ALL {
        for peer in lab.peers(&["tollgate", "collector"])? {
            let name = format!("{}, {}", peer.name(), transform.name());
            rows.push(Row { name, peer, form: Form::Protobuf, transform });
        }
    }
    compare(lab, &rows, None, "HTTP/1.1, with transforms")
}

fn compare(lab: &mut Lab, rows: &[Row], certificate: Option<&Certificate>, over: &str) -> Result<()> {
    let mut sink = Sink::start(&lab.folder)?;
    let rounds = lab.options.rounds;
    let mut turns = Vec::new();
    for round in 1..=rounds {
        for (number, row) in rows.iter().enumerate() {
            eprintln!("round {round} of {rounds}: {}", row.name);
            turns.extend(take_turn(lab, number, row, &mut sink, certificate)?);
        }
    }
    for &records in &lab.options.records {
        let bytes = payload::logs(records).len();
        println!(
            "\n{over}, requests of {bytes} bytes in protobuf (log records: {records}), {} connections",
            lab.options.connections
        );
        print!("{}", table(rows, records, turns.iter().filter(|turn| turn.records == records)));
    }
    Ok(())
}

/// One turn: start, then warm up and measure for each size, stop.
fn take_turn(
    lab: &mut Lab,
    number: usize,
    row: &Row,
    sink: &mut Sink,
    certificate: Option<&Certificate>,
) -> Result<Vec<Turn>> {
    let tls = certificate.map(Tls::of).transpose()?;
    let mut running = peer::start(row.peer.as_ref(), lab, sink, |setup| {
        setup.tls = tls;
        setup.form = row.form;
        setup.transform = row.transform;
    })?;
    let mut turns = Vec::new();
    for records in lab.options.records.clone() {
        turns.push(Turn { row: number, ..measure(lab, row, &mut running, sink, records)? });
    }
    Ok(turns)
}

fn measure(lab: &mut Lab, row: &Row, running: &mut Running, sink: &mut Sink, records: usize) -> Result<Turn> {
    let body = row.form.body(records)?;
    let request = row.form.request(&sender::basic(sender::USER, sender::PASSWORD), &body);
    let load = Load {
        target: &running.target,
        connections: lab.options.connections,
        rate_hz: None,
        duration: lab.options.warmup,
        pressure: false,
        request: &|_| Cow::Borrowed(&request[..]),
    };
    load.run();
    machine::check_interrupt()?;
    running.process.check_running()?;

    let (counted_before, cpu_before) = (sink.count()?, measure::cpu_time(running.process.id())?);
    let outcome = Load { duration: lab.options.seconds, ..load }.run();
    let (counted, cpu) = (sink.count()?, measure::cpu_time(running.process.id())?);
    machine::check_interrupt()?;
    running.process.check_running()?;

    let requests = counted.requests - counted_before.requests;
    let keeps_bytes = row.peer.keeps_bytes() && row.form.keeps_bytes() && row.transform == Transform::None;
    let bytes = keeps_bytes.then_some(counted.bytes - counted_before.bytes);
    if let Some(loss) = loss(&outcome, body.len() as u64, requests, bytes) {
        lab.failed(format!("{}, {records} records: {loss}", row.name));
    }
    Ok(Turn {
        row: 0,
        records,
        cpu_us: (cpu - cpu_before).as_secs_f64() * 1e6 / outcome.good().max(1) as f64,
        per_second: outcome.answers_per_second(),
        p50: outcome.latency(50.0),
        p99: outcome.latency(99.0),
        peak_bytes: measure::memory(running.process.id())?.peak_bytes,
    })
}

/// What is missing, where anything is: every request is answered 200, and arrives once and whole.
fn loss(outcome: &Outcome, body_bytes: u64, requests: u64, bytes: Option<u64>) -> Option<String> {
    let (sent, sent_bytes) = (outcome.sent, outcome.sent * body_bytes);
    outcome.trouble().or_else(|| {
        let bytes = bytes.unwrap_or(sent_bytes);
        let lost =
            format!("{sent} requests with {sent_bytes} bytes were sent, {requests} with {bytes} arrived");
        (requests != sent || bytes != sent_bytes).then_some(lost)
    })
}

fn table<'a>(rows: &[Row], records: usize, turns: impl Iterator<Item = &'a Turn> + Clone) -> Table {
    let of = |number: usize, figure: fn(&Turn) -> f64| {
        Spread::of(turns.clone().filter(|turn| turn.row == number).map(figure))
    };
    let first = of(0, |turn| turn.cpu_us);
    let mut table = Table::new([
        "peer",
        "CPU/request",
        "min–max",
        "to the first",
        "records/CPU second",
        "requests/s",
        "p50",
        "p99",
        "peak memory",
    ]);
    for (number, row) in rows.iter().enumerate() {
        let Some(cpu_us) = of(number, |turn| turn.cpu_us) else { continue };
        let median = |figure| of(number, figure).map_or(0.0, |spread| spread.median);
        table.row([
            row.name.clone(),
            format!("{} µs", digits(cpu_us.median)),
            format!("{}–{}", digits(cpu_us.min), digits(cpu_us.max)),
            first.map_or("–".into(), |first| format!("{:.2} ×", cpu_us.median / first.median)),
            format!("{:.0}", records as f64 * 1e6 / cpu_us.median),
            format!("{:.0}", median(|turn| turn.per_second)),
            show(Duration::from_secs_f64(median(|turn| turn.p50.as_secs_f64()))),
            show(Duration::from_secs_f64(median(|turn| turn.p99.as_secs_f64()))),
            mebibytes(median(|turn| turn.peak_bytes as f64) as u64),
        ]);
    }
    table
}
