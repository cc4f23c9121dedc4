//! What became of a batch: before and after, row by row.

use super::rows::{Row, pair, rows};
use anyhow::Context;
use serde_json::Value;
use std::fmt::Write;
use tollgate::{
    otlp::{self, Chunks, Signal},
    plugin::{DEFAULT_DESTINATION, Transformed},
};

/// The records of a batch that go the same way, and which that is: empty for the tenant's own upstream. No
/// record is in two parts.
pub(super) struct Part {
    pub(super) destination: String,
    pub(super) batch: Value,
}

/// A batch as OTLP/JSON.
pub(super) fn to_json(signal: Signal, batch: &Chunks) -> anyhow::Result<Value> {
    let json = otlp::to_json(signal, batch, u64::MAX, |_| Ok(()));
    let json = json.map_err(|refusal| anyhow::anyhow!("{}", refusal.message()))?;
    serde_json::from_slice(&json).context("reading our own JSON")
}

/// What plugins made of a batch.
pub(super) fn parts(signal: Signal, after: &Transformed) -> anyhow::Result<Vec<Part>> {
    let own = after.batch.as_ref().map(|batch| (String::new(), batch.message()));
    let routed = after.routed.iter().map(|routed| {
        let destination = routed.destinations.join(", ");
        (if destination == DEFAULT_DESTINATION { String::new() } else { destination }, routed.message.clone())
    });
    let part = |(destination, batch)| Ok(Part { destination, batch: to_json(signal, &batch)? });
    own.into_iter().chain(routed).map(part).collect()
}

/// How a difference is shown.
#[derive(Clone, Copy)]
pub(super) struct Look {
    /// Whether what stayed is shown too.
    pub(super) whole: bool,
    /// Whether a terminal shows it.
    pub(super) coloured: bool,
    /// What is said of rows that are nowhere.
    pub(super) lost: &'static str,
}

impl Look {
    /// What became of a batch, and nothing of what stayed.
    pub(super) const CHANGES: Look = Look { whole: false, coloured: false, lost: "discarded" };
}

/// What is different; empty where nothing is. Every row stands once, with where it went unless that is where
/// all goes; rows that went nowhere are `discarded`.
pub(super) fn diff(before: &Value, after: &[Part], look: Look) -> String {
    let mut writer = Writer { out: String::new(), look };
    let after: Vec<_> = after.iter().map(|part| (part.destination.as_str(), rows(&part.batch))).collect();
    let parts: Vec<_> = after.iter().map(|(destination, rows)| (*destination, rows.as_slice())).collect();
    writer.list(&rows(before), &parts);
    writer.out
}

/// What a row became in one place.
type Became<'a> = (&'a str, &'a Row);

struct Writer {
    out: String,
    look: Look,
}

impl Writer {
    /// The rows of one list, and what they are in every place.
    fn list(&mut self, before: &[Row], parts: &[(&str, &[Row])]) {
        let mut became: Vec<Vec<Became<'_>>> = vec![Vec::new(); before.len()];
        let mut new: Vec<Became<'_>> = Vec::new();
        for (destination, after) in parts {
            // A record is in one part only; what is around it may be in all.
            let is_left = |row: &usize| !before[*row].is_record || became[*row].is_empty();
            let left: Vec<usize> = (0..before.len()).filter(is_left).collect();
            let pairs = pair(&left.iter().map(|row| &before[*row]).collect::<Vec<_>>(), after);
            let is_new = |row: &&Row| !pairs.iter().flatten().any(|known| std::ptr::eq(*known, *row));
            new.extend(after.iter().filter(is_new).map(|row| (*destination, row)));
            for (row, after) in left.iter().zip(&pairs) {
                became[*row].extend(after.map(|after| (*destination, after)));
            }
        }
        before.iter().zip(&became).for_each(|(row, became)| self.row(row, became));
        new.iter().for_each(|(destination, row)| self.appeared(row, destination));
    }

