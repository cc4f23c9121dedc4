//! Mistakes, located, and printed as a compiler would.

use super::{
    mask,
    source::{Place, Source},
};
use annotate_snippets::{
    Annotation, AnnotationKind, Group, Level as Shown, Renderer, Snippet, renderer::DecorStyle,
};
use std::{fmt, ops::Range, path::PathBuf};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The configuration cannot be used.
    Error,
    /// It can, but probably does not do what was meant.
    Warning,
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    level: Level,
    title: String,
    /// The first is the one that the title speaks of.
    labels: Vec<Label>,
    note: Option<String>,
    help: Option<String>,
}

/// An underlined piece and what is said beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Label {
    place: Place,
    text: String,
}

impl Diagnostic {
    /// A mistake that stops a start.
    pub fn error(title: impl Into<String>) -> Self {
        Self { level: Level::Error, title: title.into(), labels: Vec::new(), note: None, help: None }
    }

    /// One that does not.
    pub fn warning(title: impl Into<String>) -> Self {
        Self { level: Level::Warning, ..Self::error(title) }
    }

    /// Underlines the piece that the title speaks of. A built-in default has no place to underline.
    pub fn at<'p>(self, place: impl Into<Option<&'p Place>>, text: impl Into<String>) -> Self {
        self.also(place, text)
    }

    /// Underlines another piece that belongs to the mistake.
    pub fn also<'p>(mut self, place: impl Into<Option<&'p Place>>, text: impl Into<String>) -> Self {
        if let Some(place) = place.into() {
            self.labels.push(Label { place: place.clone(), text: text.into() });
        }
        self
    }

    /// Says what else is known, such as what the system answered.
    pub fn note(mut self, text: impl Into<String>) -> Self {
        self.note = Some(text.into());
        self
    }

    /// Says what would be right.
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }

    /// Says what is wrong in other words.
    pub fn titled(mut self, title: impl Into<String>) -> Self {
        self.title = title.into();
        self
    }

    /// How bad it is.
    pub fn level(&self) -> Level {
        self.level
    }

    /// What is wrong, in one line.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// The order in which mistakes are shown: by place, those of no place first.
    fn rank(&self) -> (Option<&Place>, Level, &str) {
        (self.labels.first().map(|label| &label.place), self.level, &self.title)
    }
}

/// Mistakes with what is needed to show them. Holds no secret: the texts are masked.
#[derive(Debug, Clone, Default)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
    files: Vec<(PathBuf, String)>,
}

impl Diagnostics {
    /// Sorts what was found and masks the secrets in the files. A mistake in a table that several
    /// others fall back on is found more than once, and is shown once.
    pub(super) fn new(mut list: Vec<Diagnostic>, sources: &[Source], masks: &[mask::Mask]) -> Self {
        list.sort_by(|one, other| one.rank().cmp(&other.rank()));
        list.dedup();
        if list.is_empty() {
            return Self::default();
        }
        let nothing = mask::Mask::default();
        let masks = masks.iter().chain(std::iter::repeat(&nothing));
        let masked = |(source, mask): (&Source, &mask::Mask)| (source.path.clone(), mask.apply(&source.text));
        Self { list, files: sources.iter().zip(masks).map(masked).collect() }
    }

    /// The mistakes, in the order in which they are shown.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.list.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many of them stop a start.
    pub fn errors(&self) -> usize {
        self.list.iter().filter(|diagnostic| diagnostic.level == Level::Error).count()
    }

    /// All of them as text, with colours for a terminal or without.
    pub fn render(&self, colours: bool) -> String {
        let renderer = if colours { Renderer::styled() } else { Renderer::plain() };
        let renderer = renderer.decor_style(DecorStyle::Ascii);
        let mut text = String::new();
        for diagnostic in &self.list {
            text.push_str(&renderer.render(&[self.group(diagnostic)]));
            text.push_str("\n\n");
        }
        text
    }

    fn group<'a>(&'a self, diagnostic: &'a Diagnostic) -> Group<'a> {
        let level = match diagnostic.level {
            Level::Error => Shown::ERROR,
            Level::Warning => Shown::WARNING,
        };
        let mut group = Group::with_title(level.primary_title(diagnostic.title.as_str()));
        let mut files: Vec<usize> = Vec::new();
        for label in &diagnostic.labels {
            if !files.contains(&label.place.file) {
                files.push(label.place.file);
            }
        }
        for file in files {
            if let Some(snippet) = self.snippet(file, &diagnostic.labels) {
                group = group.element(snippet);
            }
        }
        let note = diagnostic.note.as_deref().map(|text| Shown::NOTE.message(text));
        let help = diagnostic.help.as_deref().map(|text| Shown::HELP.message(text));
        group.elements(note.into_iter().chain(help))
    }

    /// The lines of one file that hold labels; of the others nothing is handed on.
    fn snippet<'a>(&'a self, file: usize, labels: &'a [Label]) -> Option<Snippet<'a, Annotation<'a>>> {
        let (path, text) = self.files.get(file)?;
        let here = || labels.iter().enumerate().filter(|(_, label)| label.place.file == file);
        let first = here().map(|(_, label)| label.place.start).min()?;
        let last = here().map(|(_, label)| label.place.end).max()?;
        let window = lines_around(text, first..last);
        let line = text[..window.start].matches('\n').count() + 1;
        let annotations = here().map(|(index, label)| {
            let kind = if index == 0 { AnnotationKind::Primary } else { AnnotationKind::Context };
            let span = label.place.start - window.start..label.place.end - window.start;
            let text = Some(label.text.as_str()).filter(|text| !text.is_empty());
            kind.span(span).label(text)
        });
        Some(
            Snippet::source(&text[window.clone()])
                .line_start(line)
                .path(path.to_string_lossy())
                .annotations(annotations.collect::<Vec<_>>()),
        )
    }
}

/// The whole lines that hold a span.
fn lines_around(text: &str, span: Range<usize>) -> Range<usize> {
    let start = text[..span.start].rfind('\n').map_or(0, |end| end + 1);
    let end = text[span.end..].find('\n').map_or(text.len(), |more| span.end + more);
    start..end
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Diagnostics {}
