//! The one certificate that every peer shows: ECDSA P-256, signed by itself, made anew for each run.

use anyhow::{Context, Result};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs as provider, pki_types::CertificateDer};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The name it is for.
pub const HOST: &str = "localhost";

/// A certificate on disk, for the peers, and in memory, for the senders.
pub struct Certificate {
    /// PEM.
    pub certificate: PathBuf,
    /// PEM, PKCS#8.
    pub key: PathBuf,
    der: CertificateDer<'static>,
}

impl Certificate {
    /// Makes one and writes it to a folder.
    pub fn make(folder: &Path) -> Result<Self> {
        let made = rcgen::generate_simple_self_signed([HOST.to_owned()]).context("making a certificate")?;
        let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
        fs::write(&certificate, made.cert.pem())?;
        fs::write(&key, made.signing_key.serialize_pem())?;
        Ok(Self { certificate, key, der: made.cert.der().clone() })
    }

    /// A sender that believes this certificate alone and offers one suite: TLS 1.3 with AES-128-GCM, so
    /// that no peer looks cheaper by its own choice of cipher.
    pub fn client(&self) -> Result<Arc<ClientConfig>> {
        let mut provider = provider::default_provider();
        provider.cipher_suites = vec![provider::cipher_suite::TLS13_AES_128_GCM_SHA256];
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone())?;
        let client = ClientConfig::builder_with_provider(provider.into())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(client.into())
    }
}
