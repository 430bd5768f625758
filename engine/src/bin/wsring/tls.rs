//! `--tls-cert` and `--tls-key`: from two files of PEM to a configuration of rustls, or a sentence that says what is wrong
//! with which file. The cryptography is ring's.

use std::path::Path;
use std::sync::Arc;

use wsring::rustls::pki_types::pem::{self, PemObject};
use wsring::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use wsring::rustls::{Error, InconsistentKeys, ServerConfig, crypto::ring};

/// A server with this certificate, the chain behind it, and its key.
pub(crate) fn server(certificate: &Path, key: &Path) -> Result<ServerConfig, String> {
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(certificate).and_then(|certificates| certificates.collect());
    let chain = chain.map_err(|error| unreadable("--tls-cert", certificate, "certificate", &error))?;
    if chain.is_empty() {
        return Err(unreadable("--tls-cert", certificate, "certificate", &pem::Error::NoItemsFound));
    }
    let private =
        PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable("--tls-key", key, "private key", &error))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has ciphers for TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|error| match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                format!(
                    "--tls-key: the key in {} is not that of the certificate in {}",
                    key.display(),
                    certificate.display()
                )
            }
            error => format!(
                "--tls-cert, --tls-key: {} and {} cannot be used: {error}",
                certificate.display(),
                key.display()
            ),
        })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn unreadable(option: &str, file: &Path, what: &str, error: &pem::Error) -> String {
    let file = file.display();
    match error {
        pem::Error::Io(error) => format!("{option}: {file} cannot be read: {error}"),
        pem::Error::NoItemsFound => format!("{option}: {file} holds no {what} in PEM (a key must not be encrypted)"),
        error => format!("{option}: {file} is damaged: {error}"),
    }
}
