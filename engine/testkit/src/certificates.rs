//! Certificates and TLS configurations for tests, made when asked for: an authority, and what it signs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};

/// Whom the certificates are for.
pub const NAME: &str = "wsring.test";

/// Who signs.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    own: CertificateDer<'static>,
    pem: String,
}

/// A certificate and its key.
pub struct Identity {
    pub certificate: CertificateDer<'static>,
    pub key: PrivateKeyDer<'static>,
    /// Both as files hold them.
    pub certificate_pem: String,
    pub key_pem: String,
}

impl Authority {
    /// A new one, with a name of its own.
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let mut params = CertificateParams::new(Vec::<String>::new()).expect("no names");
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        params.distinguished_name.push(DnType::CommonName, format!("authority {number}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let signed = params.self_signed(&key).expect("a certificate");
        let (own, pem) = (signed.der().clone(), signed.pem());
        Self { issuer: Issuer::new(params, key), own, pem }
    }

    /// Its own certificate, as a file holds it.
    pub fn pem(&self) -> String {
        self.pem.clone()
    }

    /// Signs a certificate for `name` that is valid until the end of `year`.
    pub fn sign(&self, name: &str, year: i32) -> Identity {
        let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
        params.not_after = rcgen::date_time_ymd(year, 12, 31);
        let key = KeyPair::generate().expect("a key");
        let signed = params.signed_by(&key, &self.issuer).expect("a certificate");
        Identity {
            certificate: signed.der().clone(),
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            certificate_pem: signed.pem(),
            key_pem: key.serialize_pem(),
        }
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.own.clone()).expect("a root");
        roots
    }

    /// A server's, with a certificate for `name` until the end of `year`.
    pub fn server_for(&self, name: &str, year: i32) -> ServerConfig {
        let Identity { certificate, key, .. } = self.sign(name, year);
        ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .expect("a pair")
    }

    /// A server's whose certificate is good.
    pub fn server(&self) -> ServerConfig {
        self.server_for(NAME, 4000)
    }

    /// A server's that wants a certificate of the same authority from clients.
    pub fn server_for_known_clients(&self) -> ServerConfig {
        let Identity { certificate, key, .. } = self.sign(NAME, 4000);
        let provider = Arc::new(default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(self.roots()), Arc::clone(&provider));
        ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_client_cert_verifier(verifier.build().expect("a verifier"))
            .with_single_cert(vec![certificate], key)
            .expect("a pair")
    }

    /// A client's that trusts this authority.
    pub fn client(&self, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
        ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(self.roots())
            .with_no_client_auth()
    }

    /// A client's that shows a certificate of this authority.
    pub fn known_client(&self) -> ClientConfig {
        self.client_as(self.sign("client", 4000))
    }

    /// A client's that trusts this authority, and shows this certificate.
    pub fn client_as(&self, Identity { certificate, key, .. }: Identity) -> ClientConfig {
        ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(self.roots())
            .with_client_auth_cert(vec![certificate], key)
            .expect("a pair")
    }
}

/// What a client asks for.
pub fn name() -> ServerName<'static> {
    ServerName::try_from(NAME).expect("a name")
}
