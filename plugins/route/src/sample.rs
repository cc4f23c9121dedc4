//! Sampling by trace id: the same decision for every record of a trace, in every signal, instance and
//! restart, without one knowing of the other.

use serde::{Deserialize, Deserializer};

/// A part of all traces.
///
/// A trace is in it where `mix(fnv1a64(trace id)) < ratio × 2⁶⁴`: FNV-1a over the 16 bytes, and the
/// finalizer of SplitMix64 over that. It is a hash of its own, not the id's last bytes as OpenTelemetry's
/// samplers compare them, so that a sample of what a sender sampled already is a sample. Of two ratios
/// the smaller's traces are all among the larger's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// The first hash that is out. All of 2⁶⁴ are in where the ratio is 1.
    end: u128,
}

/// What a record without a trace id counts as: by default in every sample, since what cannot be decided is
/// not to be lost. Metrics never have one.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum WithoutTraceId {
    /// It is in every sample.
    #[default]
    In,
    /// It is in none.
    Out,
}

impl<'de> Deserialize<'de> for Ratio {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Ratio, D::Error> {
        let ratio = f64::deserialize(deserializer)?;
        if !(0.0..=1.0).contains(&ratio) {
            return Err(serde::de::Error::custom("a ratio is from 0 to 1"));
        }
        Ok(Ratio { end: (ratio * 2f64.powi(64)) as u128 })
    }
}

impl Ratio {
    /// Whether a trace is in it.
    pub fn takes(self, trace_id: Option<&[u8]>, otherwise: WithoutTraceId) -> bool {
        match trace_id {
            Some(id) if id.len() == 16 && id.iter().any(|byte| *byte != 0) => u128::from(hash(id)) < self.end,
            _ => otherwise == WithoutTraceId::In,
        }
    }
}

fn hash(trace_id: &[u8]) -> u64 {
    let fnv1a = trace_id.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    // FNV-1a alone leaves the upper bits of short inputs uneven.
    let mut mixed = fnv1a;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ratio(ratio: f64) -> Ratio {
        serde_json::from_value(ratio.into()).unwrap()
    }

    /// Other implementations can hold themselves against these.
    #[test]
    fn the_hash_is_what_is_documented() {
        assert_eq!(hash(&[0x11; 16]), 0x820e_3d12_d5a8_fce0);
        assert_eq!(hash(b"0123456789abcdef"), 0x5ff6_c45c_9b63_5362);
    }

    #[test]
    fn a_sample_is_as_large_as_its_ratio() {
        for wanted in [0.0, 0.01, 0.1, 0.5, 1.0] {
            let taken = (1..=100_000u128)
                .filter(|id| ratio(wanted).takes(Some(&id.to_be_bytes()), WithoutTraceId::In))
                .count();
            assert!((taken as f64 - wanted * 100_000.0).abs() < 500.0, "{taken} of {wanted}");
        }
    }

    #[test]
    fn the_smaller_sample_is_within_the_larger() {
        for id in (1..=10_000u128).map(u128::to_be_bytes) {
            let is_in = |part| ratio(part).takes(Some(&id), WithoutTraceId::In);
            assert!(!is_in(0.1) || is_in(0.2));
        }
    }

    #[test]
    fn what_has_no_trace_id_is_in_or_out_as_said() {
        for id in [None, Some(&[0u8; 16][..]), Some(&[1; 8])] {
            assert!(ratio(0.0).takes(id, WithoutTraceId::In));
            assert!(!ratio(1.0).takes(id, WithoutTraceId::Out));
        }
    }
}
