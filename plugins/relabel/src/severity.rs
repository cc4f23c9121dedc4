//! Severities out of what a record says of its level: a text, one of Pino's numbers, or the record's own text
//! or number where only the other is there.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use tollgate_plugin::{Field, Level, Result, Signal, Table, Target, count};

/// Records that had something there, and nothing that names a level.
const UNKNOWN: &str = "severity_unknown";

/// Where the level is read, and where it goes.
#[derive(Clone, Debug)]
pub struct MapSeverity {
    from: Target,
    /// The attribute that gets the level's name.
    attribute: Option<String>,
    /// Names of the sender's own, in lower case.
    map: BTreeMap<String, Severity>,
    /// Whether a record that has a severity number gets another one.
    overwrite: bool,
}

/// The six of OpenTelemetry, by their first number.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Severity {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    Fatal,
}

impl Default for MapSeverity {
    fn default() -> MapSeverity {
        MapSeverity {
            from: Target::Attribute("level".to_owned()),
            attribute: Some("level".to_owned()),
            map: BTreeMap::new(),
            overwrite: true,
        }
    }
}

impl<'de> Deserialize<'de> for MapSeverity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<MapSeverity, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Full {
            from: Option<Target>,
            attribute: Option<Attribute>,
            #[serde(default)]
            map: BTreeMap<String, Severity>,
            #[serde(default = "yes")]
            overwrite: bool,
        }
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "an attribute's key, or false for none")]
        enum Attribute {
            Named(String),
            Wanted(bool),
        }
        fn yes() -> bool {
            true
        }
        let default = MapSeverity::default();
        let default_attribute = default.attribute.clone();
        crate::config::text_or_table(
            deserializer,
            "true, the attribute or field to read, or a table",
            |text| Ok(MapSeverity { from: text.parse()?, ..MapSeverity::default() }),
            |Full { from, attribute, map, overwrite }| {
                Ok(MapSeverity {
                    from: from.unwrap_or(default.from),
                    attribute: match attribute {
                        None | Some(Attribute::Wanted(true)) => default_attribute,
                        Some(Attribute::Named(key)) => {
                            Some(crate::config::attribute_key(&key, "and `attribute` names none")?)
                        }
                        Some(Attribute::Wanted(false)) => None,
                    },
                    map: map.into_iter().map(|(name, severity)| (name.to_lowercase(), severity)).collect(),
                    overwrite,
                })
            },
        )
    }
}

impl MapSeverity {
    /// Whether there is something to do: only log records have a severity.
    pub fn is_in(&self, signal: Signal, level: Level) -> bool {
        Field::SeverityNumber.is_in(signal, level) && self.from.is_in(signal, level)
    }

    /// Two columns in, three out.
    pub fn run(&self, table: Table<'_>) -> Result<()> {
        let without_severity;
        let table = if self.overwrite {
            table
        } else {
            without_severity = table.field(Field::SeverityNumber).absent()?;
            table.rows(&without_severity)
        };

        let source = table.target(&self.from);
        let ints = source.ints()?;
        let texts = source.texts()?;
        let is_number = self.from == Target::from(Field::SeverityNumber);
        let mut unknown = 0;
        let severities: Vec<Option<Severity>> = ints
            .cells()
            .zip(texts.cells())
            .map(|cell| {
                let severity = match cell {
                    (Some(number), _) if is_number => Severity::of_number(number),
                    (Some(number), _) => Severity::of_pino(number),
                    (None, Some(text)) => self.of_text(text),
                    (None, None) => return None,
                };
                unknown += u64::from(severity.is_none());
                severity
            })
            .collect();
        if unknown > 0 {
            count(UNKNOWN, unknown);
        }
        if severities.iter().all(Option::is_none) {
            return Ok(());
        }

        // A number within the level, such as `info2`, stays as it is.
        if !is_number {
            table
                .field(Field::SeverityNumber)
                .write_ints(severities.iter().map(|s| s.map(Severity::number)))?;
        }
        table.field(Field::SeverityText).write_texts(severities.iter().map(|s| s.map(Severity::upper)))?;
        match &self.attribute {
            Some(key) => table.attribute(key).write_texts(severities.iter().map(|s| s.map(Severity::lower))),
            None => Ok(()),
        }
    }

    fn of_text(&self, text: &str) -> Option<Severity> {
        let name = text.trim().to_lowercase();
        if let Some(severity) = self.map.get(&name) {
            return Some(*severity);
        }
        Some(match name.as_str() {
            "trace" | "verbose" | "silly" => Severity::Trace,
            "debug" => Severity::Debug,
            "info" | "information" | "notice" | "log" => Severity::Info,
            "warn" | "warning" => Severity::Warn,
            "error" | "err" => Severity::Error,
            "fatal" | "critical" | "crit" | "alert" | "emerg" | "emergency" | "panic" => Severity::Fatal,
            number => return number.parse().ok().and_then(Severity::of_pino),
        })
    }
}

impl Severity {
    /// Pino's and Bunyan's numbers: 10, 20 … 60, and levels of the user's own between them.
    fn of_pino(number: i64) -> Option<Severity> {
        Some(match number {
            10..20 => Severity::Trace,
            20..30 => Severity::Debug,
            30..40 => Severity::Info,
            40..50 => Severity::Warn,
            50..60 => Severity::Error,
            60..100 => Severity::Fatal,
            _ => return None,
        })
    }

    /// OpenTelemetry's.
    fn of_number(number: i64) -> Option<Severity> {
        Some(match number {
            1..=4 => Severity::Trace,
            5..=8 => Severity::Debug,
            9..=12 => Severity::Info,
            13..=16 => Severity::Warn,
            17..=20 => Severity::Error,
            21..=24 => Severity::Fatal,
            _ => return None,
        })
    }

    fn number(self) -> i64 {
        match self {
            Severity::Trace => 1,
            Severity::Debug => 5,
            Severity::Info => 9,
            Severity::Warn => 13,
            Severity::Error => 17,
            Severity::Fatal => 21,
        }
    }

    fn upper(self) -> &'static str {
        match self {
            Severity::Trace => "TRACE",
            Severity::Debug => "DEBUG",
            Severity::Info => "INFO",
            Severity::Warn => "WARN",
            Severity::Error => "ERROR",
            Severity::Fatal => "FATAL",
        }
    }

    fn lower(self) -> &'static str {
        match self {
            Severity::Trace => "trace",
            Severity::Debug => "debug",
            Severity::Info => "info",
            Severity::Warn => "warn",
            Severity::Error => "error",
            Severity::Fatal => "fatal",
        }
    }
}
