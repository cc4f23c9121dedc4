//! What stands in an `Authorization` header.

use super::hash::wipe;
use base64::{Engine, engine::general_purpose};

/// The longest header that is looked at: several times what a user name, a password or a token needs.
pub(super) const HEADER_BYTES_MAX: usize = 4 << 10;

/// What a sender shows.
pub(super) enum Presented<'a> {
    Basic(Basic<'a>),
    Bearer(&'a [u8]),
}

/// A user name and a password, decoded.
pub(super) struct Basic<'a> {
    pub(super) user: &'a [u8],
    pub(super) secret: &'a [u8],
}

/// The header cannot be read: not Basic or Bearer, not base64, no colon, too long.
pub(super) struct Malformed;

/// Where a password stands in clear text for a moment. Wiped when dropped. No larger than what is
/// decoded: room for the longest would have to be cleared for each request.
#[derive(Default)]
pub(super) struct Scratch(Vec<u8>);

impl Drop for Scratch {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

impl<'a> Presented<'a> {
    /// Reads a header. The scheme's case does not matter (RFC 9110), base64 may lack its padding.
    pub(super) fn read(header: &'a [u8], scratch: &'a mut Scratch) -> Result<Self, Malformed> {
        if header.len() > HEADER_BYTES_MAX {
            return Err(Malformed);
        }
        let header = header.trim_ascii();
        let space = header.iter().position(|byte| *byte == b' ').ok_or(Malformed)?;
        let (scheme, value) = (&header[..space], header[space..].trim_ascii());
        if scheme.eq_ignore_ascii_case(b"basic") {
            scratch.0 = vec![0; base64::decoded_len_estimate(value.len())];
            let decoded = general_purpose::STANDARD_PAD_INDIFFERENT.decode_slice(value, &mut scratch.0);
            let decoded = &scratch.0[..decoded.map_err(|_| Malformed)?];
            let colon = decoded.iter().position(|byte| *byte == b':').ok_or(Malformed)?;
            Ok(Self::Basic(Basic { user: &decoded[..colon], secret: &decoded[colon + 1..] }))
        } else if scheme.eq_ignore_ascii_case(b"bearer") && !value.is_empty() {
            Ok(Self::Bearer(value))
        } else {
            Err(Malformed)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(header: &str) -> Option<String> {
        let mut scratch = Scratch::default();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match Presented::read(header.as_bytes(), &mut scratch).ok()? {
            Presented::Basic(Basic { user, secret }) => Some(format!("{} / {}", text(user), text(secret))),
            Presented::Bearer(token) => Some(text(token)),
        }
    }

    #[test]
    fn basic() {
        for header in ["Basic YW5uOmE6Yg==", "basic YW5uOmE6Yg", "BASIC  YW5uOmE6Yg== ", "BaSiC YW5uOmE6Yg="]
        {
            assert_eq!(read(header).as_deref(), Some("ann / a:b"), "{header}");
        }
        assert_eq!(read("Basic Og==").as_deref(), Some(" / "));
        for header in
            ["Basic", "Basic ", "Basic YW5u", "Basic YW5uOmE6Yh==", "Basic !!!!", "BasicYW5uOmE6Yg==", ""]
        {
            assert_eq!(read(header), None, "{header}");
        }
    }

    #[test]
    fn bearer() {
        assert_eq!(read("Bearer abc").as_deref(), Some("abc"));
        assert_eq!(read("bearer  abc ").as_deref(), Some("abc"));
        for header in ["Bearer", "Bearer ", "Digest username=\"ann\"", "Negotiate abc"] {
            assert_eq!(read(header), None, "{header}");
        }
    }

    #[test]
    fn the_longest_header_fits_and_no_longer_one() {
        let value = "A".repeat(HEADER_BYTES_MAX - 7);
        assert_eq!(read(&format!("Bearer {value}")), Some(value));
        assert_eq!(read(&format!("Bearer {}", "A".repeat(HEADER_BYTES_MAX - 6))), None);
        // user:password of as many bytes as the header holds; 4088 is a multiple of four.
        let clear = format!("u:{}", "p".repeat(4088 / 4 * 3 - 2));
        let header = format!("Basic {}", general_purpose::STANDARD.encode(&clear));
        assert!(header.len() <= HEADER_BYTES_MAX);
        assert_eq!(read(&header).map(|read| read.len()), Some(clear.len() + 2));
    }
}
