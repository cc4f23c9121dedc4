//! `[listener.NAME]`: a socket, its limits, and what it adds to the path of its requests.

use super::{HOUR, MILLISECOND, MINUTE, SECOND, process::address, report_larger, tls};
use crate::{
    client,
    config::{
        diagnostic::Diagnostic,
        kind::{Bytes, Count, Fault, Kind, List, OneOf, Parsed, Time, Word},
        reader::Reader,
        section::{Located, Section},
        source::{Node, Value},
    },
    listener::{self, Bind, Limits, Timeouts},
    otlp::{Cors, EmptyBody, cors::Origin},
    pipeline::DoorConfig,
};
use ipnet::IpNet;
use serde_json::{Value as Json, json};
use std::{
    ffi::CString,
    fmt::{self, Display},
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

/// A listener as written.
pub struct Listener {
    /// Where it listens, to hold against the others.
    pub address: Located<Address>,
    /// Its path aliases, to hold against the tenants' prefixes.
    pub path_aliases: Vec<Located<String>>,
    /// What the rooms get.
    pub config: (listener::Config, DoorConfig),
}

/// Reads one.
pub fn listener(s: &mut Section, name: &Located<String>) -> Option<Listener> {
    let address =
        s.required("bind", "Where to listen: an address with a port, or `unix:` and a path.", ADDRESS);
    let mode = s.value("mode", "Permission bits of a Unix socket.", MODE, Mode(0o660));
    let group = s.optional("group", "Group of a Unix socket, by name or number.", Group);
    let tls =
        s.optional_table("tls", "With it, TLS: `certificate` and `key`, or `self_signed`.", tls::server);
    let client = client(s);
    let answer_within = s.optional(
        "answer_within",
        "Answer within this time, for proxies in front that give up. Without it only the upstream's limit counts.",
        Time(SECOND..=HOUR),
    );
    let empty_body = s.value(
        "empty_body",
        "The answer to zero bytes where a body was meant, as through a tunnel that loses bodies.",
        EMPTY_BODY,
        EmptyBody::default(),
    );
    let path_aliases = s.value(
        "path_aliases",
        "Prefixes under which the OTLP paths are found too: with \"/otlp\" also `/otlp/v1/logs`.",
        List(PATH_PREFIX),
        Vec::new(),
    );
    let cors = s.table("cors", "Senders in browsers.", cors);
    let timeouts = s.table("timeouts", "Time limits of a connection.", timeouts);
    let limits = s.table("limits", "Limits of connections.", limits);

    check_cloudflare(s, &client, answer_within.as_ref(), &timeouts);
    let address = address?;
    check_socket_keys(s, &address, &mode, group.as_ref(), tls.as_ref());
    check_trust(s, &address, &client);

    let bind = match address.value.clone() {
        Address::Tcp(address) => Bind::Tcp(address),
        Address::Unix(path) => {
            Bind::Unix { path, mode: mode.value.0, group: group.map(|group| group.value.id) }
        }
    };
    let name: Arc<str> = name.as_str().into();
    let door = DoorConfig {
        listener: name.clone(),
        client: client.config,
        answer_within: answer_within.map(|within| within.value),
        body_timeout: timeouts.values.body,
        empty_body: empty_body.value,
        path_aliases: longest_first(&path_aliases),
        cors,
    };
    let tls = tls.and_then(|material| material.value);
    let config = listener::Config { name, bind, tls, timeouts: timeouts.values, limits };
    Some(Listener { address, path_aliases: path_aliases.value, config: (config, door) })
}

fn cors(s: &mut Section) -> Cors {
    let origins = s.value(
        "origins",
        "Pages whose scripts may send: \"https://shop.example\", \"https://*.shop.example\" or \"*\".",
        List(ORIGIN),
        Vec::new(),
    );
    Cors { origins: origins.value.into_iter().map(|origin| origin.value).collect() }
}

/// One alias may be the end of another; the longest that fits a path is the one that is meant.
fn longest_first(aliases: &[Located<String>]) -> Vec<String> {
    let mut aliases: Vec<String> = aliases.iter().map(|alias| alias.value.clone()).collect();
    aliases.sort_by_key(|alias| std::cmp::Reverse(alias.len()));
    aliases
}

/// Whom a listener believes, as written.
struct Client {
    config: client::Config,
    header: Located<ClientHeader>,
    trusted: Vec<Located<Trusted>>,
}

fn client(s: &mut Section) -> Client {
    let trusted = s.value(
        "trusted_proxies",
        "Peers whose forwarding headers are believed: networks, or \"unix\" for every peer of a Unix socket.",
        List(TRUSTED),
        Vec::new(),
    );
    let header = s.value(
        "client_ip_header",
        "The header in which a trusted proxy names the client; lists are read from the right.",
        CLIENT_HEADER,
        ClientHeader(client::Header::default()),
    );
    if header.place.is_some() && trusted.is_empty() {
        s.report(
            Diagnostic::error("nobody is trusted to send this header")
                .at(&header.place, "never read")
                .help("say who may name the client: trusted_proxies = [\"127.0.0.1\"], or [\"unix\"]"),
        );
    }
    let networks = trusted.iter().filter_map(|peer| match &peer.value {
        Trusted::Network(network) => Some(*network),
        Trusted::Unix => None,
    });
    let config = client::Config {
        trusted_networks: networks.collect(),
        trust_unix: trusted.iter().any(|peer| peer.value == Trusted::Unix),
        header: header.value.0.clone(),
    };
    Client { config, header, trusted: trusted.value }
}

/// Trust that the socket cannot give is a misunderstanding, and one about who is believed.
fn check_trust(s: &mut Section, address: &Located<Address>, client: &Client) {
    for peer in &client.trusted {
        let wrong = match (&address.value, &peer.value) {
            (Address::Tcp(_), Trusted::Unix) => "peers of a TCP socket are never \"unix\"",
            (Address::Unix(_), Trusted::Network(_)) => "peers of a Unix socket have no address",
            (_, Trusted::Network(network)) if network.prefix_len() == 0 => {
                s.report(
                    Diagnostic::warning("everybody is trusted to name the client")
                        .at(&peer.place, "this is every address")
                        .help("then a sender can pretend to be another; name the proxies' networks"),
                );
                continue;
            }
            _ => continue,
        };
        s.report(
            Diagnostic::error("this trusts nobody")
                .at(&peer.place, wrong)
                .also(&address.place, "the socket is here"),
        );
    }
}

fn check_socket_keys(
    s: &mut Section,
    address: &Located<Address>,
    mode: &Located<Mode>,
    group: Option<&Located<GroupId>>,
    tls: Option<&Located<Option<crate::tls::ServerMaterial>>>,
) {
    match address.value {
        Address::Tcp(_) => {
            let group = group.and_then(|group| group.place.as_ref());
            for (key, place) in [("mode", mode.place.as_ref()), ("group", group)] {
                let Some(place) = place else { continue };
                s.report(
                    Diagnostic::error(format!("`{key}` is for Unix sockets"))
                        .at(place, "has no meaning here")
                        .also(&address.place, "this is a TCP socket"),
                );
            }
        }
        Address::Unix(_) => {
            if let Some(tls) = tls {
                s.report(
                    Diagnostic::error("no TLS on a Unix socket")
                        .at(&tls.place, "drop this")
                        .also(&address.place, "this is a Unix socket")
                        .help("nobody can listen in on it; its `mode` and `group` say who may connect"),
                );
            }
            if mode.value.0 & 0o002 != 0 {
                s.report(
                    Diagnostic::warning("every user of this machine can connect")
                        .at(&mode.place, "writable for all")
                        .help("mode = \"0660\" and the proxy's `group` let the proxy in alone"),
                );
            }
        }
    }
}

/// What is known of Cloudflare's edge and of cloudflared, where they are in front.
fn check_cloudflare(
    s: &mut Section,
    client: &Client,
    within: Option<&Located<Duration>>,
    timeouts: &LocatedTimeouts,
) {
    let is_cloudflare = client.header.value.to_string().starts_with("cf-");
    if !is_cloudflare {
        return;
    }
    if let Some(within) = within.filter(|within| within.value >= Duration::from_secs(100)) {
        s.report(
            Diagnostic::warning("Cloudflare gives up after 100 s")
                .at(&within.place, "later than that")
                .help("85s is a good value"),
        );
    }
    if timeouts.idle.value < Duration::from_secs(100) {
        s.report(
            Diagnostic::warning("cloudflared keeps idle connections for 90 s")
                .at(&timeouts.idle.place, "a request may meet a connection that is being closed")
                .help("120s or more"),
        );
    }
}

/// The time limits, and the one that is held against what is known of proxies.
struct LocatedTimeouts {
    values: Timeouts,
    idle: Located<Duration>,
}

fn timeouts(s: &mut Section) -> LocatedTimeouts {
    let default = Timeouts::default();
    let short = || Time(100 * MILLISECOND..=5 * MINUTE);
    let long = || Time(SECOND..=HOUR);
    let handshake = s.value("handshake", "TLS handshake, from accept.", short(), default.handshake);
    let headers = s.value("headers", "Request head, from its first byte.", short(), default.headers);
    let body = s.value("body", "Request body, from the end of the head.", long(), default.body);
    let idle =
        s.value("idle", "Between requests. cloudflared keeps connections for 90 s.", long(), default.idle);
    let values =
        Timeouts { handshake: handshake.value, headers: headers.value, body: body.value, idle: idle.value };
    LocatedTimeouts { values, idle }
}

fn limits(s: &mut Section) -> Limits {
    let default = Limits::default();
    let doc = "Open connections.";
    let connections = s.value("connections", doc, Count(1..=1_000_000), default.connections);
    let doc = "Open connections of one client (an IPv4 address or an IPv6 /64), trusted proxies exempt.";
    let per_client =
        s.value("connections_per_client", doc, Count(1..=1_000_000), default.connections_per_client);
    // hyper takes no smaller buffer for HTTP/1.1 than 8 KiB.
    let header_bytes =
        s.value("header_bytes", "Size of a request head.", Bytes(8 << 10..=1 << 20), default.header_bytes);
    let doc = "HTTP/2 streams open at once on a connection.";
    let streams = s.value("streams", doc, Count(1..=10_000), default.streams);
    let what = "one client may have more connections than all clients together";
    report_larger(
        s,
        what,
        usize::to_string,
        ("connections_per_client", &per_client),
        ("connections", &connections),
    );
    Limits {
        connections: connections.value,
        connections_per_client: per_client.value,
        header_bytes: header_bytes.value,
        streams: streams.value,
    }
}

const ORIGIN: Parsed<Origin> = Parsed {
    wanted: "an origin such as \"https://shop.example\"",
    parse: |text| {
        Origin::parse(text).map_err(|why| {
            Fault::new("this is not an origin").label(why).help("such as \"https://shop.example\"")
        })
    },
};

const EMPTY_BODY: OneOf<EmptyBody> = OneOf(&[
    (Word::Number(400), EmptyBody::Refuse),
    (Word::Number(200), EmptyBody::Accept),
    (Word::Number(503), EmptyBody::Retry),
]);

/// Where to listen, as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// An address with a port.
    Tcp(SocketAddr),
    /// A file.
    Unix(PathBuf),
}

