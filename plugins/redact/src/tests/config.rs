//! Each key of the configuration.

use serde_json::json;
use tollgate_plugin::test::{self, Outcome};
use tollgate_plugin::{Batch, Error, Otherwise, Plugin, Registration, Result, Setup, Signal, Verdict};

use super::{redact, redacted};
use crate::Redact;

#[track_caller]
fn run(config: &str, batch: impl Into<test::Request>) -> Outcome {
    redact(config).run(batch).unwrap()
}

#[track_caller]
fn mistake(config: &str, pointer: &str, message: &str) {
    let Err(Error::BadConfig(mistake)) = test::run::<Redact>(config, test::logs(json!({}), json!([]))) else {
        panic!("{config} is no mistake")
    };
    assert_eq!(mistake.pointer, pointer, "{}", mistake.message);
    assert!(mistake.message.contains(message), "{}", mistake.message);
}

#[test]
fn by_default_what_is_certain_is_masked_and_counted() {
    let out = run(
        "",
        test::logs(
            json!({ "owner": "ann@example.com", "host.ip": "203.0.113.7" }),
            json!([
                { "body": "ann@example.com and bob@example.com paid with 4111 1111 1111 1111" },
                { "body": { "iban": "DE89370400440532013000" }, "attributes": { "pan": 4111111111111111_i64 } },
                { "body": "nothing" },
            ]),
        ),
    );
    assert_eq!(out.resources()[0]["attributes"], json!({ "owner": "[email]", "host.ip": "203.0.113.7" }));
    let records = out.records();
    assert_eq!(records[0]["body"], "[email] and [email] paid with [card-number]");
    assert_eq!(records[1]["body"], json!({ "iban": "[iban]" }));
    assert_eq!(records[1]["attributes"], json!({ "pan": "[card-number]" }));
    assert_eq!(out.changed, 2);
    let counters: Vec<(&str, u64)> =
        out.counters.iter().map(|(name, count)| (name.as_str(), *count)).collect();
    assert_eq!(counters, [("redacted_card_number", 2), ("redacted_email", 3), ("redacted_iban", 1)]);
}

#[test]
fn every_action_does_what_it_says() {
    let mut plugin = redact(
        r#"
        patterns = ["email", { name = "card-number", action = { truncate = 6 } }, { name = "jwt", action = "mask" }]
        action = { mask = "<{name}>" }
        "#,
    );
    assert_eq!(redacted(&mut plugin, "ann@example.com 4111111111111111"), "<email> 411111…");

    let mut plugin = redact("patterns = ['email']\naction = 'hash'\nhash_key = 'sixteen bytes or more'");
    let once = redacted(&mut plugin, "ann@example.com bob@example.com ann@example.com");
    let [ann, bob, again] = once.split(' ').collect::<Vec<_>>()[..] else { panic!("{once}") };
    assert!(ann.len() == 16 && ann.bytes().all(|byte| byte.is_ascii_hexdigit()), "{ann}");
    assert!(ann == again && ann != bob);

    // While a key is being changed, both hashes are written: the new one, and the one that is known.
    let rotating = "patterns = ['email']\naction = 'hash'\nhash_key = 'the key that comes next'\n\
        previous_hash_key = 'sixteen bytes or more'";
    let both = redacted(&mut redact(rotating), "ann@example.com");
    assert_eq!(both.split_once('~').map(|(new, known)| (new.len(), known)), Some((16, ann)));

    let out = run(
        "action = 'remove'",
        test::logs(json!({}), json!([{ "body": "b", "attributes": { "a": "x ann@example.com", "c": 1 } }])),
    );
    assert_eq!(out.records()[0]["attributes"], json!({ "c": 1 }));
}

#[test]
fn a_hash_in_a_query_is_hashed_once() {
    let config = "patterns = ['url-query']\naction = 'hash'\nhash_key = 'sixteen bytes or more'";
    let out = run(config, test::logs(json!({}), json!([{ "body": "/a?token=x&key=y" }])));
    assert_eq!(out.counters["redacted_url_query"], 2);
    assert_eq!(out.records()[0]["body"].as_str().unwrap().len(), "/a?token=&key=".len() + 32);
}

