//! Secrets in every place where OTLP has a text, and none of them left.
//!
//! A batch is made by the schema, so that no field is forgotten: every text of it holds secrets. The same
//! batch is made once more with what is to become of them. Both must be the same, a record to the byte.

use super::{
    super::*,
    limits,
    model::{any_of, normal},
    operations::pattern,
};
use crate::{
    schema::{self, Kind, Label, Message},
    wire::{put_bytes, put_number, put_varint},
};
use proptest::{collection::vec, prelude::*, sample::select};

const EMAIL: &str = "ann@example.com";
const CARD: &str = "4111 1111 1111 1111";
const CARD_INT: i64 = 4_111_111_111_111_111;

fn email() -> Pattern {
    pattern(r"(?i)\b[a-z0-9._%+-]+@[a-z0-9.-]+\.[a-z]{2,}\b")
}

fn card() -> Pattern {
    Pattern::compile(r"\b(?:\d[ -]?){12,18}\d\b", Check::Luhn, 1 << 20).unwrap()
}

/// What becomes of secrets.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Becomes {
    /// They are there still.
    Nothing,
    Masks,
    /// What holds them goes.
    Gone,
}

/// Makes a message with everything that it may have.
#[derive(Clone)]
struct Full {
    entropy: Vec<u8>,
    becomes: Becomes,
    selection: Selected,
}

#[derive(Debug, Clone)]
struct Selected {
    places: Places,
    only: bool,
    except: bool,
}

/// Where a value is.
#[derive(Clone, Copy)]
struct At {
    depth: usize,
    /// In attributes: whether a key that is wanted, or one that is not, is above.
    attributes: Option<(bool, bool)>,
    /// The attributes are below a message, or in a body.
    in_body: bool,
}

const OUTSIDE: At = At { depth: 0, attributes: None, in_body: false };

impl Full {
    fn byte(&mut self) -> u8 {
        self.entropy.pop().unwrap_or(0)
    }

    /// A text with both secrets; `None` if it goes.
    fn text(&mut self, is_selected: bool) -> Option<Vec<u8>> {
        // Whatever becomes of it, so much entropy is used up.
        let (kind, is_broken) = (self.byte() % 3, self.byte() % 4 == 3);
        let (email, card): (&str, &str) = match self.becomes {
            Becomes::Masks if is_selected => ("[email]", "[card]"),
            Becomes::Gone if is_selected => return None,
            _ => (EMAIL, CARD),
        };
        let text = match kind {
            0 => format!("{email} v1.2.3 2026-01-01T00:00:00.123456789Z"),
            1 => format!("of {card}; 4111 1111 1111 1112, {email}"),
            _ => format!("é {card}"),
        };
        Some([text.as_bytes(), if is_broken { b" \xff\xc3" } else { b"" }].concat())
    }

    fn value_is_selected(&self, at: At) -> bool {
        let places = self.selection.places;
        match at.attributes {
            None => at.in_body && places.bodies,
            Some((only, except)) => {
                places.attribute_values
                    && (only || !self.selection.only)
                    && !(except && self.selection.except)
            }
        }
    }

    /// `None` if it goes.
    fn any_value(&mut self, at: At) -> Option<Vec<u8>> {
        let is_selected = self.value_is_selected(at);
        let below = At { depth: at.depth + 1, ..at };
        let mut out = Vec::new();
        match self.byte() % 8 {
            0 | 1 => put_bytes(&mut out, 1, &self.text(is_selected)?),
            2 => put_bytes(&mut out, 7, &self.text(is_selected)?),
            3 if is_selected && self.selection.places.integers => match self.becomes {
                Becomes::Nothing => out = any_of(&Value::Int(CARD_INT)),
                Becomes::Masks => out = any_of(&"[card]".into()),
                Becomes::Gone => return None,
            },
            3 => out = any_of(&Value::Int(CARD_INT)),
            4 => out = any_of(&Value::Int(CARD_INT + 1)),
            5 if at.depth < 4 => {
                let mut array = Vec::new();
                let values: Vec<_> = (0..1 + self.byte() % 2).map(|_| self.any_value(below)).collect();
                for value in values {
                    put_bytes(&mut array, 1, &value?);
                }
                put_bytes(&mut out, 5, &array);
            }
            6 if at.depth < 4 => {
                let mut list = Vec::new();
                for _ in 0..1 + self.byte() % 2 {
                    if let Some(pair) = self.key_value(below) {
                        put_bytes(&mut list, 1, &pair);
                    }
                }
                put_bytes(&mut out, 6, &list);
            }
            _ => out = any_of(&Value::Double(4_111_111_111_111_111.0)),
        }
        Some(out)
    }