    fn row(&mut self, row: &Row, became: &[Became<'_>]) {
        if became.is_empty() {
            if row.is_record || row.below.is_empty() {
                self.heading(&row.path, self.look.lost);
                self.cells(row, Mark::Old);
            } else {
                self.heading(&row.path, "gone");
                row.below.iter().for_each(|row| self.row(row, &[]));
            }
            return;
        }
        // Mostly a row is the same wherever it went.
        let mut groups: Vec<(Vec<&str>, Vec<Line>)> = Vec::new();
        for (destination, after) in became {
            let lines = compare(row, after);
            match groups.iter_mut().find(|(_, known)| *known == lines) {
                Some((destinations, _)) => destinations.push(destination),
                None => groups.push((vec![destination], lines)),
            }
        }
        let is_split = groups.len() > 1;
        for (destinations, lines) in groups {
            let is_usual = destinations.iter().all(|destination| destination.is_empty());
            let named =
                destinations.iter().map(|name| if name.is_empty() { DEFAULT_DESTINATION } else { name });
            let whither = match is_split || (row.is_record && !is_usual) {
                true => format!("→ {}", named.collect::<Vec<_>>().join(", ")),
                false => String::new(),
            };
            let is_changed = lines.iter().any(|line| line.mark != Mark::Same);
            let shows_all = self.look.whole && !lines.is_empty();
            if is_changed || shows_all || !whither.is_empty() {
                self.heading(&row.path, &whither);
            }
            lines.iter().filter(|line| line.mark != Mark::Same || shows_all).for_each(|line| self.line(line));
        }
        let below: Vec<_> =
            became.iter().map(|(destination, after)| (*destination, after.below.as_slice())).collect();
        self.list(&row.below, &below);
    }

    fn appeared(&mut self, row: &Row, destination: &str) {
        let whither = if destination.is_empty() { String::new() } else { format!(" → {destination}") };
        self.heading(&row.path, &format!("new{whither}"));
        self.cells(row, Mark::New);
        row.below.iter().for_each(|row| self.appeared(row, destination));
    }

    fn cells(&mut self, row: &Row, mark: Mark) {
        for (target, value) in &row.cells {
            self.line(&Line { mark, target: target.clone(), value: value.clone() });
        }
    }

    fn heading(&mut self, path: &str, what: &str) {
        let gap = if what.is_empty() { "" } else { "  " };
        self.paint("1", format_args!("{path}{gap}{what}"));
    }

    fn line(&mut self, line: &Line) {
        let (sign, colour) = match line.mark {
            Mark::Same => (' ', "2"),
            Mark::Old => ('-', "31"),
            Mark::New => ('+', "32"),
        };
        self.paint(colour, format_args!("  {sign} {}: {}", line.target, line.value));
    }

    fn paint(&mut self, colour: &str, text: std::fmt::Arguments<'_>) {
        // A String takes all.
        let _ = match self.look.coloured {
            true => writeln!(self.out, "\x1b[{colour}m{text}\x1b[0m"),
            false => writeln!(self.out, "{text}"),
        };
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Mark {
    Same,
    Old,
    New,
}

#[derive(PartialEq)]
struct Line {
    mark: Mark,
    target: String,
    value: String,
}

/// The cells of a row, first those that it had, then those that are new.
fn compare(before: &Row, after: &Row) -> Vec<Line> {
    let mut new: Vec<Option<&(String, String)>> = after.cells.iter().map(Some).collect();
    // Equal ones find each other first, so that of two with the same key the right one counts as changed.
    let mut pairs = vec![None; before.cells.len()];
    for (cell, pair) in before.cells.iter().zip(&mut pairs) {
        if let Some(place) = new.iter().position(|other| *other == Some(cell)) {
            *pair = new[place].take();
        }
    }
    let mut lines = Vec::new();
    for ((target, value), pair) in before.cells.iter().zip(pairs) {
        let line = |mark, value: &String| Line { mark, target: target.clone(), value: value.clone() };
        if pair.is_some() {
            lines.push(line(Mark::Same, value));
            continue;
        }
        lines.push(line(Mark::Old, value));
        if let Some(changed) = new.iter_mut().find(|other| other.is_some_and(|(name, _)| name == target))
            && let Some((_, value)) = changed.take()
        {
            lines.push(line(Mark::New, value));
        }
    }
    let new = new.into_iter().flatten();
    lines.extend(new.map(|(target, value)| Line {
        mark: Mark::New,
        target: target.clone(),
        value: value.clone(),
    }));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const CHANGES: Look = Look::CHANGES;

    fn attributes(pairs: &[(&str, &str)]) -> Value {
        pairs.iter().map(|(key, text)| json!({ "key": key, "value": { "stringValue": text } })).collect()
    }

    fn record(body: &str, pairs: &[(&str, &str)]) -> Value {
        json!({ "body": { "stringValue": body }, "attributes": attributes(pairs) })
    }

    fn logs(resource: &[(&str, &str)], records: &[Value]) -> Value {
        json!({ "resourceLogs": [{
            "resource": { "attributes": attributes(resource) },
            "scopeLogs": [{ "logRecords": records }],
        }] })
    }

    fn part(destination: &str, batch: Value) -> Part {
        Part { destination: destination.to_owned(), batch }
    }

    #[test]
    fn nothing_is_said_of_what_stayed() {
        let batch = logs(&[("service.name", "shop")], &[record("a", &[("k", "v")])]);
        assert_eq!(diff(&batch, &[part("", batch.clone())], CHANGES), "");
        let whole = diff(&batch, &[part("", batch.clone())], Look { whole: true, ..CHANGES });
        assert_eq!(
            whole,
            "resource 1\n    service.name: \"shop\"\nresource 1 / scope 1 / record 1\n    @body: \"a\"\n    k: \"v\"\n"
        );
    }

    #[test]
    fn what_changed_is_shown_where_it_is() {
        let before = logs(&[("service.name", "shop")], &[record("a", &[("k", "v"), ("gone", "x")])]);
        let after = logs(&[("service.name", "shop"), ("by", "door")], &[record("b", &[("k", "w")])]);
        assert_eq!(
            diff(&before, &[part("", after)], CHANGES),
            "resource 1\n  + by: \"door\"\n\
             resource 1 / scope 1 / record 1\n  - @body: \"a\"\n  + @body: \"b\"\n  - k: \"v\"\n  + k: \"w\"\n  - gone: \"x\"\n"
        );
    }

    #[test]
    fn records_are_found_where_they_went() {
        let one = |body: &str, to: &str| record(body, &[("to", to), ("common", "x")]);
        let before = logs(&[], &[one("a", "1"), one("b", "2"), one("c", "3"), one("d", "4")]);
        let parts = [
            part("", logs(&[], &[one("b", "2")])),
            part("archive", logs(&[], &[one("c", "3")])),
            part("default, archive", logs(&[], &[one("D", "4")])),
        ];
        assert_eq!(
            diff(&before, &parts, CHANGES),
            "resource 1 / scope 1 / record 1  discarded\n  - @body: \"a\"\n  - to: \"1\"\n  - common: \"x\"\n\
             resource 1 / scope 1 / record 3  → archive\n\
             resource 1 / scope 1 / record 4  → default, archive\n  - @body: \"d\"\n  + @body: \"D\"\n"
        );
    }

    #[test]
    fn of_twins_each_is_shown_once() {
        let twin = || record("twin", &[]);
        let before = logs(&[], &[twin(), twin(), twin()]);
        let parts = [part("", logs(&[], &[twin()])), part("archive", logs(&[], &[twin()]))];
        let text = diff(&before, &parts, CHANGES);
        assert_eq!((text.matches("archive").count(), text.matches("discarded").count()), (1, 1), "{text}");
    }

    #[test]
    fn a_terminal_is_sent_no_command_of_a_senders() {
        let before = logs(&[], &[record("a\u{1b}[2J\u{9b}2J\u{202e}", &[("k\u{1b}", "\n")])]);
        let text = diff(&before, &[], CHANGES);
        assert!(!text.contains(['\u{1b}', '\u{9b}', '\u{202e}']), "{text:?}");
        assert!(text.contains("\"a\\u{1b}[2J"), "{text}");
    }

    #[test]
    fn points_spans_and_what_is_below_them_have_their_rows() {
        let before = json!({ "resourceMetrics": [{ "scopeMetrics": [{ "metrics": [{
            "name": "requests",
            "sum": { "isMonotonic": true, "dataPoints": [{ "asInt": "3", "timeUnixNano": "5" }] },
        }] }] }] });
        let mut after = before.clone();
        after["resourceMetrics"][0]["scopeMetrics"][0]["metrics"][0]["sum"]["dataPoints"][0]["asInt"] =
            "4".into();
        assert_eq!(
            diff(&before, &[part("", after)], CHANGES),
            "resource 1 / scope 1 / metric 1 / record 1\n  - @number: 3\n  + @number: 4\n"
        );
        let before = json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": [{
            "status": { "message": "no" }, "events": [{ "name": "boom" }],
        }] }] }] });
        let mut after = before.clone();
        let span = &mut after["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
        span["status"]["message"] = "yes".into();
        span["events"][0]["name"] = "bang".into();
        assert_eq!(
            diff(&before, &[part("", after)], CHANGES),
            "resource 1 / scope 1 / record 1\n  - @status_message: \"no\"\n  + @status_message: \"yes\"\n\
             resource 1 / scope 1 / record 1 / event 1\n  - @name: \"boom\"\n  + @name: \"bang\"\n"
        );
    }
}
