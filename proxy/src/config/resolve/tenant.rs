//! `[tenant.NAME]`: who may send, what, how much and where to.

use super::{
    MAX_BYTES, MAX_COUNT,
    header::{REQUEST_HEADER, RequestValue},
    listener::PATH_PREFIX,
    plugin::{self, Use},
    report_larger,
};
use crate::{
    admission::TenantLimits,
    config::{
        diagnostic::Diagnostic,
        kind::{Bytes, Count, Fault, Instant, Moment, Parsed, Text, show_bytes},
        secret::{Secret, SecretFile},
        section::{Either, Entries, Located, Section},
        source::Place,
    },
    pipeline::{TenantConfig, Upstreams},
    tenant::{Credential, HashError, PasswordHash, Proof, parse_token_hash},
};
use http::{HeaderName, HeaderValue};
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

/// A tenant as written.
pub struct Tenant {
    /// Its path prefix, to hold against the others.
    pub path_prefix: Option<Located<String>>,
    /// The upstreams it names.
    pub upstreams: Vec<Located<Arc<str>>>,
    /// The plugins it uses, to find among those that there are.
    pub uses: Vec<Use>,
    /// The upstreams that its plugins may send to, by the names that they know.
    pub routes: Entries<String, String>,
    /// The headers it sets, to hold against those of its upstreams.
    pub upstream_headers: Vec<Located<HeaderName>>,
    /// Its limits, to hold against those over all tenants.
    pub limits: Limits,
    /// Its credentials, to hold against the others'.
    pub credentials: Vec<LocatedCredential>,
    /// What the pipeline gets.
    pub config: TenantConfig,
}

/// A credential with the places where another may contradict it.
pub struct LocatedCredential {
    /// What the room of tenants gets.
    pub credential: Credential,
    /// The user name, or the token's hash.
    pub place: Option<Place>,
}

/// Reads one.
pub fn tenant(s: &mut Section, name: &Located<String>) -> Tenant {
    let shared = shared(s, name);
    let doc =
        "With it the tenant's only door is below this prefix: `/shop/v1/logs`. Without it, the bare paths.";
    let path_prefix = s.optional("path_prefix", doc, PATH_PREFIX);
    let doc =
        "The proofs that a sender may show. Several of one user are all good, which is how they are changed.";
    let drafts = s.list("credentials", doc, credential);
    if drafts.as_ref().is_some_and(Vec::is_empty) {
        s.report(
            Diagnostic::error(format!("tenant `{}` has no credentials", name.value))
                .at(s.place_of("credentials").as_ref().or(s.place()), "nobody could send for it")
                .help("credentials = [{ user = \"…\", password_hash = \"…\" }]"),
        );
    }
    if !s.has("upstream") {
        s.report(no_upstream().at(s.place(), "there is nowhere to send its data"));
    }
    let tenant: Arc<str> = name.as_str().into();
    let drafts = drafts.into_iter().flatten().flatten().collect();
    let door = path_prefix.as_ref().map(|prefix| prefix.as_str().into());
    let credentials = name_credentials(s, &tenant, door, drafts);
    let config = TenantConfig {
        name: tenant,
        path_prefix: path_prefix.as_ref().map(|prefix| prefix.value.clone()),
        upstreams: shared.upstreams.0,
        limits: shared.limits.values,
        upstream_headers: shared
            .upstream_headers
            .iter()
            .map(|(name, value)| (name.value.clone(), value.value.clone()))
            .collect(),
        plugins: Vec::new(),
        routes: shared
            .routes
            .iter()
            .map(|(alias, upstream)| (alias.as_str().into(), upstream.as_str().into()))
            .collect(),
    };
    let upstream_headers = shared.upstream_headers.into_iter().map(|(name, _)| name).collect();
    Tenant {
        path_prefix,
        upstreams: shared.upstreams.1,
        uses: shared.uses,
        routes: shared.routes,
        upstream_headers,
        limits: shared.limits,
        credentials,
        config,
    }
}

/// What `[defaults.tenant]` names, which has to exist even where no tenant falls back on it.
pub struct Defaults {
    /// The upstreams.
    pub upstreams: Vec<Located<Arc<str>>>,
    /// The plugins.
    pub uses: Vec<Use>,
}

