//! The table of all metrics. docs/metrics.md is made from it.

/// What a metric's values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, until the process starts again or the series goes away.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Durations in seconds, by buckets.
    Histogram,
}

/// A metric's row in the table.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) labels: &'static [&'static str],
    pub(super) help: &'static str,
    /// The heading it stands below in the document.
    #[cfg_attr(not(test), expect(dead_code, reason = "only the document has headings"))]
    pub(super) section: &'static str,
}

macro_rules! table {
    ($( $section:literal { $( $metric:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal; )* } )*) => {
        /// A metric of the table, which is all that can be written.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Metric {
            $($(
                #[doc = concat!("`", $name, "` with the labels `", stringify!($($label),*), "`: ", $help)]
                $metric,
            )*)*
        }

        impl Metric {
            /// Every metric, in the order of documentation and exposition.
            pub const ALL: &'static [Metric] = &[$($(Metric::$metric,)*)*];

            pub(super) fn family(self) -> &'static Family {
                match self {
                    $($(
                        Metric::$metric => &Family {
                            name: $name,
                            kind: Kind::$kind,
                            labels: &[$($label),*],
                            help: $help,
                            section: $section,
                        },
                    )*)*
                }
            }
        }
    };
}

table! {
    "Requests" {
        Requests = Counter "tollgate_requests_total" ["tenant", "signal", "outcome"]
            "Requests that ended.";
        Refusals = Counter "tollgate_refusals_total" ["room", "reason"]
            "Requests that Tollgate or an upstream said no to, by the room that said so and why.";
        RequestBytes = Counter "tollgate_request_bytes_total" ["tenant", "signal"]
            "Bytes of request bodies as they came.";
        RequestBytesInflated = Counter "tollgate_request_inflated_bytes_total" ["tenant", "signal"]
            "Bytes of request bodies after decompression.";
        Records = Counter "tollgate_records_total" ["tenant", "signal", "state"]
            "Log records, spans and data points. For each tenant and signal, in = delivered + discarded + refused + failed once no request is under way; while one is, the difference is what it holds.";
        RequestSeconds = Histogram "tollgate_request_seconds" ["tenant", "signal"]
            "Time from a request's head to its answer.";
        StepSeconds = Histogram "tollgate_step_seconds" ["step"]
            "Time that requests spent in each step they came to.";
        BodyLost = Counter "tollgate_body_lost_total" ["tenant"]
            "Requests that came through a tunnel without the body they were sent with.";
        JsonLeniencies = Counter "tollgate_json_leniencies_total" ["tenant", "kind"]
            "Places in translated JSON that were taken although the specification does not allow a sender to write them.";
    }
    "Admission" {
        AdmissionDenials = Counter "tollgate_admission_denials_total" ["scope", "limit"]
            "Requests that were not admitted, by whose limit it was and which.";
        InFlightRequests = Gauge "tollgate_in_flight_requests" []
            "Requests under way, over all tenants.";
        InFlightBytes = Gauge "tollgate_in_flight_bytes" []
            "Bytes held for requests under way, over all tenants.";
        TenantInFlightRequests = Gauge "tollgate_tenant_in_flight_requests" ["tenant"]
            "Requests of a tenant under way.";
        TenantInFlightBytes = Gauge "tollgate_tenant_in_flight_bytes" ["tenant"]
            "Bytes held for a tenant's requests under way.";
        UpstreamInFlightRequests = Gauge "tollgate_upstream_in_flight_requests" ["upstream"]
            "Requests under way to an upstream.";
        UpstreamInFlightBytes = Gauge "tollgate_upstream_in_flight_bytes" ["upstream"]
            "Bytes held for requests under way to an upstream.";
    }
    "Logins" {
        Logins = Counter "tollgate_logins_total" ["result"]
            "Requests by how their credential fared.";
        LoginHashes = Counter "tollgate_login_hashes_total" []
            "Slow password hashes computed.";
        LoginHashesWaiting = Gauge "tollgate_login_hashes_waiting" []
            "Requests that wait for a slow password hash.";
        TableEntries = Gauge "tollgate_table_entries" ["table"]
            "Entries of a bounded table.";
        CredentialLastUsed = Gauge "tollgate_credential_last_used_timestamp_seconds" ["tenant", "credential"]
            "When a credential was last good for a request, in seconds since 1970. Missing if it never was since the start.";
        CredentialExpiry = Gauge "tollgate_credential_expiry_timestamp_seconds" ["tenant", "credential"]
            "When a credential expires, in seconds since 1970. Missing if it never does.";
    }
    "Listeners" {
        Connections = Gauge "tollgate_connections" ["listener"]
            "Open connections.";
        ConnectionsAccepted = Counter "tollgate_connections_total" ["listener"]
            "Connections accepted.";
        ConnectionsRefused = Counter "tollgate_connections_refused_total" ["listener", "reason"]
            "Connections closed at once, as those of a client that has too many.";
        BadHeads = Counter "tollgate_bad_heads_total" ["listener"]
            "HTTP/1.1 request heads that could not be read or are too large, answered without a line in the access log.";
        ConnectionsTimedOut = Counter "tollgate_connections_timed_out_total" ["listener"]
            "Connections closed by a time limit.";
        ListenersSaturated = Counter "tollgate_listeners_saturated_total" ["listener"]
            "Times that a listener had too many connections and new ones waited.";
        AcceptErrors = Counter "tollgate_accept_errors_total" ["listener"]
            "Accepts that failed, as for want of file descriptors.";
        TlsHandshakesFailed = Counter "tollgate_tls_handshakes_failed_total" ["listener"]
            "TLS handshakes that failed or took too long.";
        CertificateExpiry = Gauge "tollgate_certificate_expiry_timestamp_seconds" ["owner", "name"]
            "When a certificate expires, in seconds since 1970.";
    }
    "Upstreams" {
        UpstreamRequests = Counter "tollgate_upstream_requests_total" ["upstream", "outcome"]
            "Requests to an upstream.";
        UpstreamSeconds = Histogram "tollgate_upstream_seconds" ["upstream"]
            "Time that a request to an upstream took, connecting included, to the end of its answer.";
        UpstreamConnects = Counter "tollgate_upstream_connects_total" ["upstream", "result"]
            "Connections to an upstream that were made, or could not be.";
        UpstreamConnections = Gauge "tollgate_upstream_connections" ["upstream"]
            "Open connections to an upstream.";
    }
    "Plugins" {
        PluginCalls = Counter "tollgate_plugin_calls_total" ["plugin", "tenant", "outcome"]
            "Calls of a plugin, each for a batch.";
        PluginCallsWaiting = Gauge "tollgate_plugin_calls_waiting" ["plugin", "tenant"]
            "Batches that wait for a thread to go on with this plugin, since they are large or it is slow.";
        PluginFailures = Counter "tollgate_plugin_failures_total" ["plugin", "tenant", "kind"]
            "Calls that failed.";
        PluginSeconds = Histogram "tollgate_plugin_seconds" ["plugin", "tenant"]
            "Time that a call of a plugin took, without waiting for a thread.";
        PluginRecords = Counter "tollgate_plugin_records_total" ["plugin", "tenant", "effect"]
            "Log records, spans and data points that a plugin did something to.";
        PluginLogLinesDropped = Counter "tollgate_plugin_log_lines_dropped_total" ["plugin", "tenant"]
            "Lines of a plugin's log beyond its limit.";
        PluginInstances = Gauge "tollgate_plugin_instances" ["plugin", "tenant"]
            "Instances of a plugin.";
        PluginMemory = Gauge "tollgate_plugin_memory_bytes" ["plugin", "tenant"]
            "Memory of a plugin's instances, in bytes, as they count it: what they never touched is not there.";
        PluginCounter = Counter "tollgate_plugin_counter_total" ["plugin", "tenant", "counter"]
            "What a plugin counts itself.";
        PluginCountsDropped = Counter "tollgate_plugin_counts_dropped_total" ["plugin", "tenant"]
            "Counts of a plugin under names beyond its limit, or under none that a metric may have.";
        PluginsUnavailable = Gauge "tollgate_plugins_unavailable" ["tenant"]
            "1 where a tenant's plugins could not be loaded, so that it is answered 503; 0 where they are. Missing for tenants without plugins.";
    }
    "Tollgate itself" {
        ConfigReloads = Counter "tollgate_config_reloads_total" ["result"]
            "Reloads of the configuration.";
        ConfigLastReloadSuccess = Gauge "tollgate_config_last_reload_success_timestamp_seconds" []
            "When a configuration was last loaded, at the start or by a reload, in seconds since 1970.";
        LogLinesDropped = Counter "tollgate_log_lines_dropped_total" []
            "Log lines that were dropped because stderr blocked or failed.";
        BuildInfo = Gauge "tollgate_build_info" ["version"]
            "Always 1; which version runs.";
        ProcessCpuSeconds = Counter "process_cpu_seconds_total" []
            "CPU time of the process, user and system, in seconds.";
        ProcessResidentMemory = Gauge "process_resident_memory_bytes" []
            "Resident memory of the process, in bytes.";
        ProcessOpenFds = Gauge "process_open_fds" []
            "Open file descriptors.";
        ProcessMaxFds = Gauge "process_max_fds" []
            "File descriptors that the process may open.";
        ProcessStartTime = Gauge "process_start_time_seconds" []
            "When the process started, in seconds since 1970.";
    }
}

