//! Certificates and keys, for listeners and for upstreams.

mod given;

use aws_lc_rs::digest;
use given::GivenVerifier;
use parking_lot::Mutex;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    client::WebPkiServerVerifier,
    crypto::{CryptoProvider, aws_lc_rs as provider},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    sign::CertifiedKey,
};
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, LazyLock},
    time::{Duration, SystemTime},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Protocols in the order that both sides prefer them.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];
/// How long a self-signed certificate is good. It is made anew at every start.
const SELF_SIGNED_DAYS: u64 = 365;

/// A certificate chain with its key, checked to belong together.
#[derive(Clone)]
pub struct Identity {
    /// The chain, leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf's private key.
    pub key: Arc<PrivateKeyDer<'static>>,
    /// When the leaf expires.
    pub not_after: SystemTime,
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.chain == other.chain && self.key.secret_der() == other.key.secret_der()
    }
}

impl fmt::Debug for Identity {
    /// Never shows the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("certificates", &self.chain.len())
            .field("not_after", &self.not_after)
            .finish()
    }
}

/// Why a certificate and a key cannot be used. Which of the two files is at fault is part of it, so
/// that the configuration can underline the right one.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum IdentityError {
    /// The certificate file holds no PEM certificate.
    #[error("no PEM certificate in it")]
    NoCertificate,
    /// A certificate in the file cannot be read.
    #[error("a certificate in it cannot be read: {0}")]
    BadCertificate(String),
    /// The key file holds no PEM private key.
    #[error("no PEM private key in it")]
    NoKey,
    /// The key cannot be used.
    #[error("the private key cannot be used: {0}")]
    BadKey(String),
    /// The key is not the certificate's.
    #[error("the private key does not belong to the certificate")]
    Mismatch,
    /// The certificate has expired.
    #[error("the certificate expired on {0}")]
    Expired(String),
}

impl Identity {
    /// Reads a PEM chain and a PEM key and checks that they belong together and are not expired.
    ///
    /// # Errors
    /// [`IdentityError`], which says which of the two is at fault.
    pub fn from_pem(certificate: &[u8], key: &[u8]) -> Result<Self, IdentityError> {
        let chain = certificates(certificate)?;
        let leaf = chain.first().ok_or(IdentityError::NoCertificate)?;
        let (_, parsed) = x509_parser::parse_x509_certificate(leaf)
            .map_err(|error| IdentityError::BadCertificate(error.to_string()))?;
        let not_after = parsed.validity().not_after;
        let expires =
            SystemTime::UNIX_EPOCH + Duration::from_secs(not_after.timestamp().max(0).unsigned_abs());
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| match error {
            rustls::pki_types::pem::Error::NoItemsFound => IdentityError::NoKey,
            other => IdentityError::BadKey(other.to_string()),
        })?;
        let signing = CertifiedKey::from_der(chain.clone(), key.clone_key(), &crypto());
        match signing {
            Ok(_) => {}
            Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) => {
                return Err(IdentityError::Mismatch);
            }
            Err(rustls::Error::InconsistentKeys(_)) => {} // a key that cannot say its public half
            Err(error) => return Err(IdentityError::BadKey(error.to_string())),
        }
        if expires <= SystemTime::now() {
            return Err(IdentityError::Expired(not_after.to_string()));
        }
        Ok(Self { chain, key: Arc::new(key), not_after: expires })
    }

    /// Makes a self-signed certificate (ECDSA P-256, valid for one year) for these names; an
    /// address becomes an IP name. Kept for the life of the process: the same names give the same
    /// certificate again, so that a reload changes nothing.
    ///
    /// # Errors
    /// [`IdentityError::BadCertificate`] where a name cannot stand in a certificate.
    pub fn self_signed(names: &[String]) -> Result<Self, IdentityError> {
        static MADE: LazyLock<Mutex<HashMap<Vec<String>, Identity>>> = LazyLock::new(Mutex::default);
        if let Some(made) = MADE.lock().get(names) {
            return Ok(made.clone());
        }
        let bad = |error: rcgen::Error| IdentityError::BadCertificate(error.to_string());
        let not_after = SystemTime::now() + Duration::from_secs(SELF_SIGNED_DAYS * 86_400);
        let mut params = rcgen::CertificateParams::new(names.to_vec()).map_err(bad)?;
        params.not_before = (SystemTime::now() - Duration::from_secs(86_400)).into();
        params.not_after = not_after.into();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let name = names.first().map_or("tollgate", |name| name.as_str());
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        let key = rcgen::KeyPair::generate().map_err(bad)?;
        let certificate = params.self_signed(&key).map_err(bad)?;
        let made = Self {
            chain: vec![certificate.der().clone()],
            key: Arc::new(
                PrivateKeyDer::try_from(key.serialize_der())
                    .map_err(|error| IdentityError::BadKey(error.to_owned()))?,
            ),
            not_after,
        };
        MADE.lock().insert(names.to_vec(), made.clone());
        Ok(made)
    }

    /// The chain as PEM, for a client that is to trust it.
    pub fn certificate_pem(&self) -> String {
        use base64::Engine as _;
        let mut pem = String::new();
        for certificate in &self.chain {
            let text = base64::engine::general_purpose::STANDARD.encode(certificate);
            pem.push_str("-----BEGIN CERTIFICATE-----\n");
            for start in (0..text.len()).step_by(64) {
                pem.push_str(&text[start..text.len().min(start + 64)]);
                pem.push('\n');
            }
            pem.push_str("-----END CERTIFICATE-----\n");
        }
        pem
    }

    /// SHA-256 of the leaf, as browsers and `openssl x509 -fingerprint` show it.
    pub fn fingerprint(&self) -> String {
        let leaf = self.chain.first().map_or(&[][..], |leaf| leaf.as_ref());
        let digest = digest::digest(&digest::SHA256, leaf);
        digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
    }
}