/// Reads `[defaults.tenant]`, which every tenant falls back on: here only its own mistakes count, and
/// what it names.
pub fn defaults(s: &mut Section) -> Defaults {
    let shared = shared(s, &Located { value: "NAME".to_owned(), place: None });
    let routed = shared.routes.into_iter().map(|(_, upstream)| upstream.map(Arc::from));
    Defaults { upstreams: shared.upstreams.1.into_iter().chain(routed).collect(), uses: shared.uses }
}

/// What `[defaults.tenant]` can say for every tenant.
struct Shared {
    upstreams: (Upstreams, Vec<Located<Arc<str>>>),
    uses: Vec<Use>,
    routes: Entries<String, String>,
    limits: Limits,
    upstream_headers: Entries<HeaderName, HeaderValue>,
}

/// Reads the keys that `[defaults.tenant]` can have too.
fn shared(s: &mut Section, name: &Located<String>) -> Shared {
    let doc =
        "Where to: one upstream's name, or one for each signal. A signal that has none is refused with 403.";
    let upstreams = match s.either("upstream", doc, UPSTREAM, upstream_of_each_signal) {
        Some(Either::Value(one)) => {
            let one = one.map(Arc::<str>::from);
            let all = Some(one.value.clone());
            let upstreams =
                Upstreams { logs: all.clone(), traces: all.clone(), metrics: all.clone(), profiles: all };
            (upstreams, vec![one])
        }
        Some(Either::Table(each)) => each,
        None => Default::default(),
    };
    let uses = plugin::uses(s);
    let doc = "The upstreams that its plugins may send to, by the names that the plugins know; `default` is always the tenant's own.";
    let routes = s.map("routes", doc, (plugin::ALIAS, Text { wanted: "an upstream's name" }));
    let limits = s.table("limits", "What it may use.", limits);
    let doc =
        "Headers set towards its upstreams; `${tenant}` stands for its name. A sender's own are dropped.";
    let upstream_headers =
        s.map("upstream_headers", doc, (REQUEST_HEADER, RequestValue::new(Some(&name.value))));
    Shared { upstreams, uses, routes, limits, upstream_headers }
}

fn no_upstream() -> Diagnostic {
    Diagnostic::error("a tenant without an upstream")
        .help("upstream = \"NAME\", in [tenant.NAME] or in [defaults.tenant]")
}

const UPSTREAM: Text =
    Text { wanted: "an upstream's name, or a table such as { logs = \"loki\", traces = \"tempo\" }" };

fn upstream_of_each_signal(s: &mut Section) -> (Upstreams, Vec<Located<Arc<str>>>) {
    const NAME: Text = Text { wanted: "an upstream's name" };
    let mut named = Vec::new();
    let mut keep = |upstream: Option<Located<String>>| {
        let upstream = upstream?.map(Arc::<str>::from);
        named.push(upstream.clone());
        Some(upstream.value)
    };
    if s.is_empty() {
        s.report(no_upstream().at(s.place(), "no signal has one"));
    }
    let upstreams = Upstreams {
        logs: keep(s.optional("logs", "Where logs go.", NAME)),
        traces: keep(s.optional("traces", "Where traces go.", NAME)),
        metrics: keep(s.optional("metrics", "Where metrics go.", NAME)),
        profiles: keep(s.optional("profiles", "Where profiles go.", NAME)),
    };
    (upstreams, named)
}

/// A tenant's limits, and the two that are held against those over all tenants.
pub struct Limits {
    values: TenantLimits,
    /// The memory of its requests under way.
    pub in_flight_bytes: Located<u64>,
    /// The size of one body after decompression.
    pub decompressed: Located<u64>,
}

