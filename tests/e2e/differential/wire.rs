//! Protobuf bytes from a text, for messages that no library would write. The notation is a part of
//! Protoscope's:
//!
//! ```text
//! 1: {…}      a field of bytes that holds what is in the braces, its length found
//! 1: "text"   the same of a text; \n \" \\ \xff are known
//! 1: 5        a varint; negative ones take ten bytes
//! 1: 5i32     four bytes, little endian
//! 1: 5i64     eight
//! 1: 2.5      a double
//! 1: !{…}     a group
//! 1:2         a tag alone, of field 1 and wire type 2
//! `0a ff`     these bytes
//! # …         a remark
//! ```

/// The bytes that a text describes.
#[track_caller]
pub fn bytes(text: &str) -> Vec<u8> {
    let mut reader = Reader { rest: text };
    let bytes = reader.fields();
    reader.skip_blanks();
    assert!(reader.rest.is_empty(), "cannot read on at {:?}", reader.rest);
    bytes
}

/// A varint.
pub fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

struct Reader<'t> {
    rest: &'t str,
}

impl Reader<'_> {
    /// Everything up to a closing brace or the end.
    fn fields(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            self.skip_blanks();
            if self.rest.is_empty() || self.rest.starts_with('}') {
                return bytes;
            }
            if self.take("`") {
                let digits: String = self.until('`').split_whitespace().collect();
                bytes.extend(hex(&digits));
                continue;
            }
            let number = self.word().parse::<u64>().expect("a field's number");
            assert!(self.take(":"), "a colon is missing at {:?}", self.rest);
            if self.rest.starts_with(|next: char| next.is_ascii_digit()) {
                let wire_type = self.word().parse::<u64>().expect("a wire type");
                bytes.extend(varint(number << 3 | wire_type));
                continue;
            }
            self.skip_blanks();
            let (wire_type, content) = self.value(number);
            bytes.extend(varint(number << 3 | wire_type));
            bytes.extend(content);
        }
    }

    fn value(&mut self, number: u64) -> (u64, Vec<u8>) {
        if self.take("!{") {
            let mut content = self.braced();
            content.extend(varint(number << 3 | 4));
            return (3, content);
        }
        if self.take("{") {
            return (2, with_length(self.braced()));
        }
        if self.take("\"") {
            return (2, with_length(self.quoted()));
        }
        let word = self.word();
        if let Some(value) = word.strip_suffix("i32") {
            return (5, value.parse::<u32>().expect("32 bits").to_le_bytes().into());
        }
        if let Some(value) = word.strip_suffix("i64") {
            return (1, value.parse::<u64>().expect("64 bits").to_le_bytes().into());
        }
        if word.contains('.') {
            return (1, word.parse::<f64>().expect("a double").to_le_bytes().into());
        }
        let value = word.parse::<i128>().unwrap_or_else(|_| panic!("no value: {word:?}"));
        (0, varint(value as u64))
    }

    fn braced(&mut self) -> Vec<u8> {
        let content = self.fields();
        assert!(self.take("}"), "a brace is not closed");
        content
    }

    fn quoted(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            let next = self.rest.chars().next().expect("a text is not closed");
            self.rest = &self.rest[next.len_utf8()..];
            match next {
                '"' => return bytes,
                '\\' if self.take("n") => bytes.push(b'\n'),
                '\\' if self.take("\"") => bytes.push(b'"'),
                '\\' if self.take("\\") => bytes.push(b'\\'),
                '\\' if self.take("x") => {
                    let (digits, rest) = self.rest.split_at(2);
                    self.rest = rest;
                    bytes.extend(hex(digits));
                }
                other => bytes.extend(other.to_string().bytes()),
            }
        }
    }

    fn word(&mut self) -> String {
        let end = self.rest.find(|c: char| !(c.is_alphanumeric() || c == '-' || c == '.'));
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        word.to_owned()
    }

    fn until(&mut self, end: char) -> String {
        let (text, rest) = self.rest.split_once(end).expect("an end");
        self.rest = rest;
        text.to_owned()
    }

    fn take(&mut self, token: &str) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn skip_blanks(&mut self) {
        loop {
            self.rest = self.rest.trim_start();
            if !self.rest.starts_with('#') {
                return;
            }
            self.rest = self.rest.split_once('\n').map_or("", |(_, rest)| rest);
        }
    }
}

fn with_length(content: Vec<u8>) -> Vec<u8> {
    let mut bytes = varint(content.len() as u64);
    bytes.extend(content);
    bytes
}

/// The bytes of hexadecimal digits, between which there may be blanks.
#[track_caller]
pub fn hex(digits: &str) -> Vec<u8> {
    let digits: String = digits.split_whitespace().collect();
    assert!(digits.len().is_multiple_of(2), "half a byte: {digits}");
    let pairs = (0..digits.len()).step_by(2);
    pairs.map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal digits")).collect()
}

#[test]
fn the_notation_means_what_it_says() {
    for (text, wanted) in [
        ("1: 5", "08 05"),
        ("1: -1", "08 ff ff ff ff ff ff ff ff ff 01"),
        ("1: {2: {5: \"a\\\"\\xff\"}} # a remark", "0a 07 12 05 2a 03 61 22 ff"),
        ("1: 1i32 2: 1i64", "0d 01000000 11 0100000000000000"),
        ("15: !{1: 5}", "7b 08 05 7c"),
        ("1000: \"\"", "c2 3e 00"),
        ("1:2 `ff ff`", "0a ff ff"),
        ("1: 1.0", "09 000000000000f03f"),
    ] {
        assert_eq!(bytes(text), hex(wanted), "{text}");
    }
}