#[test]
fn a_custom_pattern_comes_first_and_may_mean_a_group() {
    let mut plugin = redact(
        r#"
        hash_key = "sixteen bytes or more"
        [[custom]]
        name = "employee"
        pattern = '\w+@acme\.example'
        action = "hash"
        [[custom]]
        name = "json-password"
        pattern = '"password"\s*:\s*"(?<secret>[^"]*)"'
        [[custom]]
        name = "loyalty-card"
        pattern = '\b9\d{15}\b'
        check = "luhn"
        "#,
    );
    let out = redacted(&mut plugin, "eve@acme.example ann@example.com");
    assert!(out.len() == 16 + " [email]".len() && out.ends_with(" [email]"), "{out}");
    assert_eq!(redacted(&mut plugin, r#"{"password": "x"}"#), r#"{"password": "[json-password]"}"#);
    let cards = "9000000000000001 9000000000000008";
    let one = redacted(&mut plugin, cards);
    assert!(one.contains("[loyalty-card]") && one.contains("900000000000000"), "{one}");
}

#[test]
fn the_value_of_a_denied_key_goes_whatever_it_is() {
    let secrets = json!({
        "password": 7, "Password": [1, "x"], "user": { "password": { "a": "b" }, "name": "n" },
        "db.password": true, "api_token": 1.5,
    });
    let config = r#"
        patterns = []
        deny_keys = ["password", { pattern = '^db\.' }, { set = "credentials" }]
    "#;
    let batch = || test::logs(secrets.clone(), json!([{ "body": secrets, "attributes": secrets }]));
    let out = run(config, batch());
    let left = json!({
        "password": "[redacted]", "Password": "[redacted]", "user": { "password": "[redacted]", "name": "n" },
        "db.password": "[redacted]", "api_token": "[redacted]",
    });
    assert_eq!(out.resources()[0]["attributes"], left);
    assert_eq!((&out.records()[0]["body"], &out.records()[0]["attributes"]), (&left, &left));
    assert_eq!(out.counters["redacted_denied_keys"], 15);

    let out = run(&format!("{config}\ndeny_action = 'remove'"), batch());
    assert_eq!(out.records()[0]["body"], json!({ "user": { "name": "n" } }));
}

#[test]
fn an_allowed_key_is_not_looked_into_unless_it_is_denied() {
    let attributes = json!({
        "order.id": 4111111111111111_i64, "order": { "id": "4111111111111111", "mail": "ann@example.com" },
        "internal.note": "ann@example.com", "internal.password": "ann@example.com",
    });
    let out = run(
        r#"
        allow_keys = ["order.id", "id", { pattern = '^internal\.' }]
        deny_keys = [{ set = "credentials" }]
        "#,
        test::logs(json!({}), json!([{ "body": attributes, "attributes": attributes }])),
    );
    let left = json!({
        "order.id": 4111111111111111_i64, "order": { "id": "4111111111111111", "mail": "[email]" },
        "internal.note": "ann@example.com", "internal.password": "[redacted]",
    });
    assert_eq!((&out.records()[0]["body"], &out.records()[0]["attributes"]), (&left, &left));
}

#[test]
fn the_set_of_credentials_has_keys_of_any_spelling() {
    let secret = [
        "password",
        "user_password",
        "userPassword",
        "DB.PASSWORD",
        "secret",
        "client_secret",
        "clientSecret",
        "x-api-key",
        "apiKey",
        "http.request.header.authorization",
        "proxy-authorization",
        "cookie",
        "set-cookie",
        "http.response.header.set_cookie",
        "accessToken",
        "refresh_token",
        "id-token",
        "aws.secret_key",
    ];
    let plain = [
        "token",
        "gen_ai.usage.input_tokens",
        "key",
        "session.id",
        "k8s.secret.name",
        "passwords",
        "cookies",
        "authorization.result",
        "user.name",
        "author",
    ];
    let attributes = secret.iter().chain(&plain).map(|key| (key.to_string(), json!("x"))).collect();
    let out = run(
        "patterns = []\ndeny_keys = [{ set = 'credentials' }]",
        test::logs(json!({}), json!([{ "attributes": serde_json::Value::Object(attributes) }])),
    );
    let attributes = &out.records()[0]["attributes"];
    let left = |keys: &[&str], value: &str| keys.iter().filter(|key| attributes[**key] != value).count();
    assert_eq!((left(&secret, "[redacted]"), left(&plain, "x")), (0, 0), "{attributes}");
}

#[test]
fn four_numbers_are_a_version_where_the_key_says_so() {
    let batch = json!({ "resourceLogs": [{
        "resource": { "attributes": [
            { "key": "service.version", "value": { "stringValue": "1.2.3.4" } },
            { "key": "host.ip", "value": { "stringValue": "1.2.3.4" } },
        ] },
        "scopeLogs": [{ "scope": { "name": "1.2.3.4", "version": "1.2.3.4" }, "logRecords": [{}] }],
    }] });
    let out = run("patterns = ['ipv4', 'email']", batch);
    assert_eq!(
        out.resources()[0]["attributes"],
        json!({ "service.version": "1.2.3.4", "host.ip": "[ipv4]" })
    );
    let scope = &out.batch["resourceLogs"][0]["scopeLogs"][0]["scope"];
    assert_eq!((&scope["name"], &scope["version"]), (&json!("[ipv4]"), &json!("1.2.3.4")));
}

#[test]
fn places_and_signals_are_switched() {
    let record = json!({ "body": "a@b.example", "severityText": "a@b.example", "eventName": "a@b.example",
        "attributes": { "a@b.example": "a@b.example", "pan": 4111111111111111_i64 } });
    let left = |places: &str| {
        let out = run(places, test::logs(json!({}), json!([record])));
        let json = out.records()[0].to_string();
        (json.matches("a@b.example").count(), json.matches("4111111111111111").count())
    };
    assert_eq!(left(""), (1, 0), "by default the key stays");
    assert_eq!(left("places = { keys = true }"), (0, 0));
    assert_eq!(left("places = { attributes = false }"), (2, 1));
    assert_eq!(left("places = { integers = false }"), (1, 1));
    assert_eq!(left("places = { bodies = false, names = false, texts = false }"), (4, 0));

    let out = run("signals = ['traces']", test::logs(json!({}), json!([record])));
    assert_eq!(out.changed, 0);
    let out = run("signals = ['logs']", test::logs(json!({}), json!([record])));
    assert_eq!(out.changed, 1);
}

#[test]
fn a_signal_that_cannot_be_looked_into_is_refused() {
    for config in ["", "signals = ['logs']"] {
        let plugin = redact(config);
        assert_eq!(plugin.registration().others, Otherwise::Refuse);
        assert_eq!(plugin.registration().signals, Signal::ALL);
    }
}

/// Takes a batch with fields that nobody knows in place of the test's, which is JSON and has none.
struct Unknown(Redact);

impl Plugin for Unknown {
    type Config = crate::config::Config;

    fn configure(config: Self::Config, setup: &Setup) -> Result<Unknown> {
        Redact::configure(config, setup).map(Unknown)
    }

    fn registration(&self) -> Registration {
        self.0.registration()
    }

    fn process(&mut self, batch: &mut Batch) -> Result<Verdict> {
        batch.replace(&unknown())?;
        let verdict = self.0.process(batch)?;
        let left = batch.to_otlp()?;
        tollgate_plugin::count("left", left.windows(3).filter(|bytes| bytes == b"@b.").count() as u64);
        Ok(verdict)
    }
}

/// A request whose resource, log record and body have a text in field 99.
fn unknown() -> Vec<u8> {
    let field = |number: u32, content: &[u8]| {
        let tag = number << 3 | 2;
        let mut field = if tag < 128 { vec![tag as u8] } else { vec![tag as u8 | 0x80, (tag >> 7) as u8] };
        field.push(content.len() as u8);
        field.extend_from_slice(content);
        field
    };
    let secret = field(99, b"a@b.example");
    let body = field(5, &secret);
    let record = field(2, &[body, secret.clone()].concat());
    let resource = field(1, &secret);
    field(1, &[resource, field(2, &record)].concat())
}

#[test]
fn unknown_fields_are_kept_or_dropped() {
    let run = |config| test::run::<Unknown>(config, test::logs(json!({}), json!([]))).unwrap().counters;
    assert_eq!(run("")["left"], 3);
    let dropped = run("unknown_fields = 'drop'");
    assert_eq!((dropped["left"], dropped["removed_unknown_fields"]), (0, 3));
}

#[test]
fn mistakes_have_their_place() {
    mistake("pattern = []", "/pattern", "unknown field `pattern`");
    mistake("patterns = ['email', 'e-mail']", "/patterns/1", "there are email, card-number");
    mistake("patterns = [{ name = 'email', actoin = 'hash' }]", "/patterns/0", "a pattern's name, or");
    mistake("patterns = ['email', 'jwt', 'email']", "/patterns/2", "already");
    mistake("patterns = [{ name = 'email', action = 'hash' }]", "/patterns/0", "a hash needs a key");
    mistake("action = 'hash'", "/action", "a hash needs a key");
    mistake("action = 'drop'", "/action", "\"mask\", \"hash\"");
    mistake("hash_key = 'short'", "/hash_key", "16 bytes");
    mistake("hash_key = 'sixteen bytes or more'\nprevious_hash_key = 'x'", "/previous_hash_key", "16 bytes");
    mistake("previous_hash_key = 'sixteen bytes or more'", "/previous_hash_key", "no `hash_key`");
    mistake("[[custom]]\nname = 'x'", "/custom/0", "missing field `pattern`");
    mistake("[[custom]]\nname = 'x'\npattern = '('", "/custom/0/pattern", "unclosed group");
    mistake("[[custom]]\nname = 'email'\npattern = 'x'", "/custom/0/name", "already");
    mistake("[[custom]]\nname = 'É'\npattern = 'x'", "/custom/0/name", "a to z");
    mistake("allow_keys = ['a', { pattern = '[' }]", "/allow_keys/1", "unclosed");
    mistake("deny_keys = [{ set = 'everything' }]", "/deny_keys/0", "credentials");
    mistake("places = { body = true }", "/places/body", "unknown field");
    mistake("unknown_fields = 'remove'", "/unknown_fields", "`keep` or `drop`");
    mistake("signals = ['profiles']", "/signals/0", "logs, traces, metrics");
    mistake("patterns = []", "", "nothing is looked for");
}

#[test]
fn the_page_s_example_is_one() {
    let mut plugin = redact(
        r#"
        patterns = ["email", { name = "card-number", action = { truncate = 6 } }, "ipv4", "ipv6"]
        hash_key = "sixteen bytes or more"
        action = "hash"
        deny_keys = [{ set = "credentials" }, "session.id"]
        allow_keys = ["order.id"]
        unknown_fields = "drop"

        [[custom]]
        name = "customer"
        pattern = 'customer[ =:]+(?<secret>C-\d{8})'
        action = { mask = "***" }

        [[custom]]
        name = "employee"
        pattern = 'bot-\w+@acme\.example|(?<secret>\w+@acme\.example)'
        action = "mask"
        "#,
    );
    let text = "customer C-12345678: 4111111111111111";
    assert_eq!(redacted(&mut plugin, text), "customer ***: 411111…");
    assert_eq!(redacted(&mut plugin, "eve@acme.example"), "[employee]");
    let excepted = redacted(&mut plugin, "bot-7@acme.example");
    assert_eq!(excepted.len(), 16, "no employee, but an address still: {excepted}");
}