impl Address {
    /// Whether binding both at once fails, or gives one the other's connections.
    pub fn overlaps(&self, other: &Address) -> bool {
        match (self, other) {
            (Address::Unix(one), Address::Unix(other)) => one.components().eq(other.components()),
            (Address::Tcp(one), Address::Tcp(other)) => {
                let same_ip =
                    one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
                one.port() != 0 && one.port() == other.port() && same_ip
            }
            _ => false,
        }
    }
}

impl Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => address.fmt(f),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The longest path of a Unix socket: `sun_path` with its final zero, on the strictest system (macOS).
const UNIX_PATH_MAX_BYTES: usize = 103;

const ADDRESS: Parsed<Address> = Parsed {
    wanted: "an address such as \"127.0.0.1:4318\" or \"unix:/run/tollgate/otlp.sock\"",
    parse: |text| {
        let Some(path) = text.strip_prefix("unix:") else { return address(text).map(Address::Tcp) };
        let fault = Fault::new("this is not the path of a Unix socket");
        if !path.starts_with('/') || path.ends_with('/') {
            Err(fault.label("expected an absolute path").help("such as \"unix:/run/tollgate/otlp.sock\""))
        } else if path.len() > UNIX_PATH_MAX_BYTES || path.contains('\0') {
            Err(fault.label(format!("a socket's path has at most {UNIX_PATH_MAX_BYTES} bytes")))
        } else {
            Ok(Address::Unix(path.into()))
        }
    },
};

