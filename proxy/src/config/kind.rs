//! What a value can be: how it is read, what is said where it is not, and how schema, reference and
//! print show it.

use super::{
    diagnostic::Diagnostic,
    reader::Reader,
    section::{Located, unknown},
    source::{Node, Value},
};
use serde_json::{Value as Json, json};
use std::{
    fmt::{self, Display},
    ops::RangeInclusive,
    time::{Duration, SystemTime},
};
use toml::value::{Datetime, Offset};

/// A kind of value.
pub trait Kind {
    /// What reading one gives.
    type Value;

    /// What is wanted, with its article and an example.
    fn wanted(&self) -> String;

    /// As JSON Schema.
    fn schema(&self) -> Json;

    /// Reads a value. What is wrong with it is reported.
    fn read(&self, node: &Node, reader: &mut Reader) -> Option<Self::Value>;

    /// As the user would have written it, in JSON.
    fn show(&self, value: &Self::Value) -> Json;

    /// The same in TOML.
    fn write(&self, value: &Self::Value) -> String {
        self.show(value).to_string()
    }
}

/// `true` or `false`.
pub struct Flag;

impl Kind for Flag {
    type Value = bool;

    fn wanted(&self) -> String {
        "`true` or `false`".to_owned()
    }

    fn schema(&self) -> Json {
        json!({ "type": "boolean" })
    }

    fn read(&self, node: &Node, reader: &mut Reader) -> Option<bool> {
        match node.value {
            Value::Boolean(value) => Some(value),
            _ => {
                reader.wrong_type(node, self);
                None
            }
        }
    }

    fn show(&self, value: &bool) -> Json {
        json!(value)
    }
}

/// Any text.
pub struct Text {
    /// What is wanted, with its article and an example.
    pub wanted: &'static str,
}

impl Kind for Text {
    type Value = String;

    fn wanted(&self) -> String {
        self.wanted.to_owned()
    }

    fn schema(&self) -> Json {
        json!({ "type": "string" })
    }

    fn read(&self, node: &Node, reader: &mut Reader) -> Option<String> {
        let text = reader.text(node, self)?;
        if text.is_empty() {
            reader.report(
                Diagnostic::error(format!("expected {}", self.wanted)).at(&node.place, "this is empty"),
            );
            return None;
        }
        Some(text)
    }

    fn show(&self, value: &String) -> Json {
        json!(value)
    }
}

/// Why a text cannot be used.
pub struct Fault {
    title: String,
    label: String,
    help: Option<String>,
}

impl Fault {
    /// What is wrong.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), label: String::new(), help: None }
    }

    /// Said beside the underlined text.
    pub fn label(mut self, text: impl Into<String>) -> Self {
        self.label = text.into();
        self
    }

    /// What would be right.
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }

    /// As a mistake at the text.
    pub fn at(self, node: &Node) -> Diagnostic {
        let diagnostic = Diagnostic::error(self.title).at(&node.place, self.label);
        match self.help {
            Some(help) => diagnostic.help(help),
            None => diagnostic,
        }
    }
}

/// A text that means something.
pub struct Parsed<T> {
    /// What is wanted, with its article and an example.
    pub wanted: &'static str,
    /// Finds what it means.
    pub parse: fn(&str) -> Result<T, Fault>,
}

impl<T: Display> Kind for Parsed<T> {
    type Value = T;

    fn wanted(&self) -> String {
        self.wanted.to_owned()
    }

    fn schema(&self) -> Json {
        json!({ "type": "string" })
    }

    fn read(&self, node: &Node, reader: &mut Reader) -> Option<T> {
        let text = reader.text(node, self)?;
        (self.parse)(&text).map_err(|fault| reader.report(fault.at(node))).ok()
    }

    fn show(&self, value: &T) -> Json {
        json!(value.to_string())
    }
}

/// One of a few words or numbers.
pub struct OneOf<T: 'static>(pub &'static [(Word, T)]);

/// A word as it is written.
#[derive(Clone, Copy, PartialEq)]
pub enum Word {
    /// As a string.
    Text(&'static str),
    /// As an integer.
    Number(u16),
}

impl Word {
    fn json(self) -> Json {
        match self {
            Word::Text(text) => json!(text),
            Word::Number(number) => json!(number),
        }
    }

    fn is(self, value: &Value) -> bool {
        match (self, value) {
            (Word::Text(word), Value::Text(text)) => word == text,
            (Word::Number(word), Value::Integer(number)) => i128::from(word) == *number,
            _ => false,
        }
    }
}

impl<T: Clone + PartialEq> Kind for OneOf<T> {
    type Value = T;

