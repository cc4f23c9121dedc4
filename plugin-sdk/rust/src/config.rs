//! The configuration: JSON to the plugin's own type, with the place of a mistake.

use std::fmt::Write;

use serde::de::DeserializeOwned;
use serde_path_to_error::{Path, Segment};

use crate::{Error, Result};

pub(crate) fn read<C: DeserializeOwned>(json: &str) -> Result<C> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let config = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let pointer = pointer(error.path());
        Error::config(pointer, without_position(&error.into_inner().to_string()))
    })?;
    deserializer.end().map_err(|error| Error::config("", error))?;
    Ok(config)
}

/// A JSON pointer (RFC 6901).
fn pointer(path: &Path) -> String {
    let mut pointer = String::new();
    for segment in path {
        let _ = match segment {
            Segment::Seq { index } => write!(pointer, "/{index}"),
            Segment::Map { key } | Segment::Enum { variant: key } => {
                write!(pointer, "/{}", key.replace('~', "~0").replace('/', "~1"))
            }
            Segment::Unknown => continue,
        };
    }
    pointer
}

/// serde_json ends its messages with a position in a JSON text that the reader never saw.
fn without_position(message: &str) -> &str {
    message.rfind(" at line ").map_or(message, |end| &message[..end])
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Config {
        #[serde(default)]
        #[allow(dead_code)]
        rules: Vec<Rule>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Rule {
        ratio: f64,
    }

    #[track_caller]
    fn mistake(json: &str, pointer: &str, message: &str) {
        let Err(Error::BadConfig(mistake)) = read::<Config>(json) else { panic!("{json} is no mistake") };
        assert_eq!((mistake.pointer.as_str(), mistake.message.as_str()), (pointer, message));
    }

    #[test]
    fn a_mistake_has_its_place() {
        mistake(
            r#"{"rules": [{"ratio": 1}, {"ratio": "x"}]}"#,
            "/rules/1/ratio",
            "invalid type: string \"x\", expected f64",
        );
        mistake(r#"{"rules": [{}]}"#, "/rules/0", "missing field `ratio`");
        mistake(r#"{"rles~/": 1}"#, "/rles~0~1", "unknown field `rles~/`, expected `rules`");
    }
}