/// Permission bits.
struct Mode(u32);

impl Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

const MODE: Parsed<Mode> = Parsed {
    wanted: "permission bits as a string such as \"0660\"",
    parse: |text| match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o777 => Ok(Mode(mode)),
        _ => Err(Fault::new("these are not permission bits").label("expected octal digits such as \"0660\"")),
    },
};

/// A group by name or number.
struct Group;

/// A group, and how it was written.
struct GroupId {
    id: u32,
    written: Json,
}

impl Kind for Group {
    type Value = GroupId;

    fn wanted(&self) -> String {
        "a group's name or number".to_owned()
    }

    fn schema(&self) -> Json {
        json!({ "anyOf": [{ "type": "string" }, { "type": "integer", "minimum": 0 }] })
    }

    fn read(&self, node: &Node, reader: &mut Reader) -> Option<GroupId> {
        let (id, written) = match &node.value {
            Value::Integer(number) => (u32::try_from(*number).ok(), json!(i64::try_from(*number).ok())),
            _ => {
                let name = reader.text(node, self)?;
                (name.parse().ok().or_else(|| group_id(&name)), json!(name))
            }
        };
        if id.is_none() {
            let title = format!("this system has no group {written}");
            reader.report(
                Diagnostic::error(title)
                    .at(&node.place, "")
                    .help("give its number if it is known only elsewhere"),
            );
        }
        Some(GroupId { id: id?, written })
    }