    fn key_value(&mut self, at: At) -> Option<Vec<u8>> {
        let name = ["plain ", "hot ", "cold "][usize::from(self.byte() % 3)];
        let key = self.text(self.selection.places.attribute_keys);
        let attributes =
            at.attributes.map(|(only, except)| (only || name == "hot ", except || name == "cold "));
        // In a body too, what is below an excepted key is not looked into.
        let in_body = at.in_body && !(self.selection.except && name == "cold ");
        let value = self.any_value(At { attributes, in_body, ..at });
        let mut out = Vec::new();
        put_bytes(&mut out, 1, &[name.as_bytes(), &key?].concat());
        put_bytes(&mut out, 2, &value?);
        Some(out)
    }

    fn message(&mut self, message: &'static Message) -> Vec<u8> {
        let mut out = Vec::new();
        let one_of: Vec<u32> = message
            .fields
            .iter()
            .filter(|field| field.label == Label::OneOf)
            .map(|field| field.number)
            .collect();
        let chosen = one_of.get(usize::from(self.byte()) % one_of.len().max(1)).copied();
        for field in message.fields {
            if field.label == Label::OneOf && Some(field.number) != chosen {
                continue;
            }
            let times = if field.label == Label::Repeated { 1 + self.byte() % 2 } else { 1 };
            for _ in 0..times {
                self.field(field, &mut out);
            }
        }
        put_bytes(&mut out, 99, format!("unknown to us, and to whom it is known: {EMAIL}").as_bytes());
        out
    }

    fn field(&mut self, field: &schema::Field, out: &mut Vec<u8>) {
        let number = u64::from(field.number);
        let places = self.selection.places;
        let content = match field.kind {
            Kind::Message(below) if below.is_key_value() => {
                self.key_value(At { attributes: Some((false, false)), ..OUTSIDE })
            }
            Kind::Message(below) if below.is_any_value() => self.any_value(At { in_body: true, ..OUTSIDE }),
            Kind::Message(below) => Some(self.message(below)),
            Kind::String => {
                let is_selected = match field.name {
                    "idKeys" | "descriptionKeys" => places.attribute_keys,
                    "name" | "eventName" => places.names,
                    "version" => places.versions,
                    _ => places.texts,
                };
                self.text(is_selected)
            }
            Kind::Id(length) => Some(vec![7; length]),
            Kind::Bytes => unreachable!(),
            Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => {
                put_varint(out, number << 3 | 1);
                return out.extend(4_111_111_111_111_111_u64.to_le_bytes());
            }
            Kind::Fixed32 => {
                put_varint(out, number << 3 | 5);
                return out.extend(7_u32.to_le_bytes());
            }
            _ => return put_number(out, number, 1),
        };
        if let Some(content) = content {
            put_bytes(out, number, &content);
        }
    }
}

fn selections() -> impl Strategy<Value = Selected> {
    let some = (any::<[bool; 7]>(), any::<bool>(), any::<bool>()).prop_map(|(places, only, except)| {
        let [attribute_values, attribute_keys, integers, bodies, names, versions, texts] = places;
        let places = Places { attribute_values, attribute_keys, integers, bodies, names, versions, texts };
        Selected { places, only, except }
    });
    prop_oneof![some, Just(Selected { places: Places::ALL, only: false, except: false })]
}