/// Reads PEM certificates, as of a CA file.
///
/// # Errors
/// [`IdentityError::NoCertificate`] or [`IdentityError::BadCertificate`].
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let certificates = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| IdentityError::BadCertificate(error.to_string()))?;
    for certificate in &certificates {
        x509_parser::parse_x509_certificate(certificate)
            .map_err(|error| IdentityError::BadCertificate(error.to_string()))?;
    }
    if certificates.is_empty() { Err(IdentityError::NoCertificate) } else { Ok(certificates) }
}

/// What a TLS listener needs.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerMaterial {
    /// Whom the listener is.
    pub identity: Identity,
}

impl ServerMaterial {
    /// TLS 1.2 and 1.3, ALPN `h2` and `http/1.1`, session tickets that rotate by themselves.
    pub fn acceptor(&self) -> TlsAcceptor {
        let identity = &self.identity;
        let mut config = ServerConfig::builder_with_provider(crypto())
            .with_safe_default_protocol_versions()
            .expect("invariant: the provider has suites for every version")
            .with_no_client_auth()
            .with_single_cert(identity.chain.clone(), identity.key.clone_key())
            .expect("invariant: an identity's key was checked to be its certificate's");
        config.alpn_protocols = ALPN.iter().map(|protocol| protocol.to_vec()).collect();
        if let Ok(ticketer) = rustls::crypto::aws_lc_rs::Ticketer::new() {
            config.ticketer = ticketer;
        }
        TlsAcceptor::from(Arc::new(config))
    }
}

/// What a TLS upstream needs.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientMaterial {
    /// The name that the upstream's certificate is checked for.
    pub server_name: ServerName<'static>,
    /// Whom to believe: authorities, or the server's own certificate. None: the system's authorities.
    pub roots: Option<Vec<CertificateDer<'static>>>,
    /// Our own certificate, where the upstream asks for one.
    pub identity: Option<Identity>,
}

impl ClientMaterial {
    /// A connector that offers these protocols.
    ///
    /// # Errors
    /// [`IdentityError::BadCertificate`] where a root cannot be used, or none is left.
    pub fn connector(&self, alpn: &[&[u8]]) -> Result<TlsConnector, IdentityError> {
        let bad = |error: &dyn fmt::Display| IdentityError::BadCertificate(error.to_string());
        let mut roots = RootCertStore::empty();
        match &self.roots {
            Some(certificates) => {
                for certificate in certificates {
                    roots.add(certificate.clone()).map_err(|error| bad(&error))?;
                }
            }
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        let signed = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), crypto())
            .build()
            .map_err(|error| bad(&error))?;
        let verifier = GivenVerifier { signed, given: self.roots.clone().unwrap_or_default() };
        let config = ClientConfig::builder_with_provider(crypto())
            .with_safe_default_protocol_versions()
            .map_err(|error| bad(&error))?
            .dangerous() // a verifier of our own; see there
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match &self.identity {
            None => config.with_no_client_auth(),
            Some(identity) => config
                .with_client_auth_cert(identity.chain.clone(), identity.key.clone_key())
                .map_err(|error| IdentityError::BadKey(error.to_string()))?,
        };
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(TlsConnector::from(Arc::new(config)))
    }
}

fn crypto() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(provider::default_provider()));
    PROVIDER.clone()
}
