//! The whole configuration: its tables, read one by one, then held against each other.

mod header;
mod listener;
pub mod plugin;
mod process;
mod tenant;
mod tls;
mod upstream;

use super::{
    Config, Places,
    diagnostic::Diagnostic,
    kind::show_bytes,
    reader::Reader,
    section::{Located, Section, unknown},
    source::{INCLUDE, Place},
};
use crate::{
    telemetry::LogConfig,
    tenant::{FailureLimits, Proof, SLOW_TOKENS_MAX},
};
use http::{HeaderName, HeaderValue};
use listener::{Address, Listener};
use plugin::{Plugin, Plugins};
use std::{
    collections::{HashMap, hash_map::Entry},
    net::SocketAddr,
    path::PathBuf,
    time::Duration,
};
use tenant::{Defaults, Tenant};
use upstream::Upstream;

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// More requests than any machine serves, in a second or at once: what is above it is a slip.
const MAX_COUNT: u64 = 10_000_000;
/// More memory than any machine has: what is above it is a slip.
const MAX_BYTES: u64 = 1 << 40;

/// The configuration as written, each table read, none held against another yet.
pub struct Document {
    workers: usize,
    drain_timeout: Duration,
    log: LogConfig,
    limits: process::Limits,
    answer_headers: Vec<(HeaderName, HeaderValue)>,
    plugin_cache: Option<PathBuf>,
    failures: FailureLimits,
    listeners: Vec<Option<Listener>>,
    defaults: Defaults,
    tenants: Vec<Tenant>,
    plugins: Vec<Plugin>,
    upstreams: Vec<Upstream>,
    admin: Option<Located<SocketAddr>>,
}

/// Reads the outermost table.
pub fn document(s: &mut Section) -> Document {
    for (table, example) in [
        ("listener", "[listener.public] with bind = \"0.0.0.0:4318\""),
        ("tenant", "[tenant.NAME] with credentials and an upstream"),
        ("upstream", "[upstream.NAME] with endpoint = \"http://alloy:4318\""),
    ] {
        if s.is_blank(table) {
            s.report(Diagnostic::error(format!("there is no {table}")).help(format!("add {example}")));
        }
    }
    let doc = "More files, relative to this one: `[listener.NAME]`, `[tenant.NAME]`, `[plugin.NAME]` and `[upstream.NAME]` may stand in any of them.";
    s.optional("include", doc, INCLUDE);
    Document {
        workers: process::workers(s),
        drain_timeout: s.table("drain", "How Tollgate stops.", process::drain),
        log: s.table("log", "How and what is logged.", process::log),
        limits: s.table("limits", "Limits over all tenants.", process::limits),
        answer_headers: process::answer_headers(s),
        plugin_cache: plugin::cache(s),
        listeners: s.named(
            "listener",
            "A socket that senders, or proxies in front, connect to.",
            None,
            listener::listener,
        ),
        failures: s.table("auth", "How senders prove who they are.", |s| {
            s.table("failures", "How many wrong logins are borne.", process::failures)
        }),
        defaults: s.table("defaults", "What counts where a table does not say otherwise.", |s| {
            s.table("tenant", "What counts for every tenant that does not say otherwise.", tenant::defaults)
        }),
        tenants: s.named(
            "tenant",
            "Who may send, what, how much and where to.",
            Some(("defaults.tenant", ["defaults", "tenant"])),
            tenant::tenant,
        ),
        plugins: s.named("plugin", "What works on batches before they leave.", None, plugin::plugin),
        upstreams: s.named("upstream", "A destination.", None, upstream::upstream),
        admin: s
            .optional_table(
                "admin",
                "Health and metrics, on a listener of their own. Without it there is none.",
                process::admin,
            )
            .and_then(|admin| admin.value),
    }
}

impl Document {
    /// Holds the tables against each other, and makes the configuration of them. It is right only if
    /// the reader holds no error.
    pub fn resolve(mut self, reader: &mut Reader) -> (Config, Places) {
        self.check_addresses(reader);
        self.check_paths(reader);
        self.check_budgets(reader);
        self.check_credentials(reader);
        self.check_upstreams(reader);
        self.check_plugins(reader);
        let places = self.hand_out_plugins(reader);
        let credentials = self
            .tenants
            .iter()
            .flat_map(|tenant| &tenant.credentials)
            .map(|known| known.credential.clone())
            .collect();
        let config = Config {
            workers: self.workers,
            drain_timeout: self.drain_timeout,
            log: self.log,
            limits: self.limits.values,
            answer_headers: self.answer_headers,
            listeners: self.listeners.into_iter().flatten().map(|listener| listener.config).collect(),
            auth: crate::tenant::Config { credentials, failures: self.failures },
            tenants: self.tenants.into_iter().map(|tenant| tenant.config).collect(),
            upstreams: self.upstreams.into_iter().filter_map(|upstream| upstream.config).collect(),
            plugin_cache: self.plugin_cache,
            admin: self.admin.map(|bind| bind.value.into()),
        };
        (config, places)
    }

