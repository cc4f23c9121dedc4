//! A tenant as resolved, each value with where it came from.

use super::{
    Loaded,
    reader::{Origin, Setting},
};
use std::fmt::Write;

/// A tenant's settings as TOML, with a comment beside each that says where it came from. Secrets are
/// masked. `None` if there is no such tenant.
pub fn tenant(loaded: &Loaded, name: &str) -> Option<String> {
    loaded.config.tenants.iter().find(|tenant| &*tenant.name == name)?;
    let table = format!("tenant.{name}");
    let mut sections: Vec<&str> = vec![&table];
    for setting in &loaded.settings {
        let below = setting.section.strip_prefix(&table).filter(|rest| rest.starts_with('.'));
        if below.is_some() && !sections.contains(&setting.section.as_str()) {
            sections.push(&setting.section);
        }
    }
    let mut text = String::new();
    for section in sections {
        let settings: Vec<&Setting> =
            loaded.settings.iter().filter(|setting| setting.section == section).collect();
        let lines: Vec<String> =
            settings.iter().map(|set| format!("{} = {}", key(&set.key), set.value)).collect();
        let width = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
        let gap = if text.is_empty() { "" } else { "\n" };
        let _ = writeln!(text, "{gap}[{section}]");
        for (line, setting) in lines.iter().zip(settings) {
            let _ = writeln!(text, "{line:width$}  # {}", origin(loaded, setting));
        }
    }
    Some(text)
}

fn origin(loaded: &Loaded, setting: &Setting) -> String {
    let at = |place: &super::source::Place| match loaded.sources.get(place.file) {
        Some(source) => format!("{}:{}", source.path.display(), source.position(place.start).0),
        None => String::new(),
    };
    let mut text = match &setting.origin {
        Origin::Default => "default".to_owned(),
        Origin::Written(place) => at(place),
        Origin::Inherited(table, place) => format!("{table} at {}", at(place)),
        Origin::Derived(why) => (*why).to_owned(),
    };
    for through in &setting.through {
        let _ = write!(text, ", {through}");
    }
    text
}

/// A key as TOML has it: bare where it can be.
fn key(text: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if !text.is_empty() && text.chars().all(bare) {
        text.to_owned()
    } else {
        serde_json::Value::from(text).to_string()
    }
}
