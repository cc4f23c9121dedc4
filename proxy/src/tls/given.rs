//! Whom an upstream's `ca` makes believable: who is signed by it, and who shows that very certificate.

use rustls::{
    CertificateError, DigitallySignedStruct, Error, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};
use std::sync::Arc;

/// A self-signed certificate of `openssl req -x509` says that it is an authority, and webpki takes no
/// authority's certificate for a server's. Many a collector at home has just such a one, and its
/// operator gives it as `ca`: then this certificate, byte for byte, with this name and within its
/// time, is the server's. Everything else is webpki's to judge.
#[derive(Debug)]
pub(super) struct GivenVerifier {
    pub(super) signed: Arc<WebPkiServerVerifier>,
    pub(super) given: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for GivenVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if !self.given.iter().any(|given| given == end_entity) {
            return self.signed.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            );
        }
        check_time(end_entity, now)?;
        verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signed.supported_verify_schemes()
    }
}

fn check_time(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
        .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let validity = parsed.validity();
    if now < validity.not_before.timestamp() {
        return Err(Error::InvalidCertificate(CertificateError::NotValidYet));
    }
    if now > validity.not_after.timestamp() {
        return Err(Error::InvalidCertificate(CertificateError::Expired));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::tls::{ClientMaterial, Identity, ServerMaterial, certificates};
    use std::time::{Duration, SystemTime};

    /// As `openssl req -x509` makes it: its own authority. Valid from `from` on for a day.
    fn authority(name: &str, from: SystemTime) -> rcgen::CertifiedKey<rcgen::KeyPair> {
        let mut params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.not_before = from.into();
        params.not_after = (from + Duration::from_secs(86_400)).into();
        let signing_key = rcgen::KeyPair::generate().unwrap();
        rcgen::CertifiedKey { cert: params.self_signed(&signing_key).unwrap(), signing_key }
    }

    async fn connect(
        server: &rcgen::CertifiedKey<rcgen::KeyPair>,
        name: &str,
        ca: &str,
    ) -> Result<(), String> {
        let identity = Identity {
            chain: vec![server.cert.der().clone()],
            key: std::sync::Arc::new(server.signing_key.serialize_der().try_into().unwrap()),
            not_after: SystemTime::now(),
        };
        let acceptor = ServerMaterial { identity }.acceptor();
        let client = ClientMaterial {
            server_name: name.to_owned().try_into().unwrap(),
            roots: Some(certificates(ca.as_bytes()).unwrap()),
            identity: None,
        };
        let connector = client.connector(&[b"http/1.1"]).unwrap();
        let (one, other) = tokio::io::duplex(64 << 10);
        let (connected, _) = tokio::join!(connector.connect(client.server_name, one), acceptor.accept(other));
        connected.map(drop).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_servers_own_certificate_is_believed_for_its_name_and_time_only() {
        let now = SystemTime::now() - Duration::from_secs(3600);
        let (own, another) = (authority("alloy.example", now), authority("alloy.example", now));
        assert_eq!(connect(&own, "alloy.example", &own.cert.pem()).await, Ok(()));
        let both = another.cert.pem() + &own.cert.pem();
        assert_eq!(connect(&own, "alloy.example", &both).await, Ok(()));
        for (server, name, ca, why) in [
            (&own, "loki.example", &own, "not valid for name"),
            (&own, "alloy.example", &another, "invalid peer certificate"),
            (
                &authority("alloy.example", now - Duration::from_secs(172_800)),
                "alloy.example",
                &own,
                "invalid",
            ),
        ] {
            let error = connect(server, name, &ca.cert.pem()).await.unwrap_err();
            assert!(error.contains(why), "{error}");
        }
        let old = authority("alloy.example", now - Duration::from_secs(172_800));
        let error = connect(&old, "alloy.example", &old.cert.pem()).await.unwrap_err();
        assert!(error.contains("Expired"), "{error}");
        let early = authority("alloy.example", now + Duration::from_secs(172_800));
        let error = connect(&early, "alloy.example", &early.cert.pem()).await.unwrap_err();
        assert!(error.contains("NotValidYet"), "{error}");
    }
}