    fn wanted(&self) -> String {
        let words: Vec<String> = self.0.iter().map(|(word, _)| word.json().to_string()).collect();
        match words.split_last() {
            Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
            _ => words.join(""),
        }
    }

    fn schema(&self) -> Json {
        json!({ "enum": self.0.iter().map(|(word, _)| word.json()).collect::<Vec<_>>() })
    }

    fn read(&self, node: &Node, reader: &mut Reader) -> Option<T> {
        let expanded = match &node.value {
            Value::Text(_) => Value::Text(reader.text(node, self)?),
            Value::Integer(number) => Value::Integer(*number),
            _ => {
                reader.wrong_type(node, self);
                return None;
            }
        };
        if let Some((_, value)) = self.0.iter().find(|(word, _)| word.is(&expanded)) {
            return Some(value.clone());
        }
        let texts: Vec<&str> = self
            .0
            .iter()
            .filter_map(|(word, _)| if let Word::Text(text) = word { Some(*text) } else { None })
            .collect();
        match expanded {
            Value::Text(text) if !texts.is_empty() => {
                reader.report(unknown(&text, &node.place, "value", &texts))
            }
            Value::Integer(number) if texts.is_empty() => reader.report(
                Diagnostic::error(format!("expected {}, not {number}", self.wanted())).at(&node.place, ""),
            ),
            _ => reader.wrong_type(node, self),
        }
        None
    }

    fn show(&self, value: &T) -> Json {
        self.0.iter().find(|(_, known)| known == value).map_or(Json::Null, |(word, _)| word.json())
    }
}

/// A list of values, each with its place.
pub struct List<K>(pub K);

impl<K: Kind> Kind for List<K> {
    type Value = Vec<Located<K::Value>>;

    fn wanted(&self) -> String {
        format!("a list, each {}", self.0.wanted())
    }

    fn schema(&self) -> Json {
        json!({ "type": "array", "items": self.0.schema() })
    }

    fn read(&self, node: &Node, reader: &mut Reader) -> Option<Self::Value> {
        let Value::Array(nodes) = &node.value else {
            let wanted = format!("a list such as [ … ], each {}", self.0.wanted());
            reader.wrong_type_for(node, &wanted);
            return None;
        };
        let mut values = Vec::with_capacity(nodes.len());
        for node in nodes {
            if let Some(value) = self.0.read(node, reader) {
                values.push(Located { value, place: Some(node.place.clone()) });
            }
        }
        Some(values)
    }

    fn show(&self, values: &Self::Value) -> Json {
        values.iter().map(|located| self.0.show(&located.value)).collect()
    }
}

/// An integer within a range.
pub struct Count<T>(pub RangeInclusive<T>);

impl<T: Copy + Display + TryFrom<i128> + Into<Json>> Kind for Count<T>
where
    i128: TryFrom<T>,
{
    type Value = T;

    fn wanted(&self) -> String {
        format!("an integer from {} to {}", self.0.start(), self.0.end())
    }

    fn schema(&self) -> Json {
        json!({ "type": "integer", "minimum": (*self.0.start()).into(), "maximum": (*self.0.end()).into() })
    }

    fn read(&self, node: &Node, reader: &mut Reader) -> Option<T> {
        let Value::Integer(number) = node.value else {
            reader.wrong_type(node, self);
            return None;
        };
        within(number, &self.0, number == 0, node, reader, |number| number.to_string())
    }

    fn show(&self, value: &T) -> Json {
        (*value).into()
    }
}

/// A number of bytes within a range: `"4MiB"`, `"1GB"` or an integer.
pub struct Bytes<T>(pub RangeInclusive<T>);

/// Units of bytes, the largest first of each family.
const BYTE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

impl<T: Copy + TryFrom<i128>> Kind for Bytes<T>
where
    i128: TryFrom<T>,
{
    type Value = T;

    fn wanted(&self) -> String {
        "a number of bytes such as \"4MiB\"".to_owned()
    }

    fn schema(&self) -> Json {
        let units = BYTE_UNITS.map(|(unit, _)| unit).join("|");
        json!({ "anyOf": [
            { "type": "integer", "minimum": 0 },
            { "type": "string", "pattern": format!("^[0-9][0-9_]* ?({units}|KB)$|\\$\\{{env:") },
        ]})
    }

    fn read(&self, node: &Node, reader: &mut Reader) -> Option<T> {
        let number = match &node.value {
            Value::Integer(number) => *number,
            Value::Text(_) => {
                let text = reader.text(node, self)?;
                match parse_bytes(&text) {
                    Ok(bytes) => bytes,
                    Err(fault) => {
                        reader.report(fault.at(node));
                        return None;
                    }
                }
            }
            _ => {
                reader.wrong_type(node, self);
                return None;
            }
        };
        within(number, &self.0, number == 0, node, reader, size)
    }

    fn show(&self, value: &T) -> Json {
        json!(size(i128::try_from(*value).unwrap_or(i128::MAX)))
    }
}

fn parse_bytes(text: &str) -> Result<i128, Fault> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start();
    let known = BYTE_UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit));
    let number = number.replace('_', "").parse::<i128>();
    match (number, known) {
        (Ok(number), Some((_, factor))) => Ok(number.saturating_mul(i128::from(*factor))),
        (Ok(number), None) if unit.is_empty() => Ok(number),
        (Ok(_), None) if unit.starts_with('.') => {
            Err(Fault::new("a number of bytes is a whole one").help("for 1.5 MiB write \"1536KiB\""))
        }
        (Ok(_), None) => Err(Fault::new(format!("unknown unit `{unit}`"))
            .label("expected a number of bytes such as \"4MiB\"")
            .help("known units: B, kB, MB, GB, TB (of 1000) and KiB, MiB, GiB, TiB (of 1024)")),
        (Err(_), _) => {
            Err(Fault::new("expected a number of bytes such as \"4MiB\"").label("no number in front"))
        }
    }
}