    /// Two sockets cannot share an address.
    fn check_addresses(&self, reader: &mut Reader) {
        let admin = self.admin.as_ref().map(|bind| (Address::Tcp(bind.value), &bind.place));
        let sockets = self
            .listeners
            .iter()
            .flatten()
            .map(|listener| (listener.address.value.clone(), &listener.address.place));
        let sockets: Vec<(Address, &Option<Place>)> = sockets.chain(admin).collect();
        for (index, (address, place)) in sockets.iter().enumerate() {
            let Some((first, first_place)) =
                sockets[..index].iter().find(|(first, _)| address.overlaps(first))
            else {
                continue;
            };
            let diagnostic = Diagnostic::error("two listeners on one address")
                .at(*place, "again here")
                .also(*first_place, "first here");
            let help = format!("{first} has {address} already");
            reader.report(if address == first { diagnostic } else { diagnostic.help(help) });
        }
    }

    /// One path leads to one tenant. In front of OTLP's own path stands a tenant's prefix, an alias, or
    /// both, the prefix first.
    fn check_paths(&self, reader: &mut Reader) {
        let prefixes: Vec<(&str, &Option<Place>)> = self
            .tenants
            .iter()
            .filter_map(|tenant| tenant.path_prefix.as_ref())
            .map(|prefix| (prefix.as_str(), &prefix.place))
            .collect();
        let mut doors = Doors::default();
        for (prefix, place) in &prefixes {
            doors.open((*prefix).to_owned(), place, reader);
        }
        for listener in self.listeners.iter().flatten() {
            let mut doors = doors.clone();
            for alias in &listener.path_aliases {
                doors.open(alias.value.clone(), &alias.place, reader);
                for (prefix, _) in &prefixes {
                    doors.open(format!("{prefix}{}", alias.value), &alias.place, reader);
                }
            }
        }
    }

    /// Tenants name upstreams that exist, and no upstream is there for nobody.
    fn check_upstreams(&self, reader: &mut Reader) {
        let by_name: HashMap<&str, &Upstream> =
            self.upstreams.iter().map(|upstream| (upstream.name.as_str(), upstream)).collect();
        let names: Vec<&str> = self.upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
        for named in self.defaults.upstreams.iter().filter(|named| !by_name.contains_key(&*named.value)) {
            reader.report(unknown(&named.value, &named.place, "upstream", &names));
        }
        let mut unused = by_name.clone();
        for tenant in &self.tenants {
            for named in &tenant.upstreams {
                match by_name.get(&*named.value) {
                    Some(upstream) => warn_of_replaced_headers(tenant, upstream, reader),
                    None => reader.report(unknown(&named.value, &named.place, "upstream", &names)),
                }
                unused.remove(&*named.value);
            }
            for (_, named) in &tenant.routes {
                match by_name.get(named.as_str()) {
                    Some(upstream) => warn_of_replaced_headers(tenant, upstream, reader),
                    None => reader.report(unknown(&named.value, &named.place, "upstream", &names)),
                }
                unused.remove(named.as_str());
            }
        }
        if reader.failed() {
            // What a slip left unused is not worth a word beside the slip.
            return;
        }
        for upstream in unused.into_values() {
            reader.report(
                Diagnostic::warning(format!("no tenant sends to upstream `{}`", upstream.name.value))
                    .at(&upstream.name.place, "never used"),
            );
        }
    }

    /// Tenants use plugins that exist, and no plugin is there for nobody.
    fn check_plugins(&self, reader: &mut Reader) {
        let plugins = Plugins::new(&self.plugins);
        let uses = || self.tenants.iter().flat_map(|tenant| &tenant.uses);
        uses().chain(&self.defaults.uses).for_each(|each| plugins.check(each, reader));
        if reader.failed() {
            return;
        }
        for plugin in &self.plugins {
            if !uses().any(|each| each.name.value == plugin.name.value) {
                reader.report(
                    Diagnostic::warning(format!("no tenant uses plugin `{}`", plugin.name.value))
                        .at(&plugin.name.place, "never used"),
                );
            }
        }
    }

    /// Gives each tenant its plugins, with their tables merged, and says where their parts are written.
    fn hand_out_plugins(&mut self, reader: &mut Reader) -> Places {
        let plugins = Plugins::new(&self.plugins);
        let mut places = Places::new();
        for tenant in &mut self.tenants {
            let name = tenant.config.name.clone();
            for (index, each) in tenant.uses.iter().enumerate() {
                plugins.record(each, &format!("tenant.{name}.plugins[{index}]"), reader);
                if let Some((config, place)) = plugins.resolve(each) {
                    places.insert((name.clone(), config.name.clone()), place);
                    tenant.config.plugins.push(config);
                }
            }
        }
        places
    }

