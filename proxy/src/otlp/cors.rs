//! Senders in browsers: which pages may send, and what their browsers have to be told.
//!
//! Source: the Fetch standard, "CORS protocol" (<https://fetch.spec.whatwg.org/#http-cors-protocol>).

use super::REQUEST_ID;
use http::{HeaderMap, HeaderValue, Method, header};
use std::fmt::{self, Display};

/// How long a browser remembers a preflight, in seconds: what Chromium takes at most, two hours.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");

/// The pages whose scripts may send, by where they come from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cors {
    /// Any of these.
    pub origins: Vec<Origin>,
}

/// Where a page comes from, in small letters as browsers write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// `*`: everywhere.
    Any,
    /// `https://shop.example`: there.
    Exact(String),
    /// `https://*.shop.example`: every host below. The scheme with `://`, and the rest from its dot on.
    Below(String, String),
}

impl Origin {
    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let written = text.to_ascii_lowercase();
        let host = written.strip_prefix("https://").or_else(|| written.strip_prefix("http://"));
        let host = host.ok_or("it starts with https:// or http://")?;
        let scheme = &written[..written.len() - host.len()];
        if host.contains(['/', '?', '#', '@']) {
            return Err("an origin ends with its host and port, without a slash");
        }
        let (is_below, name) = match host.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, host),
        };
        let authority: http::uri::Authority = name.parse().map_err(|_| "this is not a host")?;
        if authority.host().is_empty() || name.contains('*') || name.ends_with(':') {
            return Err("this is not a host");
        }
        let usual = if scheme == "https://" { ":443" } else { ":80" };
        if name.ends_with(usual) {
            return Err("browsers leave out the usual port");
        }
        Ok(match is_below {
            true => Self::Below(scheme.to_owned(), host[1..].to_owned()),
            false => Self::Exact(written),
        })
    }

    fn covers(&self, origin: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => exact == origin,
            Self::Below(scheme, rest) => origin
                .strip_prefix(scheme.as_str())
                .and_then(|host| host.strip_suffix(rest.as_str()))
                .is_some_and(|label| !label.is_empty() && !label.contains(['/', ':', '@'])),
        }
    }
}

impl Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(origin) => f.write_str(origin),
            Self::Below(scheme, rest) => write!(f, "{scheme}*{rest}"),
        }
    }
}

/// A page that may send.
pub struct Allowed {
    /// As its browser wrote it.
    origin: HeaderValue,
}

impl Cors {
    /// The page that a request comes from, if it comes from one and that may send.
    pub fn allowed(&self, headers: &HeaderMap) -> Option<Allowed> {
        let origin = headers.get(header::ORIGIN)?;
        let text = origin.to_str().ok()?;
        self.origins.iter().any(|known| known.covers(text)).then(|| Allowed { origin: origin.clone() })
    }
}

impl Allowed {
    /// Whether the browser only asks before it sends. It asks without credentials.
    pub fn only_asks(&self, method: &Method, headers: &HeaderMap) -> bool {
        method == Method::OPTIONS && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
    }

    /// The answer to such a question: any header may be sent, since none is trusted for the page's sake.
    pub fn permit(&self, asked: &HeaderMap, answer: &mut HeaderMap) {
        answer.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST"));
        if let Some(names) = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
            answer.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
        }
        answer.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    }

    /// What every answer has to say, or the page does not see it.
    pub fn expose(self, answer: &mut HeaderMap) {
        answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, self.origin);
        let seen = const { HeaderValue::from_static("retry-after, x-request-id") };
        debug_assert!(seen.to_str().is_ok_and(|seen| seen.contains(REQUEST_ID.as_str())));
        answer.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, seen);
        // For caches: another page is answered otherwise.
        answer.append(header::VARY, HeaderValue::from_static("origin"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_read_as_browsers_write_them() {
        for (text, shown) in [
            ("*", "*"),
            ("https://shop.example", "https://shop.example"),
            ("HTTPS://Shop.Example:8443", "https://shop.example:8443"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("http://[::1]:3000", "http://[::1]:3000"),
            ("https://*.shop.example", "https://*.shop.example"),
        ] {
            assert_eq!(Origin::parse(text).map(|origin| origin.to_string()), Ok(shown.to_owned()));
        }
        for text in [
            "",
            "shop.example",
            "ftp://shop.example",
            "https://",
            "https://shop.example/",
            "https://shop.example/page",
            "https://shop.example:443",
            "http://shop.example:80",
            "https://shop.example:",
            "https://ann@shop.example",
            "https://*shop.example",
            "https://a.*.example",
            "https://*.",
            "https://*",
        ] {
            assert!(Origin::parse(text).is_err(), "{text}: {:?}", Origin::parse(text));
        }
    }

    #[test]
    fn only_what_is_meant_is_covered() {
        let covers = |known: &str, origin: &str| Origin::parse(known).is_ok_and(|known| known.covers(origin));
        assert!(covers("*", "https://anything.example"));
        assert!(covers("https://shop.example", "https://shop.example"));
        assert!(covers("https://*.shop.example", "https://a.shop.example"));
        assert!(covers("https://*.shop.example", "https://a.b.shop.example"));
        assert!(covers("https://*.shop.example:8443", "https://a.shop.example:8443"));
        for (known, origin) in [
            ("https://shop.example", "http://shop.example"),
            ("https://shop.example", "https://shop.example:8443"),
            ("https://shop.example", "https://shop.example.evil.example"),
            ("https://*.shop.example", "https://shop.example"),
            ("https://*.shop.example", "https://evilshop.example"),
            ("https://*.shop.example", "https://.shop.example"),
            ("https://*.shop.example", "https://evil.example/.shop.example"),
            ("https://*.shop.example", "http://a.shop.example"),
            ("https://shop.example", "null"),
        ] {
            assert!(!covers(known, origin), "{known} covers {origin}");
        }
    }
}