fn holds(bytes: &[u8], part: &str) -> bool {
    memchr::memmem::find(bytes, part.as_bytes()).is_some()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::batch::tests::cases(400)))]

    #[test]
    fn secrets_go_from_everywhere_and_nothing_else_does(
        signal in select(&Signal::ALL[..3]),
        entropy in vec(any::<u8>(), 0..600),
        selected in selections(),
        gone in any::<bool>(),
    ) {
        let make = |becomes| {
            let mut full = Full { entropy: entropy.clone(), becomes, selection: selected.clone() };
            full.message(Message::request(signal).unwrap())
        };
        let before = make(Becomes::Nothing);
        let expected = make(if gone { Becomes::Gone } else { Becomes::Masks });
        let mut batch = Batch::new(Document::parse(signal, bytes::Bytes::from(before)).unwrap());
        let action = |mask: &str| if gone { Action::Remove } else { Action::Mask(mask.to_owned()) };
        let redactions = [
            Redaction { pattern: email(), action: action("[email]") },
            Redaction { pattern: card(), action: action("[card]") },
        ];
        let selection = Selection {
            places: selected.places,
            only_keys: selected.only.then(|| pattern("^hot ")),
            except_keys: selected.except.then(|| pattern("^cold ")),
        };
        batch.begin(limits());
        batch.redact(&redactions, &selection).unwrap();
        batch.commit().unwrap();
        let after = batch.message().to_bytes();
        prop_assert_eq!(normal(signal, &after), normal(signal, &expected));
        if selected.places == Places::ALL && !selected.only && !selected.except {
            batch.begin(limits());
            prop_assert_eq!(batch.redact(&redactions, &selection).unwrap(), [0, 0]);
            batch.remove_unknown_fields().unwrap();
            batch.commit().unwrap();
            let after = batch.message().to_bytes();
            prop_assert!(!holds(&after, EMAIL) && !holds(&after, CARD));
        }
    }

    /// Whatever a number looks like on the wire.
    #[test]
    fn an_integer_goes_when_its_digits_match(
        int in prop_oneof![any::<i64>(), -1000..1000_i64, Just(i64::MIN)],
        expression in select(&[r"^-?\d{3}$", r"\d{13,16}", r"^-", r"9{3}", r"^\d{19}$", r"^-\d{19}$", r"^[0-9]$", r"."][..]),
        (padding, tag_padding) in (0..3_usize, 0..3_usize),
        before in vec(any::<u8>(), 0..20),
        is_second in any::<bool>(),
    ) {
        let mut any = if is_second { any_of(&Value::Double(1.0)) } else { Vec::new() };
        if is_second {
            any.extend(any_of(&Value::Text("another".to_owned())));
            any = [any_of(&Value::Boolean(true)), any].concat();
        }
        padded(&mut any, 3 << 3, tag_padding);
        padded(&mut any, int as u64, padding);
        let mut body = Vec::new();
        put_bytes(&mut body, 3, &before);
        put_bytes(&mut body, 5, &any);
        let request = [1, 2, 2].into_iter().rev().fold(body, |content, number| {
            let mut out = Vec::new();
            put_bytes(&mut out, number, &content);
            out
        });
        let mut batch = Batch::new(Document::parse(Signal::Logs, bytes::Bytes::from(request)).unwrap());
        batch.begin(limits());
        let redaction = Redaction { pattern: pattern(expression), action: Action::Mask("#".to_owned()) };
        let places = Places { bodies: true, integers: true, ..Places::default() };
        let count = batch.redact(&[redaction], &Selection { places, only_keys: None, except_keys: None }).unwrap()[0];
        let regex = regex_automata::meta::Regex::new(expression).unwrap();
        let others = if is_second { regex.find_iter("another").count() } else { 0 };
        prop_assert_eq!(count, (regex.find_iter(&int.to_string()).count() + others) as u64);
        let body = batch.get_cell(Level::Record, 0, &Target::Field(Field::Body)).unwrap().unwrap();
        prop_assert_eq!(matches!(body, Value::Text(_)), regex.is_match(&int.to_string()));
    }
}

#[test]
fn an_integer_behind_another_goes_too() {
    let any = [any_of(&Value::Int(1)), any_of(&Value::Int(CARD_INT))].concat();
    let mut body = Vec::new();
    put_bytes(&mut body, 5, &any);
    let mut pair = b"\x0a\x01k".to_vec();
    put_bytes(&mut pair, 2, &any);
    put_bytes(&mut body, 6, &pair);
    let request = [2, 2, 1].into_iter().fold(body, |content, number| {
        let mut out = Vec::new();
        put_bytes(&mut out, number, &content);
        out
    });
    let mut batch = Batch::new(Document::parse(Signal::Logs, bytes::Bytes::from(request)).unwrap());
    batch.begin(limits());
    let redaction = Redaction { pattern: card(), action: Action::Mask("#".to_owned()) };
    let selection = Selection { places: Places::ALL, only_keys: None, except_keys: None };
    assert_eq!(batch.redact(&[redaction], &selection), Ok(vec![2]));
}

/// A varint with bytes more than it needs, as far as there may be.
fn padded(out: &mut Vec<u8>, value: u64, padding: usize) {
    let start = out.len();
    put_varint(out, value);
    for _ in 0..padding.min(10 - (out.len() - start)) {
        *out.last_mut().unwrap() |= 0x80;
        out.push(0);
    }
}

/// The texts that one text becomes.
fn redacted(text: &str, redactions: &[Redaction]) -> (String, Vec<u64>) {
    let column = Column::field(Level::Record, Field::Body);
    let mut batch = Batch::new(
        Document::parse(Signal::Logs, bytes::Bytes::from_static(b"\x0a\x04\x12\x02\x12\x00")).unwrap(),
    );
    batch.begin(limits());
    batch.set(&column, &text.into(), &Rows::All).unwrap();
    let counts = batch.redact_cells(&column, redactions, &Rows::All).unwrap();
    let text = batch.read_texts(&column, &Rows::All).unwrap().remove(0).unwrap();
    (text, counts)
}

fn mask(expression: &str, mask: &str) -> Redaction {
    Redaction { pattern: pattern(expression), action: Action::Mask(mask.to_owned()) }
}