    /// What a tenant may use has room in what all of them may use together.
    fn check_budgets(&self, reader: &mut Reader) {
        let all = &self.limits.in_flight_bytes;
        for tenant in &self.tenants {
            let limits = &tenant.limits;
            let what = "one body of a tenant may be larger than all bodies of all tenants";
            if limits.decompressed.value > all.value {
                reader.report(larger(
                    what,
                    show_bytes,
                    ("decompressed", &limits.decompressed),
                    ("in_flight_bytes", all),
                ));
            } else if limits.in_flight_bytes.value > all.value && limits.in_flight_bytes.place.is_some() {
                reader.report(
                    Diagnostic::warning("a tenant may use more memory than there is for all tenants")
                        .at(&limits.in_flight_bytes.place, "never reached")
                        .also(&all.place, "of all tenants"),
                );
            }
        }
    }

    /// A user name or a token belongs to one tenant, and only a few tokens may be slow to check.
    fn check_credentials(&self, reader: &mut Reader) {
        let mut users = HashMap::new();
        let mut tokens = HashMap::new();
        let mut slow = Vec::new();
        for known in self.tenants.iter().flat_map(|tenant| &tenant.credentials) {
            let tenant = &known.credential.tenant;
            match &known.credential.proof {
                Proof::Basic { user, .. } => {
                    let (first_tenant, first) = users.entry(user).or_insert((tenant, &known.place));
                    if *first_tenant != tenant {
                        reader.report(
                            Diagnostic::error(format!("two tenants have a user `{user}`"))
                                .at(&known.place, format!("of `{tenant}`"))
                                .also(*first, format!("of `{first_tenant}`"))
                                .help("a user name says which tenant is meant, so it belongs to one"),
                        );
                    }
                }
                Proof::Bearer(hash) => {
                    if let Some(first) = tokens.insert(hash, &known.place) {
                        reader.report(
                            Diagnostic::error("this token is there twice")
                                .at(&known.place, "again here")
                                .also(first, "first here")
                                .help("a token says which tenant is meant, so it belongs to one"),
                        );
                    }
                }
                Proof::SlowBearer(_) => slow.push(&known.place),
            }
        }
        if let Some(place) = slow.get(SLOW_TOKENS_MAX) {
            reader.report(
                Diagnostic::error(format!("more than {SLOW_TOKENS_MAX} tokens have a slow hash"))
                    .at(*place, "one too many")
                    .help("tokens are random and need no slow hash: token_hash = \"sha256:…\""),
            );
        }
    }
}

/// A value with the name of its key.
type Named<'v, T> = (&'v str, &'v Located<T>);

/// Reports that the first of two values is larger than the second, where it must not be.
fn report_larger<T: PartialOrd>(
    s: &mut Section,
    what: &str,
    show: impl Fn(&T) -> String,
    less: Named<T>,
    more: Named<T>,
) {
    if less.1.value > more.1.value {
        s.report(larger(what, show, less, more));
    }
}

fn larger<T>(what: &str, show: impl Fn(&T) -> String, less: Named<T>, more: Named<T>) -> Diagnostic {
    let shown = |(key, value): Named<T>| {
        let by_default = if value.place.is_some() { "" } else { " by default" };
        format!("`{key}` is {}{by_default}", show(&value.value))
    };
    Diagnostic::error(what).at(&less.1.place, "this is more").also(&more.1.place, "than this").help(format!(
        "{}, {}",
        shown(less),
        shown(more)
    ))
}

/// An upstream's own header replaces a tenant's of the same name, which somebody may not expect.
fn warn_of_replaced_headers(tenant: &Tenant, upstream: &Upstream, reader: &mut Reader) {
    for header in &tenant.upstream_headers {
        if let Some(stronger) = upstream.headers.iter().find(|name| name.value == header.value) {
            reader.report(
                Diagnostic::warning(format!("`{}` is set twice", header.value))
                    .at(&header.place, format!("not used towards `{}`", upstream.name.value))
                    .also(&stronger.place, "this replaces it"),
            );
        }
    }
}

/// What stands in front of OTLP's own paths, each with the place that says so.
#[derive(Clone, Default)]
struct Doors<'p>(HashMap<String, &'p Option<Place>>);

impl<'p> Doors<'p> {
    fn open(&mut self, path: String, place: &'p Option<Place>, reader: &mut Reader) {
        match self.0.entry(path) {
            Entry::Vacant(free) => drop(free.insert(place)),
            Entry::Occupied(taken) => reader.report(
                Diagnostic::error(format!("`{}` would lead two ways", taken.key()))
                    .at(place, "by this")
                    .also(*taken.get(), "and by this"),
            ),
        }
    }
}
