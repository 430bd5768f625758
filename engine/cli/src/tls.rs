//! `--tls-cert` and `--tls-key` of a server, `--ca`, `--insecure`, `--cert` and `--key` of a client: from files of PEM to a configuration of
//! rustls, or a sentence that says what is wrong with which file. The cryptography is ring's.

use std::path::Path;
use std::sync::Arc;

use wsring::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use wsring::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use wsring::rustls::pki_types::pem::{self, PemObject};
use wsring::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use wsring::rustls::{
    ClientConfig, DigitallySignedStruct, Error, InconsistentKeys, RootCertStore, ServerConfig, SignatureScheme,
};

/// What the options of a certificate and its key are called.
type Options = [&'static str; 2];

/// A server with this certificate, the chain behind it, and its key.
pub(crate) fn server(certificate: &Path, key: &Path) -> Result<ServerConfig, String> {
    const OPTIONS: Options = ["--tls-cert", "--tls-key"];
    let (chain, private) = pair(OPTIONS, certificate, key)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has ciphers for TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|error| unusable(OPTIONS, certificate, key, &error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// A client that trusts those who signed the certificates in `ca`, else those whom the machine trusts; `insecure`: anybody. `own`: the files of the certificate
/// that it shows, and of its key.
pub(crate) fn client(ca: Option<&Path>, insecure: bool, own: Option<(&Path, &Path)>) -> Result<ClientConfig, String> {
    const OPTIONS: Options = ["--cert", "--key"];
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("ring has ciphers for TLS 1.2 and 1.3");
    let builder = if insecure {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider)))
    } else {
        builder.with_root_certificates(roots(ca)?)
    };
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let (chain, private) = pair(OPTIONS, certificate, key)?;
            let made = builder.with_client_auth_cert(chain, private);
            made.map_err(|error| unusable(OPTIONS, certificate, key, &error))?
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// A certificate with the chain behind it, and its key.
fn pair(
    [of_certificate, of_key]: Options,
    certificate: &Path,
    key: &Path,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
    let chain = certificates(of_certificate, certificate)?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(of_key, key, "private key", &error))?;
    Ok((chain, private))
}

/// At least one.
fn certificates(option: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file).and_then(|certificates| certificates.collect());
    let found = found.map_err(|error| unreadable(option, file, "certificate", &error))?;
    if found.is_empty() {
        return Err(unreadable(option, file, "certificate", &pem::Error::NoItemsFound));
    }
    Ok(found)
}

fn unusable([of_certificate, of_key]: Options, certificate: &Path, key: &Path, error: &Error) -> String {
    let (certificate, key) = (certificate.display(), key.display());
    match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            format!("{of_key}: the key in {key} is not that of the certificate in {certificate}")
        }
        error => format!("{of_certificate}, {of_key}: {certificate} and {key} cannot be used: {error}"),
    }
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let Some(file) = ca else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err("this machine lists nobody to trust: install ca-certificates, or say --ca FILE".to_owned());
        }
        return Ok(roots);
    };
    for certificate in certificates("--ca", file)? {
        roots.add(certificate).map_err(|error| format!("--ca: {} cannot be used: {error}", file.display()))?;
    }
    Ok(roots)
}

/// Trusts every certificate, as `--insecure` asks; signatures are still checked.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

fn unreadable(option: &str, file: &Path, what: &str, error: &pem::Error) -> String {
    let file = file.display();
    match error {
        pem::Error::Io(error) => format!("{option}: {file} cannot be read: {error}"),
        pem::Error::NoItemsFound => format!("{option}: {file} holds no {what} in PEM (a key must not be encrypted)"),
        error => format!("{option}: {file} is damaged: {error}"),
    }
}
