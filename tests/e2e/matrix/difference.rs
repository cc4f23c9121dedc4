//! Where two batches differ first.

use std::fmt::Debug;

/// The first field in which what arrived is not what was meant, or nothing. By their `Debug` form, in
/// which no two values look the same: NaN is NaN, and zero is not minus zero.
pub fn first_difference<T: Debug>(meant: &T, arrived: &T) -> Option<String> {
    let (meant, arrived) = (format!("{meant:#?}"), format!("{arrived:#?}"));
    let (meant, arrived) = (fields(&meant), fields(&arrived));
    let mut pairs = meant.iter().zip(&arrived);
    let ((field, meant), (elsewhere, arrived)) = pairs.find(|(meant, arrived)| meant != arrived)?;
    let place = if field == elsewhere { field.clone() } else { format!("{field} (arrived: {elsewhere})") };
    Some(format!("{place}: meant {meant}, arrived {arrived}"))
}

/// What encloses a line.
struct Frame {
    path: String,
    bracket: char,
    items: usize,
}

/// Each line of a pretty `Debug` form behind its path, such as `resource_logs[0].schema_url`.
fn fields(text: &str) -> Vec<(String, &str)> {
    let mut stack: Vec<Frame> = Vec::new();
    let mut fields = Vec::new();
    for line in text.lines() {
        let line = line.trim().trim_end_matches(',');
        if let "}" | "]" | ")" = line {
            let closed = stack.pop().map(|frame| frame.path);
            fields.push((closed.unwrap_or_default(), line));
            continue;
        }
        let (path, value) = match stack.last_mut() {
            Some(Frame { path, bracket: '{', .. }) => {
                let (name, value) = line.split_once(": ").unwrap_or((line, ""));
                (format!("{path}.{name}"), value)
            }
            Some(Frame { path, bracket: '[', items }) => {
                *items += 1;
                (format!("{path}[{}]", *items - 1), line)
            }
            Some(frame) => (frame.path.clone(), line),
            None => (String::new(), line),
        };
        if let Some(bracket) = value.chars().last().filter(|last| "{[(".contains(*last)) {
            stack.push(Frame { path: path.clone(), bracket, items: 0 });
        }
        fields.push((path, value));
    }
    fields
}

#[test]
fn a_difference_is_named_by_its_path() {
    #[derive(Debug, Default, Clone)]
    struct Record {
        body: Option<Box<Record>>,
        values: Vec<f64>,
        text: String,
    }
    let inner = Record { values: vec![0.0, f64::NAN], text: "a: {".into(), ..Record::default() };
    let meant = Record { body: Some(Box::new(inner)), ..Record::default() };
    assert_eq!(first_difference(&meant, &meant), None);
    let changed = |change: fn(&mut Record)| {
        let mut arrived = meant.clone();
        change(arrived.body.as_mut().expect("a body"));
        first_difference(&meant, &arrived).expect("a difference")
    };
    assert_eq!(changed(|body| body.values[0] = -0.0), ".body.values[0]: meant 0.0, arrived -0.0");
    assert_eq!(changed(|body| body.text.clear()), r#".body.text: meant "a: {", arrived """#);
    let longer = changed(|body| body.values.push(1.0));
    assert_eq!(longer, ".body.values (arrived: .body.values[2]): meant ], arrived 1.0");
    assert_eq!(
        first_difference(&meant, &Record::default()).as_deref(),
        Some(".body: meant Some(, arrived None")
    );
}
