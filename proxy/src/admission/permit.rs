//! Permission to come in, from three gates at once.

use super::{Denial, Gate, Limit, Scope};
use std::{fmt, time::Duration};

/// In what steps bytes are taken for a body whose length is not known: few enough that the counting
/// costs nothing, small enough that a small body holds little.
pub const STEP_BYTES: u64 = 64 << 10;

/// A request that is in. It holds its place, and the bytes reserved for it, until it is dropped.
#[must_use = "the request is in only while this is held"]
pub struct Permit<'a> {
    /// In the order of [`SCOPES`]; none of the upstream, once its share was split off.
    gates: [Option<&'a Gate>; 3],
    bytes: u64,
}

const SCOPES: [Scope; 3] = [Scope::Tenant, Scope::Upstream, Scope::All];
const UPSTREAM: usize = 1;

/// Admits a request before its body is read. An announced length is reserved, not allocated.
///
/// # Errors
/// [`Denial`], when one of the gates has no room; then none of them keeps anything of the request.
pub fn admit<'a>(
    tenant: &'a Gate,
    upstream: &'a Gate,
    all: &'a Gate,
    announced: Option<u64>,
) -> Result<Permit<'a>, Denial> {
    let now_ns = tenant.clock.now_ns();
    let bytes = announced.unwrap_or(0);
    let gates = [tenant, upstream, all].map(Some);
    pass(&gates, |gate| gate.enter(bytes, now_ns), |gate| gate.take_back(bytes))?;
    Ok(Permit { gates, bytes })
}

/// The most bytes that these gates ever reserve for one request. What needs more has to be refused for
/// good, not for now.
pub fn bytes_max(tenant: &Gate, upstream: &Gate, all: &Gate) -> u64 {
    tenant.in_flight_bytes_max().min(upstream.in_flight_bytes_max()).min(all.in_flight_bytes_max())
}

impl<'a> Permit<'a> {
    /// Makes sure that so many bytes in total are reserved, before and after decompression together;
    /// takes more in steps of [`STEP_BYTES`], and never gives any back before the end.
    ///
    /// # Errors
    /// [`Denial`], when one of the gates has no room; then what was reserved before stays reserved.
    pub fn reserve(&mut self, total_bytes_held: u64) -> Result<(), Denial> {
        if total_bytes_held <= self.bytes {
            return Ok(());
        }
        let missing = total_bytes_held - self.bytes;
        let step = total_bytes_held
            .checked_next_multiple_of(STEP_BYTES)
            .map_or(missing, |rounded| rounded - self.bytes);
        // Near a limit, exactly what is missing may fit where a whole step does not.
        let taken = match self.hold(step) {
            Ok(()) => step,
            Err(denial) if step == missing => return Err(denial),
            Err(_) => self.hold(missing).map(|()| missing)?,
        };
        self.bytes += taken;
        Ok(())
    }

    /// Charges bytes read from the wire to the bytes-per-second budgets. What was read was read: a
    /// budget may go into debt, and then lets nothing in until it is paid off.
    pub fn charge(&self, wire_bytes_read: u64) {
        for gate in self.gates() {
            gate.charge(wire_bytes_read, gate.clock.now_ns());
        }
    }

    /// Splits off the place at the upstream, with the bytes reserved there: it may have answered long before
    /// other upstreams do. What is reserved from then on is so at the other gates.
    pub fn split_upstream(&mut self) -> Option<Share<'a>> {
        let bytes = self.bytes;
        self.gates[UPSTREAM].take().map(|gate| Share { gate, bytes })
    }

    /// The bytes reserved now.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn gates(&self) -> impl Iterator<Item = &'a Gate> {
        self.gates.into_iter().flatten()
    }

    fn hold(&self, bytes: u64) -> Result<(), Denial> {
        pass(&self.gates, |gate| gate.hold(bytes), |gate| gate.let_go(bytes))
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.gates().for_each(|gate| gate.leave(self.bytes));
    }
}

impl fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// A part of a request that goes to one of several upstreams. It holds its place there until it is dropped.
#[must_use = "the part is in only while this is held"]
#[derive(Debug)]
pub struct Share<'a> {
    gate: &'a Gate,
    bytes: u64,
}

/// Admits the parts of a request to further upstreams, each with its bytes, and charges these there.
///
/// # Errors
/// [`Denial`], when one of the gates has no room; then none of them keeps anything of the request.
pub fn share<'a>(parts: impl IntoIterator<Item = (&'a Gate, u64)>) -> Result<Vec<Share<'a>>, Denial> {
    let mut passed: Vec<(&Gate, u64)> = Vec::new();
    for (gate, bytes) in parts {
        if let Err((limit, retry_after)) = gate.enter(bytes, gate.clock.now_ns()) {
            passed.iter().for_each(|(gate, bytes)| gate.take_back(*bytes));
            return Err(Denial { scope: Scope::Upstream, limit, retry_after });
        }
        passed.push((gate, bytes));
    }
    let shares = passed.into_iter().map(|(gate, bytes)| {
        gate.charge(bytes, gate.clock.now_ns());
        Share { gate, bytes }
    });
    Ok(shares.collect())
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.gate.leave(self.bytes);
    }
}

/// Takes from every gate, or gives back what the first ones gave.
fn pass(
    gates: &[Option<&Gate>; 3],
    take: impl Fn(&Gate) -> Result<(), (Limit, Duration)>,
    give_back: impl Fn(&Gate),
) -> Result<(), Denial> {
    for (index, gate) in gates.iter().enumerate() {
        let Some(gate) = gate else { continue };
        if let Err((limit, retry_after)) = take(gate) {
            gates[..index].iter().flatten().for_each(|passed| give_back(passed));
            return Err(Denial { scope: SCOPES[index], limit, retry_after });
        }
    }
    Ok(())
}
