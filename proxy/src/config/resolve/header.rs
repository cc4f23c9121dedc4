//! Header names and values, as they may be set.

use crate::config::{
    diagnostic::Diagnostic,
    kind::{Fault, Kind, Parsed},
    reader::Reader,
    secret::{MASKED, Secret},
    source::Node,
};
use http::{HeaderName, HeaderValue};
use serde_json::{Value as Json, json};

/// Headers that belong to the connection or to the body: HTTP itself sets them, and a second one
/// would be an attack (request smuggling) or nonsense.
const OF_THE_MESSAGE: [&str; 15] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];

/// Headers of an answer that the protocol decides.
const OF_THE_ANSWER: [&str; 4] = ["allow", "retry-after", "server", "www-authenticate"];

/// The name of a header set on requests to an upstream.
pub const REQUEST_HEADER: Parsed<HeaderName> = Parsed {
    wanted: "a header name",
    parse: |text| match name(text)? {
        name if name == "host" => {
            Err(Fault::new("`Host` is not set here").help("the upstream's `host` sets it"))
        }
        name if OF_THE_MESSAGE.contains(&name.as_str()) => Err(taken(text)),
        name => Ok(name),
    },
};

/// The name of a header set on every answer.
pub const ANSWER_HEADER: Parsed<HeaderName> = Parsed {
    wanted: "a header name",
    parse: |text| match name(text)? {
        name if OF_THE_MESSAGE.contains(&name.as_str()) || OF_THE_ANSWER.contains(&name.as_str()) => {
            Err(taken(text))
        }
        name => Ok(name),
    },
};

/// The name of any header.
pub fn name(text: &str) -> Result<HeaderName, Fault> {
    HeaderName::from_bytes(text.as_bytes()).map_err(|_| {
        Fault::new("this is not a header name").label("letters, digits and `-`, such as X-Scope-OrgID")
    })
}

fn taken(name: &str) -> Fault {
    Fault::new(format!("`{name}` cannot be set")).label("Tollgate sets it itself, as each message needs it")
}

/// The value of a header towards an upstream: a credential as likely as not, so it is never shown.
pub struct RequestValue(Secret);

impl RequestValue {
    /// One that may use `${tenant}`, or that may not.
    pub fn new(tenant: Option<&str>) -> Self {
        Self(Secret { wanted: "a string", tenant: tenant.map(str::to_owned) })
    }
}

impl Kind for RequestValue {
    type Value = HeaderValue;

    fn wanted(&self) -> String {
        self.0.wanted()
    }

    fn schema(&self) -> Json {
        self.0.schema()
    }

    fn read(&self, node: &Node, reader: &mut Reader) -> Option<HeaderValue> {
        let text = self.0.read(node, reader)?;
        let mut value = value(&text, node, reader)?;
        value.set_sensitive(true);
        Some(value)
    }

    fn show(&self, value: &HeaderValue) -> Json {
        // What is just the tenant's name is no secret.
        match (&self.0.tenant, value.to_str()) {
            (Some(tenant), Ok(text)) if tenant == text => json!(tenant),
            _ => json!(MASKED),
        }
    }
}

/// The value of a header on every answer; `false` drops it.
pub struct AnswerValue;

impl Kind for AnswerValue {
    type Value = Option<HeaderValue>;

    fn wanted(&self) -> String {
        "a string, or `false` to drop the header".to_owned()
    }

    fn schema(&self) -> Json {
        json!({ "anyOf": [{ "type": "string" }, { "const": false }] })
    }

    fn read(&self, node: &Node, reader: &mut Reader) -> Option<Self::Value> {
        if let crate::config::source::Value::Boolean(false) = node.value {
            return Some(None);
        }
        let text = reader.text(node, self)?;
        value(&text, node, reader).map(Some)
    }

    fn show(&self, value: &Self::Value) -> Json {
        match value {
            Some(value) => json!(value.to_str().unwrap_or_default()),
            None => json!(false),
        }
    }
}

fn value(text: &str, node: &Node, reader: &mut Reader) -> Option<HeaderValue> {
    let value = HeaderValue::from_str(text).ok();
    if value.is_none() {
        reader.report(
            Diagnostic::error("this cannot stand in a header")
                .at(&node.place, "it has a line break or another control character"),
        );
    }
    value
}