/// What each label says.
#[cfg(test)]
pub(super) const LABELS: &[(&str, &str)] = &[
    ("tenant", "a tenant's name in the configuration; empty for requests of which no tenant is known"),
    ("signal", "`logs`, `traces`, `metrics` or `profiles`; empty for requests that asked for none"),
    (
        "outcome",
        "of a request: `delivered` (the upstream took the batch, or all but what its partial success names), \
         `answered` (nothing to deliver: an empty batch, one that plugins discarded, a health check, a browser that only asks), `refused` (Tollgate said no, or the \
         upstream for good), `failed` (an upstream could not be reached or did not take the batch now, or a plugin failed), `aborted` (the sender went \
         away first). Of a request to an upstream: `delivered`, `partial` (but for some records), `rejected` \
         (the batch is wrong), `too_large`, `busy` (429, 502, 503, 504), `misconfigured` (the upstream refuses \
         us, whatever we send), `failed` (for good), `unreachable` (name, TCP, TLS), `broken` (connection or \
         answer), `timeout`, `cancelled` (the sender went away first). Of a call of a plugin: `forwarded`, `rejected` \
         (the plugin refuses the batch), `malformed` (the batch is broken where nobody looked before), `failed` (so the batch was refused), `passed` (it failed, and the batch \
         went on without it), `moved` (it took too long for the thread of the request, and was begun again \
         elsewhere), `late` (the request's own time was over), `busy` (as many of the tenant's batches waited for a thread as may: the sender is asked to try again)",
    ),
    (
        "room",
        "the part of Tollgate that said no: `otlp`, `client`, `tenant`, `admission`, `plugin`, `exporter`",
    ),
    ("reason", "a short token of a small set, as in the access log"),
    (
        "state",
        "`in` (came in), `delivered`, `discarded` (by plugins, on purpose), `refused` (for good, by Tollgate or by the upstream), `failed` (not \
         delivered; the sender may have tried again)",
    ),
    (
        "kind",
        "of a failure: `trap` (the plugin stopped itself or did what it may not), `time`, `memory`, `limit` \
         (another limit), `error` (it said so). Of JSON: `enum_name` (an enum value by its name), `enum_string` (by its number in a string), `snake_case` (a field by \
         its name in the .proto file), `unknown_field` (left out, with what is in it), `lone_surrogate` (half a \
         character, replaced by U+FFFD)",
    ),
    ("step", "`auth`, `read` (admission and the body), `decode`, `transform` (plugins), `export`"),
    ("scope", "whose limit: `tenant`, `upstream` or `all`"),
    ("limit", "the limit's name in the configuration"),
    (
        "result",
        "of a login: `known` (verified before), `verified_by_hash`, `missing` (no credentials), `malformed`, \
         `unknown_user`, `wrong_password`, `unknown_token`, `expired`, `wrong_door` (another tenant's path), \
         `limited_by_address_and_user`, `limited_by_address`, `limited_by_full_table`, `busy` (too many wait for a \
         hash), `coalesced` (shared the hash of another attempt). Of a reload or of connecting: `success` or \
         `failure`",
    ),
    ("table", "the table's name, as `login_failures`"),
    ("credential", "a credential's name: `name`, else the user name, else `token-1` …"),
    ("listener", "a listener's name in the configuration"),
    ("upstream", "an upstream's name in the configuration"),
    ("plugin", "a plugin's name in the configuration"),
    ("effect", "`changed`, `discarded` or `routed`"),
    ("counter", "a name that the plugin gives, of a number that its limits allow"),
    ("owner", "`listener` or `upstream`"),
    ("name", "the owner's name in the configuration"),
    ("version", "the version"),
];