/// A number of bytes as it would be written.
pub fn show_bytes(bytes: &u64) -> String {
    size(i128::from(*bytes))
}

/// With the largest unit that leaves no remainder.
fn size(bytes: i128) -> String {
    let fitting = |(_, factor): &&(&str, u64)| bytes != 0 && bytes % i128::from(*factor) == 0;
    match BYTE_UNITS.iter().find(fitting) {
        Some((unit, factor)) => format!("{}{unit}", bytes / i128::from(*factor)),
        None => format!("{bytes}B"),
    }
}

/// A time within a range: `"30s"`, `"1h30m"`, `"100ms"`.
pub struct Time(pub RangeInclusive<Duration>);

/// Units of time in milliseconds, the largest first.
const TIME_UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl Kind for Time {
    type Value = Duration;

    fn wanted(&self) -> String {
        "a duration such as \"30s\"".to_owned()
    }

    fn schema(&self) -> Json {
        json!({ "type": "string", "pattern": "^([0-9]+(d|h|ms|m|s))+$|\\$\\{env:" })
    }

    fn read(&self, node: &Node, reader: &mut Reader) -> Option<Duration> {
        if let Value::Integer(number) = node.value {
            let help = format!("for seconds write \"{number}s\"");
            let title = format!("expected {}", self.wanted());
            reader.report(Diagnostic::error(title).at(&node.place, "this has no unit").help(help));
            return None;
        }
        let text = reader.text(node, self)?;
        let Some(milliseconds) = parse_time(&text) else {
            let title = format!("expected {}", self.wanted());
            reader.report(
                Diagnostic::error(title)
                    .at(&node.place, "cannot be read as one")
                    .help("units are d, h, m, s and ms, the larger first: \"1h30m\""),
            );
            return None;
        };
        let range = self.0.start().as_millis() as i128..=self.0.end().as_millis() as i128;
        let shown = |milliseconds: i128| duration(milliseconds.unsigned_abs());
        let milliseconds = within(milliseconds, &range, false, node, reader, shown)?;
        Some(Duration::from_millis(u64::try_from(milliseconds).unwrap_or(u64::MAX)))
    }

    fn show(&self, value: &Duration) -> Json {
        json!(show_time(value))
    }
}

fn parse_time(text: &str) -> Option<i128> {
    let (mut rest, mut total, mut largest) = (text.trim(), 0i128, u64::MAX);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let (unit, after) =
            after.split_at(after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len()));
        let (_, factor) = TIME_UNITS.iter().find(|(name, _)| *name == unit)?;
        if *factor >= largest {
            return None;
        }
        largest = *factor;
        total = total.saturating_add(number.parse::<i128>().ok()?.saturating_mul(i128::from(*factor)));
        rest = after;
    }
    Some(total)
}

/// A duration as it would be written.
pub fn show_time(time: &Duration) -> String {
    duration(time.as_millis())
}

