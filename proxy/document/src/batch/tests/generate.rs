//! Batches as nobody sends them, and yet protobuf: the same message, written in another way.

use crate::{
    Signal,
    json::tests::{FINITE, batches},
    schema::{Field, Kind, Label, Message},
    wire::{Fields, put_varint, varint_of},
};
use proptest::prelude::*;

/// How a batch is disguised.
#[derive(Debug, Clone, Copy)]
pub(super) struct Oddities {
    /// Texts that are no UTF-8 among the others.
    pub broken_texts: bool,
}

/// Batches of all signals, well-formed down to the last value.
pub(super) fn odd_batches(oddities: Oddities) -> impl Strategy<Value = (Signal, Vec<u8>)> {
    let entropy = prop::collection::vec(any::<u8>(), 0..400);
    (batches(FINITE), entropy).prop_map(move |(batch, entropy)| {
        let request = Message::request(batch.signal()).unwrap();
        let mut disguise = Disguise { entropy, oddities };
        (batch.signal(), disguise.message(request, &batch.encode()))
    })
}

/// Decides by random bytes; when these are used up, it leaves everything as it is.
struct Disguise {
    entropy: Vec<u8>,
    oddities: Oddities,
}

impl Disguise {
    fn one_in(&mut self, n: u8) -> bool {
        self.entropy.pop().unwrap_or(0) % n == n - 1
    }

    fn message(&mut self, message: &'static Message, content: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        if message.is_any_value() && self.one_in(16) {
            self.tag(3, 0, &mut out); // a value that another one follows does not count
            self.varint(7, &mut out);
        }
        for field in Fields::of(content) {
            let field = field.unwrap();
            let known = message.fields.iter().find(|known| known.number == field.number).unwrap();
            if self.one_in(12) {
                self.unknown(&mut out);
            }
            self.field(known, field.wire_type, &content[field.content], &mut out);
        }
        if self.one_in(12) {
            self.unknown(&mut out);
        }
        // What is not there, there after all, and empty.
        let is_absent = |known: &&Field| {
            known.label == Label::Plain
                && !Fields::of(content).any(|field| field.unwrap().number == known.number)
        };
        for absent in message.fields.iter().filter(is_absent) {
            if matches!(absent.kind, Kind::String | Kind::Id(_)) && self.one_in(16) {
                self.bytes(absent.number, b"", &mut out);
            }
        }
        out
    }

    fn field(&mut self, known: &Field, wire_type: u64, content: &[u8], out: &mut Vec<u8>) {
        let number = known.number;
        match known.kind {
            Kind::Message(below) => {
                let content = self.message(below, content);
                let once = !matches!(known.label, Label::Repeated);
                let ends: Vec<usize> = Fields::of(&content).map(|field| field.unwrap().whole.end).collect();
                if once && self.one_in(8) {
                    let cut = ends.get(ends.len() / 2).copied().unwrap_or(0);
                    self.bytes(number, &content[..cut], out);
                    self.bytes(number, &content[cut..], out);
                } else {
                    self.bytes(number, &content, out);
                }
            }
            Kind::String if self.oddities.broken_texts && self.one_in(10) => {
                self.bytes(number, &[content, b"\xff\xc3"].concat(), out);
            }
            Kind::String | Kind::Bytes | Kind::Id(_) => self.bytes(number, content, out),
            // Numbers in one run, written one by one.
            _ if wire_type == 2 && self.one_in(2) => match known.kind {
                Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => {
                    for number in content.chunks(8) {
                        self.tag(known.number, 1, out);
                        out.extend(number);
                    }
                }
                _ => {
                    let mut rest = content;
                    while !rest.is_empty() {
                        let end = rest.iter().position(|byte| *byte < 0x80).unwrap() + 1;
                        self.tag(known.number, 0, out);
                        out.extend(&rest[..end]);
                        rest = &rest[end..];
                    }
                }
            },
            _ if wire_type == 2 => self.bytes(number, content, out),
            _ => {
                self.tag(number, wire_type, out);
                match wire_type {
                    0 => self.varint(varint_of(content).unwrap(), out),
                    _ => out.extend(content),
                }
            }
        }
    }

    fn bytes(&mut self, number: u32, content: &[u8], out: &mut Vec<u8>) {
        self.tag(number, 2, out);
        self.varint(content.len() as u64, out);
        out.extend(content);
    }

    fn tag(&mut self, number: u32, wire_type: u64, out: &mut Vec<u8>) {
        self.varint(u64::from(number) << 3 | wire_type, out);
    }

    /// A varint, now and then with bytes more than it needs.
    fn varint(&mut self, value: u64, out: &mut Vec<u8>) {
        put_varint(out, value);
        if value < 1 << 49 && self.one_in(20) {
            *out.last_mut().unwrap() |= 0x80;
            out.extend([0x80, 0x00]);
        }
    }

    /// A field that no message of OTLP has.
    fn unknown(&mut self, out: &mut Vec<u8>) {
        let number = if self.one_in(2) { 77 } else { 536_870_911 };
        match self.entropy.pop().unwrap_or(0) % 5 {
            0 => {
                self.tag(number, 0, out);
                self.varint(300, out);
            }
            1 => {
                self.tag(number, 1, out);
                out.extend(*b"8 bytes!");
            }
            2 => self.bytes(number, b"\x0a\x01unknown SECRET", out),
            3 => {
                self.tag(number, 3, out);
                self.unknown_inside(out);
                self.tag(number, 4, out);
            }
            _ => {
                self.tag(number, 5, out);
                out.extend(*b"four");
            }
        }
    }

    fn unknown_inside(&mut self, out: &mut Vec<u8>) {
        self.bytes(1, b"in a group", out);
        self.tag(2, 3, out);
        self.tag(2, 4, out);
    }
}
