//! Certificates and keys, for listeners and for upstreams.

use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::{fmt, sync::Arc, time::SystemTime};

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
    pub fn from_pem(_certificate: &[u8], _key: &[u8]) -> Result<Self, IdentityError> {
        Err(IdentityError::NoCertificate)
    }

    /// Makes a self-signed certificate (ECDSA P-256, valid for one year) for these names; an
    /// address becomes an IP name. Kept for the life of the process: the same names give the same
    /// certificate again, so that a reload changes nothing.
    ///
    /// # Errors
    /// [`IdentityError::BadCertificate`] where a name cannot stand in a certificate.
    pub fn self_signed(_names: &[String]) -> Result<Self, IdentityError> {
        Err(IdentityError::NoCertificate)
    }
}

/// Reads PEM certificates, as of a CA file.
///
/// # Errors
/// [`IdentityError::NoCertificate`] or [`IdentityError::BadCertificate`].
pub fn certificates(_pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    Err(IdentityError::NoCertificate)
}

/// What a TLS listener needs.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerMaterial {
    /// Whom the listener is.
    pub identity: Identity,
}

/// What a TLS upstream needs.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientMaterial {
    /// The name that the upstream's certificate is checked for.
    pub server_name: ServerName<'static>,
    /// Whom to believe; none: the system's certificate authorities.
    pub roots: Option<Vec<CertificateDer<'static>>>,
    /// Our own certificate, where the upstream asks for one.
    pub identity: Option<Identity>,
}