#[test]
fn what_an_action_wrote_is_nobodys_match() {
    assert_eq!(redacted("ann@example.com", &[mask(r"\w+@[\w.]+", "x@y.z")]), ("x@y.z".to_owned(), vec![1]));
    assert_eq!(redacted("a", &[mask("a", "aa")]), ("aa".to_owned(), vec![1]));
    let both = [mask(r"\w+@[\w.]+", "[email]"), mask("email", "word")];
    assert_eq!(redacted("ann@x.y email", &both), ("[email] word".to_owned(), vec![1, 1]));
    let key = HashKey::new(b"0123456789abcdef", None).unwrap();
    let hash = Redaction { pattern: pattern(r"\w+"), action: Action::Hash(key.clone()) };
    let mut hashed = Vec::new();
    hash::put_hash(Some(&key), b"secret", &mut hashed);
    assert_eq!(redacted("secret", &[hash]), (String::from_utf8(hashed).unwrap(), vec![1]));
    let truncate = |characters| Redaction { pattern: pattern(r"\d+"), action: Action::Truncate(characters) };
    assert_eq!(redacted("12345 123", &[truncate(3)]), ("123… 123".to_owned(), vec![2]));
    assert_eq!(redacted("12345", &[truncate(0)]), ("…".to_owned(), vec![1]));
}

#[test]
fn what_is_taken_out_brings_no_secret_forth() {
    let empty = [mask("ab", "")];
    assert_eq!(redacted("aaaaaaaabbbbbbbb.", &empty), (".".to_owned(), vec![8]));
    // A match may reach beyond what was written.
    let both = [mask(r"10\.0\.0\.1", "host"), mask(r"https://\S+", "[url]")];
    assert_eq!(redacted("see https://10.0.0.1/secret", &both), ("see [url]".to_owned(), vec![1, 1]));
}

#[test]
fn a_text_stays_a_text() {
    // The first byte of a character of two.
    assert_eq!(redacted("é", &[mask(r"(?-u:\xc3)", "e")]).0, "e\u{fffd}");
}

#[test]
fn a_column_is_looked_into_as_deep_as_a_batch() {
    let column = Column::field(Level::Record, Field::Body);
    let mut batch = Batch::new(
        Document::parse(Signal::Logs, bytes::Bytes::from_static(b"\x0a\x04\x12\x02\x12\x00")).unwrap(),
    );
    batch.begin(limits());
    // ["SECRET", {"SECRET": bytes "SECRET"}]
    let pair = [&b"\x0a\x06SECRET\x12\x08\x3a\x06SECRET"[..]].concat();
    let mut list = Vec::new();
    put_bytes(&mut list, 1, &pair);
    let mut array = Vec::new();
    put_bytes(&mut array, 1, b"\x0a\x06SECRET");
    let mut second = Vec::new();
    put_bytes(&mut second, 6, &list);
    put_bytes(&mut array, 1, &second);
    let mut any = Vec::new();
    put_bytes(&mut any, 5, &array);
    batch.set(&column, &Value::Encoded(any.clone()), &Rows::All).unwrap();
    assert_eq!(batch.redact_cells(&column, &[mask("SECRET", "secret")], &Rows::All).unwrap(), [2]);
    let mut expected = any.clone();
    // All but the key, of which nobody spoke.
    let places: Vec<usize> = memchr::memmem::find_iter(&any, "SECRET").collect();
    for place in [places[0], places[2]] {
        expected[place..place + 6].copy_from_slice(b"secret");
    }
    assert_eq!(batch.read_values(&column, &Rows::All).unwrap(), [Some(Value::Encoded(expected))]);
    let remove = Redaction { pattern: pattern("SECRET"), action: Action::Remove };
    batch.set(&column, &Value::Encoded(any), &Rows::All).unwrap();
    assert_eq!(batch.redact_cells(&column, &[remove], &Rows::All).unwrap(), [1]);
    assert_eq!(batch.read_values(&column, &Rows::All).unwrap(), [None]);
}

#[test]
fn bytes_that_are_redacted_stay_bytes() {
    let column = Column::attribute(Level::Record, "raw");
    let mut batch = Batch::new(
        Document::parse(Signal::Logs, bytes::Bytes::from_static(b"\x0a\x04\x12\x02\x12\x00")).unwrap(),
    );
    batch.begin(limits());
    batch.set(&column, &Value::Bytes(b"a SECRET".to_vec()), &Rows::All).unwrap();
    batch.redact_cells(&column, &[mask("SECRET", "b")], &Rows::All).unwrap();
    assert_eq!(batch.read_values(&column, &Rows::All).unwrap(), [Some(Value::Bytes(b"a b".to_vec()))]);
}
