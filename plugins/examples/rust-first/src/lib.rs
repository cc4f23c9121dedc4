//! Takes the query out of URLs, where the secrets are.

use serde::Deserialize;
use tollgate_plugin::{Batch, Column, Level, Plugin, Result, Setup, Verdict};

tollgate_plugin::export!(StripQuery);

/// What stands in `config`. A misspelt key stops Tollgate's start, with its place.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// The attributes that hold URLs.
    attributes: Vec<String>,
}

struct StripQuery {
    columns: Vec<Column>,
}

impl Plugin for StripQuery {
    type Config = Config;

    fn configure(config: Config, _: &Setup) -> Result<StripQuery> {
        let column = |key| Column::attribute(Level::Record, key);
        Ok(StripQuery { columns: config.attributes.into_iter().map(column).collect() })
    }

    fn process(&mut self, batch: &mut Batch) -> Result<Verdict> {
        for column in &self.columns {
            batch.column(column).edit_texts(|url| Some(url.split_once('?')?.0.into()))?;
        }
        Ok(Verdict::Forward)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tollgate_plugin::test;

    use super::*;

    #[test]
    fn takes_the_query_out() {
        let config = r#"attributes = ["url"]"#;
        let records = json!([{ "body": "GET", "attributes": { "url": "/cart?token=secret" } }]);
        let out = test::run::<StripQuery>(config, test::logs(json!({}), records)).unwrap();
        assert_eq!(out.records()[0]["attributes"]["url"], "/cart");
    }
}
