//! Over batches of any shape: every secret becomes what it should, and nothing else changes.

use std::cell::RefCell;

use proptest::prelude::*;
use serde_json::{Value as Json, json};
use tollgate_plugin::test::Instance;

use super::redact;
use crate::Redact;
use crate::builtin::Builtin;

/// What is a secret, and what becomes of it.
const SECRETS: &[(&str, &str)] = &[
    ("ann@example.com", "[email]"),
    ("4111 1111 1111 1111", "[card-number]"),
    ("378282246310005", "[card-number]"),
    ("DE89 3704 0044 0532 0130 00", "[iban]"),
    ("203.0.113.7", "[ipv4]"),
    ("2001:db8::7", "[ipv6]"),
    ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.0123456789abcdef", "[jwt]"),
    ("Bearer 0123456789abcdef", "Bearer [bearer]"),
    ("AKIAABCDEFGHIJKLMNOP", "[api-key]"),
    ("/a?token=x&b=1", "/a?token=[url-query]&b=1"),
    ("redis://u:x@cache", "redis://u:[url-password]@cache"),
];
/// What is none.
const PLAIN: &[&str] = &[
    "",
    "plain",
    "service.name",
    "v1.2.3.4",
    "550e8400-e29b-41d4-a716-446655440000",
    "12:34:56",
    "std::vec",
    "4bf92f3577b34da6a3ce929d0e0e4736",
    "2026-11-21T17:28:03.123456789Z",
    "4111111111111112",
    "é😀\u{2028}",
    "\"\\/\n",
    "00:1b:63:84:45:e6",
    "3.141592653589793",
    "1764000000123456789",
    "@",
    "eyJ",
    "::",
    "://",
    "=",
];
const BETWEEN: &[&str] = &[" ", ", ", "|", "\n", " – "];

/// Makes a batch as it comes, and the same as it should leave.
struct Source {
    entropy: Vec<u8>,
}

/// A value before and after.
type Both = (Json, Json);

