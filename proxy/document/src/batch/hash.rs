//! Hashes that stand for what must not be read.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::{fmt, sync::Arc};

/// Below this, in bytes, a key can be guessed.
const KEY_BYTES_MIN: usize = 16;
/// How much of a keyed hash is shown, in bytes: 64 bits keep two of a million texts apart with a chance
/// of one in 30 million that any two collide.
const SHOWN_BYTES: usize = 8;

type HmacSha256 = Hmac<Sha256>;

/// A key for hashes, and the one before it while that is still wanted: what was hashed under the old key
/// can be found under the new one as long as both are written.
#[derive(Clone)]
pub struct HashKey(Arc<(HmacSha256, Option<HmacSha256>)>);

impl HashKey {
    /// Takes a key of at least 16 bytes.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(key: &[u8], previous: Option<&[u8]>) -> Result<Self, String> {
        let mac = |key: &[u8]| {
            if key.len() < KEY_BYTES_MIN {
                return Err(format!("a key for hashes needs at least {KEY_BYTES_MIN} bytes"));
            }
            HmacSha256::new_from_slice(key).map_err(|error| error.to_string())
        };
        Ok(Self(Arc::new((mac(key)?, previous.map(mac).transpose()?))))
    }

    /// Appends what stands for a text: hexadecimal digits of HMAC-SHA256, and after a `~` those of the
    /// previous key.
    pub(super) fn put(&self, text: &[u8], out: &mut Vec<u8>) {
        let (current, previous) = &*self.0;
        put_mac(current, text, out);
        if let Some(previous) = previous {
            out.push(b'~');
            put_mac(previous, text, out);
        }
    }
}

fn put_mac(key: &HmacSha256, text: &[u8], out: &mut Vec<u8>) {
    let mut mac = key.clone();
    mac.update(text);
    put_hex(&mac.finalize().into_bytes()[..SHOWN_BYTES], out);
}

/// Keys are not shown.
impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey")
    }
}

/// Appends what stands for a text: with a key as [`HashKey::put`], else all 64 hexadecimal digits of
/// SHA-256.
pub(super) fn put_hash(key: Option<&HashKey>, text: &[u8], out: &mut Vec<u8>) {
    match key {
        Some(key) => key.put(text, out),
        None => put_hex(&Sha256::digest(text), out),
    }
}

fn put_hex(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend(
        bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]),
    );
}
