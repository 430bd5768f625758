//! The certificate of the servers that a comparison loads over TLS.
//!
//! Owns two files in a folder of its own, and removes them. Promises: the key is nobody else's to read, and what the load
//! client trusts is this certificate alone. Refuses to know: TLS.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rustls::ClientConfig;

use crate::tls;

/// A fresh key (ECDSA, P-256) and the certificate that it has signed itself, for 127.0.0.1.
#[derive(Debug)]
pub struct Certificate {
    folder: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
    /// Of a client that trusts it.
    pub client: Arc<ClientConfig>,
}

impl Certificate {
    /// Makes it, in the folder for temporary files.
    pub fn make() -> io::Result<Certificate> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let serial = MADE.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("wsring-bench-{}-tls-{serial}", std::process::id()));
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])
            .map_err(|error| io::Error::other(error.to_string()))?;
        fs::DirBuilder::new().mode(0o700).create(&folder)?;
        let write = |name, text: String| {
            let path = folder.join(name);
            File::options().write(true).create_new(true).mode(0o600).open(&path)?.write_all(text.as_bytes())?;
            Ok::<_, io::Error>(path)
        };
        let files = write("certificate.pem", made.cert.pem())
            .and_then(|certificate| Ok((write("key.pem", made.signing_key.serialize_pem())?, certificate)))
            .and_then(|(key, certificate)| Ok((key, tls::client(&certificate)?, certificate)));
        match files {
            Ok((key, client, certificate)) => Ok(Certificate { folder, certificate, key, client }),
            Err(error) => {
                let _ = fs::remove_dir_all(&folder);
                Err(error)
            }
        }
    }

    /// The files of the certificate and of its key, in PEM.
    pub fn files(&self) -> (&Path, &Path) {
        (&self.certificate, &self.key)
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_certificate_leaves_nothing_behind() {
        let made = Certificate::make().expect("a certificate");
        let (certificate, key) = made.files();
        assert!(tls::server(certificate, key).is_ok());
        let ciphers = &made.client.crypto_provider().cipher_suites;
        let ciphers: Vec<_> = ciphers.iter().map(|cipher| cipher.suite()).collect();
        assert_eq!(ciphers, [rustls::CipherSuite::TLS13_AES_128_GCM_SHA256], "one for all");
        assert_eq!(fs::metadata(key).expect("a key").permissions().mode() & 0o077, 0);
        let folder = made.folder.clone();
        drop(made);
        assert!(!folder.exists());
    }
}