fn limits(s: &mut Section) -> Limits {
    let default = TenantLimits::default();
    let doc = "Requests per second, with a burst of one second's worth.";
    let requests_per_second =
        s.value("requests_per_second", doc, Count(1..=MAX_COUNT), default.requests_per_second);
    let doc = "Bytes per second as they come on the wire.";
    let bytes_per_second = s.value("bytes_per_second", doc, Bytes(1..=MAX_BYTES), default.bytes_per_second);
    let in_flight = s.value("in_flight", "Requests under way.", Count(1..=MAX_COUNT), default.in_flight);
    let doc = "Memory for bodies of requests under way, before and after decompression.";
    let in_flight_bytes = s.value("in_flight_bytes", doc, Bytes(1..=MAX_BYTES), default.in_flight_bytes);
    let body = s.value("body", "Size of one body on the wire.", Bytes(1..=MAX_BYTES), default.body);
    let doc = "Size of one body after decompression.";
    let decompressed = s.value("decompressed", doc, Bytes(1..=MAX_BYTES), default.decompressed);
    let what = "a body may be larger than after its decompression";
    report_larger(s, what, show_bytes, ("body", &body), ("decompressed", &decompressed));
    let what = "one body may be larger than all bodies under way together";
    report_larger(
        s,
        what,
        show_bytes,
        ("decompressed", &decompressed),
        ("in_flight_bytes", &in_flight_bytes),
    );
    let values = TenantLimits {
        requests_per_second: requests_per_second.value,
        bytes_per_second: bytes_per_second.value,
        in_flight: in_flight.value,
        in_flight_bytes: in_flight_bytes.value,
        body: body.value,
        decompressed: decompressed.value,
    };
    Limits { values, in_flight_bytes, decompressed }
}

/// A credential before it has its name.
struct Draft {
    name: Option<Located<String>>,
    proof: Proof,
    place: Option<Place>,
    expires: Option<Located<Instant>>,
    section: Option<Place>,
}

fn credential(s: &mut Section) -> Option<Draft> {
    const NAME: Text = Text { wanted: "a name such as \"2026-12\"" };
    let name = s.optional(
        "name",
        "Its name in metrics and logs. Default: the user's, or `token-1` and so on.",
        NAME,
    );
    let user = s.optional("user", "The user name of HTTP Basic.", USER);
    let doc = "The hash of the password: Argon2id (`$argon2id$…`) or bcrypt (`$2b$…`).";
    let password = s.optional("password_hash", doc, Secret::new("a hash such as \"$argon2id$…\""));
    let password_file = s.optional("password_hash_file", "A file that holds the hash.", SecretFile);
    let doc =
        "Instead of user and password: the hash of a bearer token, `sha256:` and 64 hexadecimal digits.";
    let token = s.optional("token_hash", doc, Secret::new("a hash such as \"sha256:…\""));
    let token_file = s.optional("token_hash_file", "A file that holds the hash.", SecretFile);
    let expires = s.optional("expires", "From when on it is refused.", Moment);

    if let Some(expires) = expires.as_ref().filter(|expires| expires.value.at <= s.now()) {
        s.report(Diagnostic::warning("this credential has expired").at(&expires.place, "refused since then"));
    }
    only_one_proof(s)?;
    let section = s.place().cloned();
    if let Some(hash) = password.or(password_file) {
        let Some(user) = user else {
            if !s.has("user") {
                s.report(
                    Diagnostic::error("a password needs its user")
                        .at(s.place(), "`user` is missing")
                        .help("user = \"…\""),
                );
            }
            return None;
        };
        let proof = Proof::Basic { user: user.value.into(), hash: password_hash(s, &hash)? };
        return Some(Draft { name, proof, place: user.place, expires, section });
    }
    let hash = token.or(token_file)?;
    let proof = token_proof(s, &hash)?;
    if let Some(user) = user {
        s.report(
            Diagnostic::error("a bearer token has no user")
                .at(&user.place, "not used")
                .help("`name` gives a token its name in metrics and logs"),
        );
    }
    Some(Draft { name, proof, place: hash.place, expires, section })
}

/// Sees to it that a credential has one hash, neither none nor two.
fn only_one_proof(s: &mut Section) -> Option<()> {
    let proofs = ["password_hash", "password_hash_file", "token_hash", "token_hash_file"];
    let written: Vec<&str> = proofs.into_iter().filter(|key| s.has(key)).collect();
    match written[..] {
        [_] => return Some(()),
        [] => {
            s.report(Diagnostic::error("a credential needs a hash").at(s.place(), "none is here").help(
                "`password_hash` beside `user`, or `token_hash`; each can end in `_file` to name a file",
            ))
        }
        [first, second, ..] => s.report(
            Diagnostic::error(format!("either `{first}` or `{second}`"))
                .at(&s.place_of(second), "a second proof")
                .also(&s.place_of(first), "the first")
                .help("make two credentials of them"),
        ),
    }
    None
}

