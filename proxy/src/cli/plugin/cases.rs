//! `tollgate plugin test`: folders of requests, and what has to become of them.

use super::bench::{self, Bench, Outcome, Request};
use crate::cli::{
    EXIT_RUNTIME, EXIT_USAGE, counted,
    diff::{self, Look, Part, diff},
    print,
};
use anyhow::Context;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fmt::Write,
    fs,
    io::{ErrorKind, IsTerminal},
    path::{Path, PathBuf},
    process::ExitCode,
};
use tollgate::{
    config::{Alone, Environment},
    otlp::Chunks,
    plugin::{DEFAULT_DESTINATION, Failure, Host, Transformed},
};

/// What makes a folder one of cases.
const PLUGIN: &str = "plugin.toml";
/// How the file of a request ends, after the case's name.
const INPUT: &str = ".in.json";
/// What the tenant's own upstream is called in the names of files.
const OWN: &str = "out";
/// What stands in the names of files for something else than a route.
const TAKEN: [&str; 2] = ["in", OWN];

pub(super) fn test(folders: &[PathBuf], update: bool) -> anyhow::Result<ExitCode> {
    let mut suites = Vec::new();
    for folder in folders {
        find(folder, &mut suites).with_context(|| format!("looking into {}", folder.display()))?;
    }
    if suites.is_empty() {
        eprintln!("tollgate: there is no {PLUGIN} in {}, nor below", folders[0].display());
        return Ok(ExitCode::from(EXIT_USAGE));
    }
    let run = Run { host: bench::host()?, update, coloured: std::io::stdout().is_terminal() };
    let (mut passed, mut failed) = (0, 0);
    for suite in suites {
        let mut text = format!("{}\n", suite.display());
        for (name, fault) in run.suite(&suite)? {
            match fault {
                None => {
                    passed += 1;
                    let _ = writeln!(text, "  ok      {name}"); // a String takes all
                }
                Some(fault) => {
                    failed += 1;
                    let _ = writeln!(text, "  FAILED  {name}");
                    fault.lines().for_each(|line| text.push_str(&format!("          {line}\n")));
                }
            }
        }
        print(text.as_bytes())?;
    }
    let verb = if update { "written" } else { "passed" };
    print(format!("{} {verb}, {failed} failed\n", counted(passed, "case")).as_bytes())?;
    Ok(if failed > 0 { ExitCode::from(EXIT_RUNTIME) } else { ExitCode::SUCCESS })
}

/// The folders of cases from here on downwards, in order.
fn find(folder: &Path, suites: &mut Vec<PathBuf>) -> std::io::Result<()> {
    let mut below = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            below.push(entry.path());
        } else if entry.file_name() == PLUGIN {
            suites.push(folder.to_owned());
        }
    }
    below.sort();
    below.iter().try_for_each(|folder| find(folder, suites))
}

struct Run {
    host: Host,
    /// Whether expectations are written rather than met.
    update: bool,
    coloured: bool,
}

/// What became of a request, or has to: what goes where, by the names of files, or the message that its sender
/// gets.
#[derive(Debug, PartialEq)]
enum Fate {
    Parts(BTreeMap<String, Value>),
    Error(String),
}

impl Run {
    /// Every case of a folder, with what is wrong with it.
    fn suite(&self, folder: &Path) -> anyhow::Result<Vec<(String, Option<String>)>> {
        let cases = cases(folder)?;
        let broken = |text: String| Ok(vec![(PLUGIN.to_owned(), Some(text))]);
        let alone = match Alone::load(&folder.join(PLUGIN), &Environment::of_process()) {
            Ok(alone) => alone,
            Err(mistakes) => return broken(mistakes.render(self.coloured)),
        };
        if let Some(route) = alone.routes.iter().find(|route| TAKEN.contains(&route.as_str())) {
            return broken(format!(
                "no route can be called `{route}` here: what goes there would be in NAME.{route}.json, which is \
                 another part of a case. Take another name for it, also in the plugin's configuration"
            ));
        }
        let bench = match Bench::build(&self.host, &alone) {
            Ok(bench) => bench,
            Err(problem) => return broken(alone.locate(problem).render(self.coloured)),
        };
        if cases.is_empty() {
            return broken(format!("there is no case: no file ends in {INPUT}"));
        }
        let fault = |name: &String| {
            self.case(&bench, folder, name).unwrap_or_else(|error| Some(format!("{error:#}")))
        };
        Ok(cases.into_iter().map(|name| (name.clone(), fault(&name))).collect())
    }

    /// What is wrong with a case.
    fn case(&self, bench: &Bench, folder: &Path, name: &str) -> anyhow::Result<Option<String>> {
        let input = folder.join(format!("{name}{INPUT}"));
        let bytes = fs::read(&input).with_context(|| format!("reading {}", input.display()))?;
        let request = Request::read(bytes, None)?;
        let fate = match bench.run(&request)? {
            Outcome::Unseen => Fate::Parts(parts(&request, vec![(OWN.to_owned(), request.message.clone())])?),
            Outcome::Refused => Fate::Error(format!("{} are refused", request.signal)),
            Outcome::Transformed(transformed) => Fate::Parts(parts(&request, leaving(&transformed))?),
            Outcome::Failed(Failure::Rejected { text, .. }) => Fate::Error(text),
            Outcome::Failed(failure) => Fate::Error(failure.to_string()),
        };
        if self.update {
            fate.write(folder, name)?;
            return Ok(None);
        }
        let expected = Fate::read(folder, name, &request)?;
        Ok((fate != expected).then(|| self.difference(&expected, &fate)))
    }