fn duration(milliseconds: u128) -> String {
    let (mut rest, mut text) = (milliseconds, String::new());
    for (unit, factor) in TIME_UNITS {
        let factor = u128::from(factor);
        if rest >= factor && unit != "d" {
            text.push_str(&format!("{}{unit}", rest / factor));
            rest %= factor;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// Holds a number against a range. Zero as a limit is the mistake that deserves words of its own.
fn within<T: Copy + TryFrom<i128>>(
    number: i128,
    range: &RangeInclusive<T>,
    is_zero: bool,
    node: &Node,
    reader: &mut Reader,
    shown: impl Fn(i128) -> String,
) -> Option<T>
where
    i128: TryFrom<T>,
{
    let wide = |bound: &T| i128::try_from(*bound).unwrap_or(i128::MAX);
    let (least, most) = (wide(range.start()), wide(range.end()));
    if (least..=most).contains(&number) {
        return T::try_from(number).ok();
    }
    let title = format!("{} is out of range", shown(number));
    let label = format!("from {} to {}", shown(least), shown(most));
    let diagnostic = Diagnostic::error(title).at(&node.place, label);
    reader.report(if is_zero {
        diagnostic.help("a limit of zero would let nothing through")
    } else {
        diagnostic
    });
    None
}

/// From when on: a TOML date (midnight UTC) or date-time with an offset.
pub struct Moment;

/// A moment, and how it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Instant {
    /// The moment.
    pub at: SystemTime,
    written: String,
}

impl Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl Kind for Moment {
    type Value = Instant;

    fn wanted(&self) -> String {
        "a date such as 2027-02-01 or 2027-02-01T08:00:00Z".to_owned()
    }

    fn schema(&self) -> Json {
        json!({ "anyOf": [
            { "type": "string", "format": "date" },
            { "type": "string", "format": "date-time" },
        ]})
    }

    fn read(&self, node: &Node, reader: &mut Reader) -> Option<Instant> {
        let Value::Datetime(written) = &node.value else {
            if let Value::Text(_) = node.value {
                reader.show(&node.place);
                let title = format!("expected {}", self.wanted());
                reader.report(
                    Diagnostic::error(title).at(&node.place, "this is a string").help("leave the quotes out"),
                );
            } else {
                reader.wrong_type(node, self);
            }
            return None;
        };
        match moment(written) {
            Ok(at) => Some(Instant { at, written: written.to_string() }),
            Err(label) => {
                let title = format!("expected {}", self.wanted());
                reader.report(Diagnostic::error(title).at(&node.place, label));
                None
            }
        }
    }

    fn show(&self, value: &Instant) -> Json {
        json!(value.to_string())
    }

    fn write(&self, value: &Instant) -> String {
        value.to_string()
    }
}

fn moment(written: &Datetime) -> Result<SystemTime, &'static str> {
    let date = written.date.ok_or("the date is missing")?;
    let time = match (written.time, written.offset) {
        (None, _) => 0,
        (Some(_), None) => return Err("add the offset: `Z` for UTC"),
        (Some(time), Some(offset)) => {
            let minutes = match offset {
                Offset::Z => 0,
                Offset::Custom { minutes } => i64::from(minutes),
            };
            let second = i64::from(time.second.unwrap_or(0));
            i64::from(time.hour) * 3600 + (i64::from(time.minute) - minutes) * 60 + second
        }
    };
    let days = days_since_1970(i64::from(date.year), i64::from(date.month), i64::from(date.day));
    let seconds = u64::try_from(days * 86_400 + time).map_err(|_| "before 1970")?;
    Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

/// Days from 1970-01-01 to a date of the Gregorian calendar, by counting years from March on, so that
/// the leap day is a year's last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_shown() {
        for (text, milliseconds) in [("30s", 30_000), ("1h30m", 5_400_000), ("100ms", 100), ("2m5s", 125_000)]
        {
            assert_eq!(parse_time(text), Some(milliseconds), "{text}");
            assert_eq!(duration(milliseconds.unsigned_abs()), text);
        }
        for text in ["", "30", "s", "-1s", "1.5s", "1m1h", "1s1s", "1 s", "1S"] {
            assert_eq!(parse_time(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_read_and_shown() {
        for (text, bytes) in [("4MiB", 4 << 20), ("512KiB", 512 << 10), ("1GB", 1_000_000_000), ("7B", 7)] {
            assert_eq!(parse_bytes(text).ok(), Some(bytes), "{text}");
            assert_eq!(size(bytes), text);
        }
        assert_eq!(parse_bytes("1_000 kb").ok(), Some(1_000_000));
        for text in ["", "MiB", "1.5MiB", "4 megs", "-1B"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn dates_are_counted() {
        for (text, seconds) in [
            ("1970-01-01", 0),
            ("2000-02-29", 951_782_400),
            ("2027-02-01", 1_801_440_000),
            ("2027-02-01T08:00:00+02:00", 1_801_461_600),
            ("2100-03-01T00:00:00Z", 4_107_542_400),
        ] {
            let written: Datetime = text.parse().unwrap();
            assert_eq!(moment(&written), Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)), "{text}");
        }
    }
}