/// From this cost on, a bcrypt hash takes more than half a second of a core.
const BCRYPT_SLOW: u32 = 13;

fn password_hash(s: &mut Section, hash: &Located<String>) -> Option<PasswordHash> {
    let parsed = PasswordHash::parse(&hash.value);
    match &parsed {
        Err(error) => report_hash(s, "password hash", error, hash),
        Ok(_) => {
            if let Some(cost) = bcrypt_cost(&hash.value).filter(|cost| *cost >= BCRYPT_SLOW) {
                let title =
                    format!("bcrypt with cost {cost} takes more than half a second for a first login");
                s.report(
                    Diagnostic::warning(title)
                        .at(&hash.place, "slow hash")
                        .help("a cost of 10 to 12 is enough; for new hashes prefer Argon2id"),
                );
            }
        }
    }
    parsed.ok()
}

fn bcrypt_cost(hash: &str) -> Option<u32> {
    let mut fields = hash.strip_prefix("$2")?.split('$');
    fields.next()?;
    fields.next()?.parse().ok()
}

fn token_proof(s: &mut Section, hash: &Located<String>) -> Option<Proof> {
    if hash.value.starts_with('$') {
        return password_hash(s, hash).map(Proof::SlowBearer);
    }
    parse_token_hash(&hash.value)
        .map(Proof::Bearer)
        .map_err(|error| report_hash(s, "token hash", &error, hash))
        .ok()
}

fn report_hash(s: &mut Section, what: &str, error: &HashError, hash: &Located<String>) {
    let title = format!("this {what} cannot be used");
    s.report(Diagnostic::error(title).at(&hash.place, "").help(error.to_string()));
}

const USER: Parsed<String> = Parsed {
    wanted: "a user name such as \"oxygen\"",
    parse: |text| {
        let fault = Fault::new("this cannot be a user name");
        if text.is_empty() {
            Err(fault.label("it is empty"))
        } else if text.contains(':') {
            Err(fault.label("HTTP Basic ends the user name at the first `:`"))
        } else if text.chars().any(char::is_control) {
            Err(fault.label("it has a control character"))
        } else {
            Ok(text.to_owned())
        }
    },
};

/// Gives every credential its name (see [`Credential::name`]): its own, else the user's with a number
/// where one user has several, else `token-1` and so on. No two of a tenant have the same.
fn name_credentials(
    s: &mut Section,
    tenant: &Arc<str>,
    door: Option<Arc<str>>,
    drafts: Vec<Draft>,
) -> Vec<LocatedCredential> {
    let mut taken: HashMap<String, Option<Place>> = HashMap::new();
    for name in drafts.iter().filter_map(|draft| draft.name.as_ref()) {
        if let Some(first) = taken.insert(name.value.clone(), name.place.clone()) {
            s.report(
                Diagnostic::error(format!("two credentials are named `{}`", name.value))
                    .at(&name.place, "again here")
                    .also(&first, "first here"),
            );
        }
    }
    let mut used: HashSet<String> = taken.into_keys().collect();
    let mut located = Vec::with_capacity(drafts.len());
    for (index, draft) in drafts.into_iter().enumerate() {
        let name = match (&draft.name, &draft.proof) {
            (Some(name), _) => name.value.clone(),
            (None, Proof::Basic { user, .. }) => free_name(&used, |n| match n {
                1 => user.to_string(),
                n => format!("{user}-{n}"),
            }),
            (None, Proof::Bearer(_) | Proof::SlowBearer(_)) => free_name(&used, |n| format!("token-{n}")),
        };
        if draft.name.is_none() {
            s.derived(&format!("credentials[{index}]"), "name", &name, "made from the others");
        }
        used.insert(name.clone());
        let credential = Credential {
            tenant: tenant.clone(),
            name: name.into(),
            path_prefix: door.clone(),
            proof: draft.proof,
            expires: draft.expires.map(|expires| expires.value.at),
        };
        located.push(LocatedCredential { credential, place: draft.place.or(draft.section) });
    }
    located
}

/// The first name of a numbered row that is not used yet.
fn free_name(used: &HashSet<String>, numbered: impl Fn(usize) -> String) -> String {
    let mut number = 1;
    loop {
        let name = numbered(number);
        if !used.contains(&name) {
            return name;
        }
        number += 1;
    }
}
