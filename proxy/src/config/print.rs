//! A tenant as resolved, each value with where it came from.

use super::{
    Loaded,
    reader::{Origin, Setting},
    tree::toml_key,
};
use std::fmt::Write;

/// A tenant's settings as TOML, with a comment beside each that says where it came from. Secrets are
/// masked. `None` if there is no such tenant.
pub fn tenant(loaded: &Loaded, name: &str) -> Option<String> {
    let tenant = loaded.config.tenants.iter().find(|tenant| &*tenant.name == name)?;
    let mut tables = vec![format!("tenant.{name}")];
    tables.extend(tenant.plugins.iter().map(|plugin| format!("plugin.{}", plugin.name)));
    let mut sections: Vec<&str> = tables.iter().map(String::as_str).collect();
    for setting in &loaded.settings {
        let section = setting.section.as_str();
        let is_within = |table: &String| is_within(section, table);
        if tables.iter().any(is_within)
            && !sections.contains(&section)
            && let Some(behind) = last_beside(&sections, section)
        {
            sections.insert(behind + 1, section);
        }
    }
    let mut text = String::new();
    for section in sections {
        let settings: Vec<&Setting> =
            loaded.settings.iter().filter(|setting| setting.section == section).collect();
        let lines: Vec<String> =
            settings.iter().map(|set| format!("{} = {}", toml_key(&set.key), set.value)).collect();
        let width = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
        let gap = if text.is_empty() { "" } else { "\n" };
        let _ = writeln!(text, "{gap}[{section}]");
        for (line, setting) in lines.iter().zip(settings) {
            let _ = writeln!(text, "{line:width$}  # {}", origin(loaded, setting));
        }
    }
    Some(text)
}

/// The last of the sections that are in the same table as this one, or that table itself.
fn last_beside(sections: &[&str], section: &str) -> Option<usize> {
    let mut around = section;
    loop {
        around = around.rsplit_once('.')?.0;
        let last = sections.iter().rposition(|known| *known == around || is_within(known, around));
        if last.is_some() {
            return last;
        }
    }
}

fn is_within(section: &str, table: &str) -> bool {
    section.strip_prefix(table).is_some_and(|rest| rest.starts_with('.'))
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