    fn show(&self, value: &GroupId) -> Json {
        value.written.clone()
    }
}

/// Looks a group up in the system's database.
fn group_id(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    // A group has one line in the database, with all of its members.
    let mut buffer = vec![0; 64 << 10];
    let mut found = std::ptr::null_mut();
    // SAFETY: `group` is plain data, for which zero is a value; it is written before it is read.
    let mut group: libc::group = unsafe { std::mem::zeroed() };
    // SAFETY: every pointer is to a live local of the right type, and the length is the buffer's.
    let failed = unsafe {
        libc::getgrnam_r(name.as_ptr(), &raw mut group, buffer.as_mut_ptr(), buffer.len(), &raw mut found)
    };
    (failed == 0 && !found.is_null()).then_some(group.gr_gid)
}

/// A peer that is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Trusted {
    Network(IpNet),
    Unix,
}

impl Display for Trusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trusted::Network(network) => network.fmt(f),
            Trusted::Unix => f.write_str("unix"),
        }
    }
}

const TRUSTED: Parsed<Trusted> = Parsed {
    wanted: "a network such as \"10.0.0.0/8\", an address, or \"unix\"",
    parse: |text| {
        if text == "unix" {
            return Ok(Trusted::Unix);
        }
        let network =
            text.parse::<IpNet>().or_else(|error| text.parse::<IpAddr>().map(IpNet::from).map_err(|_| error));
        let network = network.map_err(|_| {
            Fault::new("this is not a network")
                .label("expected such as \"10.0.0.0/8\", \"192.168.1.7\" or \"unix\"")
        })?;
        if network.trunc() != network {
            return Err(Fault::new("this is an address within a network").help(format!(
                "\"{}\" is the network, \"{}\" the address alone",
                network.trunc(),
                network.addr()
            )));
        }
        Ok(Trusted::Network(network))
    },
};

/// The header that names the client, by name.
struct ClientHeader(client::Header);

impl Display for ClientHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            client::Header::Single(name) => name.as_str(),
            client::Header::XForwardedFor => "X-Forwarded-For",
            client::Header::Forwarded => "Forwarded",
        })
    }
}

const CLIENT_HEADER: Parsed<ClientHeader> = Parsed {
    wanted: "a header name such as \"CF-Connecting-IP\"",
    parse: |text| {
        Ok(ClientHeader(match super::header::name(text)? {
            name if name == "x-forwarded-for" => client::Header::XForwardedFor,
            name if name == "forwarded" => client::Header::Forwarded,
            name => client::Header::Single(name),
        }))
    },
};

/// A prefix of paths.
pub const PATH_PREFIX: Parsed<String> = Parsed {
    wanted: "a path such as \"/shop\"",
    parse: |text| {
        let fault = Fault::new("this is not a path prefix");
        let Some(path) = text.strip_prefix('/') else {
            return Err(fault.label("it starts with a slash").help(format!("\"/{text}\"")));
        };
        if path.is_empty() {
            return Err(fault.label("the bare paths need no prefix").help("leave the key out"));
        }
        if let Some(path) = text.strip_suffix('/') {
            return Err(fault.label("no slash at the end").help(format!("\"{path}\"")));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.' | '~');
        if !path.chars().all(plain) || path.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(fault.label("letters, digits, `-`, `_`, `.` and `~` between single slashes"));
        }
        if matches!(path.split('/').next(), Some("v1" | "v1development")) {
            return Err(fault.label("OTLP's own paths begin so"));
        }
        Ok(text.to_owned())
    },
};
