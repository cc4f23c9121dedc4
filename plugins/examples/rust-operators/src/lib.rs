//! Tier 1: the host does the work, on many rows at once.
//!
//! A storefront's logs: health checks go, e-mail addresses in URLs are masked, errors are kept in an
//! archive beside the usual place, and everything says where it came through.
//!
//! ```toml
//! [plugin.storefront]
//! component = "plugins/rust_operators.wasm"
//! config = { health_check = "^/(healthz|readyz)$", archive = "archive" }
//!
//! [tenant.shop]
//! plugins = ["storefront"]
//! routes = { archive = "s3-gateway" }
//! ```
//!
//! Each line of `process` is one call to the host, however many records there are: this is the tier to
//! begin with.

use serde::Deserialize;
use tollgate_plugin::{
    Batch, DEFAULT_DESTINATION, Pattern, Plugin, Redaction, Registration, Result, Setup, Signal, Verdict,
};

tollgate_plugin::export!(Storefront);

/// What stands in `config`. A pattern is compiled when it is read; a mistake in it, or an unknown key, stops
/// Tollgate's start with its place.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Paths that nobody wants to read about.
    health_check: Pattern,
    /// Where errors are kept, a name in the tenant's `routes`.
    archive: String,
}

struct Storefront {
    health_check: Pattern,
    email: Pattern,
    destinations: [String; 2],
}

impl Plugin for Storefront {
    type Config = Config;

    fn configure(config: Config, _: &Setup) -> Result<Storefront> {
        Ok(Storefront {
            health_check: config.health_check,
            email: Pattern::new(r"[\w.+-]+(@|%40)[\w-]+(\.[\w-]+)+")?,
            destinations: [DEFAULT_DESTINATION.to_owned(), config.archive],
        })
    }

    fn registration(&self) -> Registration {
        let [_, archive] = &self.destinations;
        Registration::default().signals([Signal::Logs]).destinations([archive])
    }

    fn process(&mut self, batch: &mut Batch) -> Result<Verdict> {
        let records = batch.records();

        let health_checks = records.attribute("path").matching(self.health_check)?;
        records.rows(&health_checks).discard()?;

        records.attribute("url").redact(&[Redaction::mask(self.email, "[email]")])?;
        records.set("processed_by", "tollgate")?;

        let errors = records.attribute("level").equal_to("error")?;
        records.rows(&errors).route_to(&self.destinations)?;

        Ok(Verdict::Forward)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tollgate_plugin::{Error, test};

    use super::*;

    const CONFIG: &str = r#"
        health_check = "^/(healthz|readyz)$"
        archive = "archive"
    "#;

    #[test]
    fn keeps_a_storefronts_logs_tidy() {
        let records = json!([
            { "body": "a", "attributes": { "path": "/healthz" } },
            { "body": "b", "attributes": { "path": "/cart", "url": "/cart?for=ann@example.com" } },
            { "body": "c", "attributes": { "path": "/pay", "level": "error" } },
        ]);
        let out = test::run::<Storefront>(CONFIG, test::logs(json!({ "service.name": "oxygen" }), records))
            .unwrap();

        assert_eq!(out.discarded, 1);
        assert_eq!(
            out.records()[0]["attributes"],
            json!({ "path": "/cart", "url": "/cart?for=[email]", "processed_by": "tollgate" })
        );
        let archived = out.routed_to(&["default", "archive"]);
        assert_eq!(archived[0]["body"], "c");
        assert_eq!(archived[0]["attributes"]["processed_by"], "tollgate");
    }

    #[test]
    fn a_broken_pattern_is_located() {
        let result = test::Instance::<Storefront>::new("health_check = '('\narchive = 'x'");
        let Err(Error::BadConfig(mistake)) = result else { panic!("it is a mistake") };
        assert_eq!(mistake.pointer, "/health_check");
    }
}