/// A field, and what makes its value.
type Making = (&'static str, fn(&mut Source) -> Both);

impl Source {
    fn byte(&mut self) -> usize {
        usize::from(self.entropy.pop().unwrap_or(0))
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.byte() % of.len()]
    }

    fn text(&mut self) -> (String, String) {
        let (mut before, mut after) = (String::new(), String::new());
        for piece in 0..self.byte() % 4 {
            if piece > 0 {
                let between = self.pick(BETWEEN);
                before.push_str(between);
                after.push_str(between);
            }
            let plain = self.pick(PLAIN);
            let (is, becomes) =
                if self.byte().is_multiple_of(2) { (plain, plain) } else { self.pick(SECRETS) };
            before.push_str(is);
            after.push_str(becomes);
        }
        (before, after)
    }

    fn list(&mut self, mut element: impl FnMut(&mut Source) -> Both) -> Both {
        let length = if self.entropy.is_empty() { 0 } else { self.byte() % 4 };
        let (before, after): (Vec<Json>, Vec<Json>) = (0..length).map(|_| element(self)).unzip();
        (before.into(), after.into())
    }

    fn value(&mut self, depth: usize) -> Both {
        let same = |value: Json| (value.clone(), value);
        match self.byte() % 8 {
            0 => same(json!({})),
            1 => same(json!({ "boolValue": true })),
            2 => same(json!({ "doubleValue": 4111111111111111.0 })),
            3 => same(
                json!({ "intValue": self.pick(&["0", "-1", "4111111111111112", "1764000000123456789"]) }),
            ),
            4 => (json!({ "intValue": "4111111111111111" }), json!({ "stringValue": "[card-number]" })),
            5 if depth < 6 => {
                let (before, after) = self.list(|s| s.value(depth + 1));
                (json!({ "arrayValue": { "values": before } }), json!({ "arrayValue": { "values": after } }))
            }
            6 if depth < 6 => {
                let (before, after) = self.list(|s| s.attribute(depth + 1));
                (
                    json!({ "kvlistValue": { "values": before } }),
                    json!({ "kvlistValue": { "values": after } }),
                )
            }
            _ => {
                let (before, after) = self.text();
                (json!({ "stringValue": before }), json!({ "stringValue": after }))
            }
        }
    }

    /// Keys are not looked into.
    fn attribute(&mut self, depth: usize) -> Both {
        let key = self.text().0;
        let (before, after) = self.value(depth);
        (json!({ "key": key, "value": before }), json!({ "key": key, "value": after }))
    }

    /// An object with these fields.
    fn object(&mut self, fields: &[Making]) -> Both {
        let (mut before, mut after) = (json!({}), json!({}));
        for (name, make) in fields {
            (before[name], after[name]) = make(self);
        }
        (before, after)
    }

    fn string(&mut self) -> Both {
        let (before, after) = self.text();
        (before.into(), after.into())
    }

    fn attributes(&mut self) -> Both {
        self.list(|s| s.attribute(0))
    }

    fn resource(&mut self) -> Both {
        self.object(&[("attributes", Source::attributes)])
    }

    fn scope(&mut self) -> Both {
        self.object(&[("name", Source::string), ("attributes", Source::attributes)])
    }

    fn logs(&mut self) -> Both {
        const RECORD: &[Making] = &[
            ("severityText", Source::string),
            ("body", |s| s.value(0)),
            ("attributes", Source::attributes),
            ("eventName", Source::string),
        ];
        let (before, after) = self.list(|s| {
            s.object(&[
                ("resource", Source::resource),
                ("schemaUrl", Source::string),
                ("scopeLogs", |s| {
                    s.list(|s| {
                        s.object(&[
                            ("scope", Source::scope),
                            ("schemaUrl", Source::string),
                            ("logRecords", |s| s.list(|s| s.object(RECORD))),
                        ])
                    })
                }),
            ])
        });
        (json!({ "resourceLogs": before }), json!({ "resourceLogs": after }))
    }

    fn traces(&mut self) -> Both {
        const EVENT: &[Making] = &[("name", Source::string), ("attributes", Source::attributes)];
        const LINK: &[Making] = &[("traceState", Source::string), ("attributes", Source::attributes)];
        const SPAN: &[Making] = &[
            ("name", Source::string),
            ("traceState", Source::string),
            ("status", |s| s.object(&[("message", Source::string)])),
            ("attributes", Source::attributes),
            ("events", |s| s.list(|s| s.object(EVENT))),
            ("links", |s| s.list(|s| s.object(LINK))),
        ];
        let (before, after) = self.list(|s| {
            s.object(&[
                ("resource", Source::resource),
                ("scopeSpans", |s| {
                    s.list(|s| {
                        s.object(&[("scope", Source::scope), ("spans", |s| s.list(|s| s.object(SPAN)))])
                    })
                }),
            ])
        });
        (json!({ "resourceSpans": before }), json!({ "resourceSpans": after }))
    }

    fn metrics(&mut self) -> Both {
        const EXEMPLAR: &[Making] = &[("filteredAttributes", Source::attributes)];
        const POINT: &[Making] =
            &[("attributes", Source::attributes), ("exemplars", |s| s.list(|s| s.object(EXEMPLAR)))];
        const METRIC: &[Making] = &[
            ("name", Source::string),
            ("description", Source::string),
            ("unit", Source::string),
            ("metadata", Source::attributes),
            ("histogram", |s| s.object(&[("dataPoints", |s| s.list(|s| s.object(POINT)))])),
        ];
        let (before, after) = self.list(|s| {
            s.object(&[
                ("resource", Source::resource),
                ("scopeMetrics", |s| {
                    s.list(|s| {
                        s.object(&[("scope", Source::scope), ("metrics", |s| s.list(|s| s.object(METRIC)))])
                    })
                }),
            ])
        });
        (json!({ "resourceMetrics": before }), json!({ "resourceMetrics": after }))
    }
}

thread_local! {
    static PLUGIN: RefCell<Instance<Redact>> = RefCell::new(redact(&{
        let all = Builtin::ALL.iter().map(|name| format!("'{}'", name.name()));
        format!("patterns = [{}]", all.collect::<Vec<_>>().join(", "))
    }));
    /// Changes nothing.
    static NOTHING: RefCell<Instance<Redact>> =
        RefCell::new(redact("patterns = []\ndeny_keys = ['nobody has this']"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn secrets_go_and_nothing_else_changes(signal in 0..3usize, entropy in prop::collection::vec(any::<u8>(), 0..600)) {
        let mut source = Source { entropy };
        let (before, after) = [Source::logs, Source::traces, Source::metrics][signal](&mut source);
        let out = PLUGIN.with_borrow_mut(|plugin| plugin.run(before).unwrap());
        let expected = NOTHING.with_borrow_mut(|nothing| nothing.run(after).unwrap());
        prop_assert_eq!(&out.batch, &expected.batch);
        let mut left = Vec::new();
        values_of(&out.batch, &mut left);
        for (secret, mask) in SECRETS {
            let of_it = |text: &&&str| text.contains(secret) && !mask.contains(secret);
            prop_assert!(left.iter().find(of_it).is_none(), "{secret} is left");
        }
    }
}

/// Every text that is no attribute's key.
fn values_of<'j>(json: &'j Json, found: &mut Vec<&'j str>) {
    match json {
        Json::Object(fields) if fields.contains_key("key") => {
            fields.iter().filter(|(name, _)| *name != "key").for_each(|(_, value)| values_of(value, found));
        }
        Json::Object(fields) => fields.values().for_each(|value| values_of(value, found)),
        Json::Array(values) => values.iter().for_each(|value| values_of(value, found)),
        Json::String(text) => found.push(text),
        _ => {}
    }
}
