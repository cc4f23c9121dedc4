//! What is measured.

pub mod flood;
pub mod idle;
pub mod plugins;
pub mod requests;
pub mod start;

use std::time::Duration;

/// How senders reach a proxy.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// HTTP/1.1.
    Plain,
    /// HTTP/1.1 over TLS 1.3.
    Tls,
}

/// What is done to every record on its way.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Transform {
    /// Nothing.
    None,
    /// Four attributes are inserted: `relabel`, or the Collector's `attributes` processor.
    Relabel,
    /// And e-mail addresses and card numbers are masked: `redact`, or the Collector's `redaction` processor.
    RelabelRedact,
}

impl Transform {
    /// Every one, in the order of a report.
    pub const ALL: [Transform; 3] = [Transform::None, Transform::Relabel, Transform::RelabelRedact];

    /// Its name in a report.
    pub fn name(self) -> &'static str {
        match self {
            Transform::None => "nothing",
            Transform::Relabel => "relabel",
            Transform::RelabelRedact => "relabel and redact",
        }
    }
}

/// A time as a report shows it, to three digits: `85 µs`, `1.32 ms`.
fn show(time: Duration) -> String {
    let us = time.as_secs_f64() * 1e6;
    match us {
        ..1e3 => format!("{} µs", digits(us)),
        ..1e6 => format!("{} ms", digits(us / 1e3)),
        _ => format!("{} s", digits(us / 1e6)),
    }
}

/// A figure with as many decimals as make sense.
fn digits(figure: f64) -> String {
    match figure {
        ..10.0 => format!("{figure:.2}"),
        ..100.0 => format!("{figure:.1}"),
        _ => format!("{figure:.0}"),
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_keep_three_digits() {
        let shown =
            [Duration::from_nanos(8_512), Duration::from_micros(1_324), Duration::from_millis(12_300)]
                .map(show);
        assert_eq!(shown, ["8.51 µs", "1.32 ms", "12.3 s"]);
    }
}