    fn difference(&self, expected: &Fate, fate: &Fate) -> String {
        let (expected, parts) = match (expected, fate) {
            (Fate::Parts(expected), Fate::Parts(parts)) => (expected, parts),
            (expected, fate) => return format!("- {}\n+ {}", expected.words(), fate.words()),
        };
        let mut text = String::new();
        let names = expected.keys().chain(parts.keys().filter(|name| !expected.contains_key(*name)));
        for name in names {
            let nothing = Value::Object(serde_json::Map::new());
            let [wanted, got] = [expected, parts].map(|parts| parts.get(name).unwrap_or(&nothing));
            if wanted == got {
                continue;
            }
            let look = Look { coloured: self.coloured, lost: "missing", ..Look::CHANGES };
            let part = Part { destination: String::new(), batch: got.clone() };
            let rows = diff(wanted, &[part], look);
            let _ = writeln!(text, "{name}: expected (-), and what is (+)"); // a String takes all
            text.push_str(&if rows.is_empty() { format!("- {wanted}\n+ {got}\n") } else { rows });
        }
        text
    }
}

impl Fate {
    fn words(&self) -> String {
        match self {
            Fate::Parts(parts) => {
                let names: Vec<_> = parts.keys().map(String::as_str).collect();
                format!("a request that goes on: {}", names.join(", "))
            }
            Fate::Error(text) => format!("an error: {text}"),
        }
    }

    fn read(folder: &Path, name: &str, request: &Request) -> anyhow::Result<Self> {
        let error = folder.join(format!("{name}.error"));
        match fs::read_to_string(&error) {
            Ok(text) => return Ok(Fate::Error(text.trim_end().to_owned())),
            Err(why) if why.kind() == ErrorKind::NotFound => {}
            Err(why) => return Err(why).with_context(|| format!("reading {}", error.display())),
        }
        let mut parts = BTreeMap::new();
        for (part, path) in parts_of(folder, name)? {
            let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
            let expected =
                Request::read(bytes, Some(request.signal)).with_context(|| path.display().to_string())?;
            // As it would be written, so that what means the same is the same.
            parts.insert(part, diff::to_json(request.signal, &expected.message)?);
        }
        anyhow::ensure!(
            parts.contains_key(OWN),
            "there is neither {name}.{OWN}.json nor {name}.error: --update writes what happens now"
        );
        Ok(Fate::Parts(parts))
    }

    fn write(&self, folder: &Path, name: &str) -> anyhow::Result<()> {
        for (_, path) in parts_of(folder, name)? {
            fs::remove_file(path)?;
        }
        let error = folder.join(format!("{name}.error"));
        if error.exists() {
            fs::remove_file(&error)?;
        }
        match self {
            Fate::Error(text) => fs::write(error, format!("{text}\n"))?,
            Fate::Parts(parts) => {
                for (part, batch) in parts {
                    fs::write(folder.join(format!("{name}.{part}.json")), format!("{batch:#}\n"))?;
                }
            }
        }
        Ok(())
    }
}

/// The names of a folder's cases, in order.
fn cases(folder: &Path) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let file = entry?.file_name();
        if let Some(name) = file.to_str().and_then(|file| file.strip_suffix(INPUT)) {
            anyhow::ensure!(!name.contains('.'), "{name}{INPUT}: a case's name has no dot");
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// The files of a case that say what goes where, by the middle of their names.
fn parts_of(folder: &Path, name: &str) -> anyhow::Result<BTreeMap<String, PathBuf>> {
    let mut parts = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let file = entry.file_name();
        let part =
            file.to_str().and_then(|file| file.strip_prefix(name)?.strip_prefix('.')?.strip_suffix(".json"));
        if let Some(part) = part.filter(|part| *part != "in") {
            parts.insert(part.to_owned(), entry.path());
        }
    }
    Ok(parts)
}

/// What leaves, and where to, what stays first. A destination that is sent several parts gets one request of
/// all of them.
pub(super) fn leaving(transformed: &Transformed) -> Vec<(String, Chunks)> {
    let own = transformed.batch.as_ref().map(|batch| batch.message()).unwrap_or_default();
    let mut leaving = vec![(OWN.to_owned(), own)];
    for routed in &transformed.routed {
        for destination in &routed.destinations {
            let destination = if &**destination == DEFAULT_DESTINATION { OWN } else { destination };
            match leaving.iter_mut().find(|(known, _)| known == destination) {
                Some((_, message)) => routed.message.pieces().for_each(|piece| message.push(piece.clone())),
                None => leaving.push((destination.to_owned(), routed.message.clone())),
            }
        }
    }
    leaving
}

fn parts(request: &Request, leaving: Vec<(String, Chunks)>) -> anyhow::Result<BTreeMap<String, Value>> {
    let part = |(name, message): (String, Chunks)| Ok((name, diff::to_json(request.signal, &message)?));
    leaving.into_iter().map(part).collect()
}
