//! Certificates and keys: read, held against each other, and looked at for the day they expire.

use crate::{
    config::{
        diagnostic::Diagnostic,
        kind::{List, Text},
        secret::{Contents, PemFile},
        section::{Located, Section},
        source::Place,
    },
    tls::{ClientMaterial, Identity, IdentityError, ServerMaterial, certificates},
};
use rustls::pki_types::{CertificateDer, ServerName};
use std::time::Duration;

/// From when on a certificate that is about to expire is warned of: time enough to renew by hand.
const EXPIRES_SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// `tls` of a listener.
pub fn server(s: &mut Section) -> Option<ServerMaterial> {
    let certificate = s.optional("certificate", "The certificate chain, in PEM, leaf first.", PemFile);
    let key = s.optional("key", "The certificate's private key, in PEM.", PemFile);
    let self_signed = s.optional(
        "self_signed",
        "Instead of both: names and addresses for a certificate made at the start, that no client trusts by itself.",
        List(Text { wanted: "a name such as \"localhost\"" }),
    );
    let written = ["certificate", "key"].into_iter().any(|key| s.has(key));
    match self_signed {
        Some(names) if written => {
            s.report(
                Diagnostic::error("either a self-signed certificate or one from a file")
                    .at(&names.place, "makes one")
                    .also(&s.place_of("certificate").or(s.place_of("key")), "names another"),
            );
            None
        }
        Some(names) => made(s, names),
        None if s.has("self_signed") => None,
        None if !written => {
            s.report(
                Diagnostic::error("TLS needs a certificate")
                    .at(s.place(), "there is none")
                    .help("tls = { certificate = \"edge.pem\", key = \"edge.key\" }, or { self_signed = [\"localhost\"] }"),
            );
            None
        }
        None => Some(ServerMaterial { identity: pair(s, certificate, key)? }),
    }
}

fn made(s: &mut Section, names: Located<Vec<Located<String>>>) -> Option<ServerMaterial> {
    if names.is_empty() {
        s.report(Diagnostic::error("a certificate for no name").at(&names.place, "name at least one"));
        return None;
    }
    let texts: Vec<String> = names.iter().map(|name| name.value.clone()).collect();
    match Identity::self_signed(&texts) {
        Ok(identity) => Some(ServerMaterial { identity }),
        Err(error) => {
            s.report(Diagnostic::error("cannot make this certificate").at(&names.place, error.to_string()));
            None
        }
    }
}

/// What an upstream says of TLS, as written.
pub struct Client {
    server_name: Option<Located<String>>,
    roots: Option<Located<Contents>>,
    certificate: Option<Located<Contents>>,
    key: Option<Located<Contents>>,
}

/// Reads the keys of TLS of an upstream.
pub fn client(s: &mut Section) -> Client {
    let doc =
        "The name that the upstream's certificate is checked for. Default: `host`, else the endpoint's.";
    let server_name = s.optional("server_name", doc, Text { wanted: "a name such as \"alloy.example.com\"" });
    let doc = "Certificate authorities to believe, or the upstream's own certificate, in PEM, instead of the system's.";
    let roots = s.optional("ca", doc, PemFile);
    let certificate =
        s.optional("certificate", "Our own certificate, where the upstream asks for one.", PemFile);
    let key = s.optional("key", "The private key of `certificate`.", PemFile);
    Client { server_name, roots, certificate, key }
}

impl Client {
    /// For an endpoint without TLS each of the keys is a mistake: what it asks for would not happen.
    pub fn refuse(&self, s: &mut Section, endpoint: &Option<Place>) {
        let place = |file: &Option<Located<Contents>>| file.as_ref().map(|file| file.place.clone());
        let keys = [
            ("server_name", self.server_name.as_ref().map(|name| name.place.clone())),
            ("ca", place(&self.roots)),
            ("certificate", place(&self.certificate)),
            ("key", place(&self.key)),
        ];
        for (key, place) in keys {
            let Some(place) = place else { continue };
            s.report(
                Diagnostic::error(format!("`{key}` needs TLS"))
                    .at(&place, "not used")
                    .also(endpoint, "this is plain http")
                    .help("write the endpoint with https://, or drop the key"),
            );
        }
    }

    /// What the exporter gets. `host` is the name to check for where none is given.
    pub fn resolve(self, s: &mut Section, host: &Located<String>) -> Option<ClientMaterial> {
        let name = self.server_name.as_ref().unwrap_or(host);
        let bare = name.value.trim_start_matches('[').trim_end_matches(']').to_owned();
        let server_name = ServerName::try_from(bare).ok();
        if server_name.is_none() {
            s.report(
                Diagnostic::error("no certificate can have this name")
                    .at(&name.place, "expected a host name or an address")
                    .help("`server_name` says which name the certificate is checked for"),
            );
        }
        let roots = self.roots.as_ref().and_then(|file| authorities(s, file));
        let has_identity = s.has("certificate") || s.has("key");
        let identity = if has_identity { pair(s, self.certificate, self.key) } else { None };
        Some(ClientMaterial { server_name: server_name?, roots, identity })
    }
}

fn authorities(s: &mut Section, file: &Located<Contents>) -> Option<Vec<CertificateDer<'static>>> {
    certificates(&file.bytes)
        .map_err(|error| {
            let title = format!("{} cannot be used", file.path.display());
            s.report(Diagnostic::error(title).at(&file.place, error.to_string()));
        })
        .ok()
}

/// A certificate and its key; one without the other is a mistake.
fn pair(
    s: &mut Section,
    certificate: Option<Located<Contents>>,
    key: Option<Located<Contents>>,
) -> Option<Identity> {
    for (here, missing) in [("certificate", "key"), ("key", "certificate")] {
        if s.has(here) && !s.has(missing) {
            s.report(
                Diagnostic::error(format!("`{here}` needs `{missing}`"))
                    .at(s.place(), format!("`{missing}` is missing")),
            );
        }
    }
    let (certificate, key) = (certificate?, key?);
    match Identity::from_pem(&certificate.bytes, &key.bytes) {
        Ok(identity) => {
            warn_of_expiry(s, &identity, &certificate);
            Some(identity)
        }
        Err(error) => {
            s.report(refused(&error, &certificate, &key));
            None
        }
    }
}

fn refused(error: &IdentityError, certificate: &Located<Contents>, key: &Located<Contents>) -> Diagnostic {
    let title = |file: &Contents| format!("{} cannot be used", file.path.display());
    match error {
        IdentityError::NoCertificate | IdentityError::BadCertificate(_) | IdentityError::Expired(_) => {
            Diagnostic::error(title(certificate)).at(&certificate.place, error.to_string())
        }
        IdentityError::NoKey | IdentityError::BadKey(_) => {
            Diagnostic::error(title(key)).at(&key.place, error.to_string())
        }
        IdentityError::Mismatch => Diagnostic::error(error.to_string())
            .at(&key.place, "this key")
            .also(&certificate.place, "belongs to another certificate than this"),
    }
}

fn warn_of_expiry(s: &mut Section, identity: &Identity, certificate: &Located<Contents>) {
    let left = identity.not_after.duration_since(s.now()).unwrap_or_default();
    if left < EXPIRES_SOON {
        let days = left.as_secs() / (24 * 3600);
        s.report(
            Diagnostic::warning(format!("{} expires within 14 days", certificate.path.display()))
                .at(&certificate.place, format!("{days} full days are left"))
                .help("renew it, then reload"),
        );
    }
}
