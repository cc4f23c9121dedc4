//! Which address is really calling.
//!
//! Forwarding headers are believed only from a trusted peer; everybody else is who the socket says.

use crate::listener::Peer;
use http::{HeaderMap, HeaderName, header::FORWARDED};
use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

/// How a listener finds the client behind its peers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Config {
    /// Networks whose forwarding headers are believed.
    pub trusted_networks: Vec<ipnet::IpNet>,
    /// Whether peers on a Unix socket are trusted (`"unix"` in `trusted_proxies`).
    pub trust_unix: bool,
    /// The header that names the client.
    pub header: Header,
}

/// The header a trusted proxy names the client in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Header {
    /// `CF-Connecting-IP` and others of one address, by lower-case name.
    Single(HeaderName),
    /// `X-Forwarded-For`, read from the right over trusted hops. The default.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239), read from the right over trusted hops.
    Forwarded,
}

/// Who is calling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    /// The address; for a peer on a Unix socket that names nobody, the peer.
    pub address: Peer,
    /// Whether the peer's word about the request (`CF-Ray`, `CF-Worker`) may be believed.
    pub through_proxy: bool,
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Peer::Ip(address) => address.fmt(f),
            Peer::Unix => f.write_str("unix"),
        }
    }
}

impl Config {
    /// Whether this peer's forwarding headers are believed.
    pub fn trusts(&self, peer: Peer) -> bool {
        match peer {
            Peer::Ip(address) => self.trusted_networks.iter().any(|network| network.contains(&address)),
            Peer::Unix => self.trust_unix,
        }
    }

    /// Finds the client. What a header says in a form that nobody can read counts as not said.
    pub fn identify(&self, peer: Peer, headers: &HeaderMap) -> Client {
        if !self.trusts(peer) {
            return Client { address: peer, through_proxy: false };
        }
        let named = match &self.header {
            Header::Single(name) => {
                let last = headers.get_all(name).iter().next_back();
                last.and_then(|value| address(value.to_str().ok()?))
            }
            Header::XForwardedFor => {
                self.nearest_untrusted(headers, "x-forwarded-for", |hop| address(hop.trim()))
            }
            Header::Forwarded => self.nearest_untrusted(headers, FORWARDED.as_str(), forwarded_for),
        };
        Client { address: named.map_or(peer, Peer::Ip), through_proxy: true }
    }

    /// Reads a list from the right, where each proxy wrote down whom it heard it from: the first
    /// address that is not a trusted proxy's is the client's. What stands left of it anybody may
    /// have written.
    fn nearest_untrusted(
        &self,
        headers: &HeaderMap,
        name: &str,
        read: impl Fn(&str) -> Option<IpAddr>,
    ) -> Option<IpAddr> {
        let mut nearest = None;
        for value in headers.get_all(name).iter().rev() {
            // Byte by byte: one letter of a far hop that is not ASCII must not hide the near ones.
            for hop in value.as_bytes().rsplit(|&byte| byte == b',') {
                let Some(address) = std::str::from_utf8(hop).ok().and_then(&read) else { return nearest };
                nearest = Some(address);
                if !self.trusts(Peer::Ip(address)) {
                    return nearest;
                }
            }
        }
        nearest
    }
}

/// An address, with or without a port, in or without brackets.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse::<IpAddr>().or_else(|_| text.parse::<SocketAddr>().map(|socket| socket.ip()));
    address.ok().map(|address| address.to_canonical())
}

/// The `for` of one element of `Forwarded`: `for="[2001:db8::1]:4711";proto=https`.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let is_for = name.trim().eq_ignore_ascii_case("for");
        is_for.then(|| address(value.trim().trim_matches('"')))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn ip(text: &str) -> Peer {
        Peer::Ip(text.parse().unwrap())
    }

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        map
    }

    fn config(header: Header) -> Config {
        Config { trusted_networks: vec!["10.0.0.0/8".parse().unwrap()], trust_unix: true, header }
    }

    #[test]
    fn an_untrusted_peer_is_who_the_socket_says() {
        let lies = headers(&[
            ("cf-connecting-ip", "203.0.113.9"),
            ("x-forwarded-for", "203.0.113.9"),
            ("forwarded", "for=203.0.113.9"),
        ]);
        let single = Header::Single(HeaderName::from_static("cf-connecting-ip"));
        for header in [single, Header::XForwardedFor, Header::Forwarded] {
            let client = config(header).identify(ip("198.51.100.1"), &lies);
            assert_eq!(client, Client { address: ip("198.51.100.1"), through_proxy: false });
        }
    }

    #[test]
    fn a_trusted_proxy_names_the_client() {
        let said = headers(&[("cf-connecting-ip", "2001:db8::7"), ("x-forwarded-for", "1.2.3.4")]);
        let cloudflared = config(Header::Single(HeaderName::from_static("cf-connecting-ip")));
        for peer in [ip("10.1.1.1"), Peer::Unix] {
            assert_eq!(cloudflared.identify(peer, &said).address, ip("2001:db8::7"));
        }
    }

    #[test]
    fn lists_are_read_from_the_right_over_trusted_hops() {
        let cases = [
            ("6.6.6.6, 203.0.113.9, 10.0.0.2", "203.0.113.9"),
            ("203.0.113.9:4711", "203.0.113.9"),
            ("10.0.0.3, 10.0.0.2", "10.0.0.3"),
            ("203.0.113.9, garbage, 10.0.0.2", "10.0.0.2"),
            ("garbage", "10.0.0.1"),
            ("caf\u{e9}, 203.0.113.9", "203.0.113.9"),
            ("", "10.0.0.1"),
        ];
        for (list, client) in cases {
            let found = config(Header::XForwardedFor)
                .identify(ip("10.0.0.1"), &headers(&[("x-forwarded-for", list)]));
            assert_eq!(found.address, ip(client), "{list}");
        }
        let lines = headers(&[("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "203.0.113.9, 10.0.0.2")]);
        assert_eq!(config(Header::XForwardedFor).identify(ip("10.0.0.1"), &lines).address, ip("203.0.113.9"));
    }

    #[test]
    fn forwarded_is_read_as_rfc_7239_writes_it() {
        let cases = [
            ("for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60"),
            ("for=6.6.6.6, For=\"[2001:db8:cafe::17]:4711\"", "2001:db8:cafe::17"),
            ("for=unknown", "10.0.0.1"),
            ("for=_hidden, for=10.0.0.2", "10.0.0.2"),
        ];
        for (value, client) in cases {
            let found = config(Header::Forwarded).identify(ip("10.0.0.1"), &headers(&[("forwarded", value)]));
            assert_eq!(found.address, ip(client), "{value}");
        }
    }

    #[test]
    fn what_cannot_be_read_counts_as_not_said() {
        let cloudflared = config(Header::Single(HeaderName::from_static("cf-connecting-ip")));
        assert_eq!(
            cloudflared.identify(Peer::Unix, &headers(&[("cf-connecting-ip", "me")])).address,
            Peer::Unix
        );
        assert_eq!(cloudflared.identify(ip("10.0.0.1"), &HeaderMap::new()).address, ip("10.0.0.1"));
    }
}
