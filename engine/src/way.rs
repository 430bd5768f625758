//! The way to a server: through a [`Proxy`], or straight.
//!
//! Owns what a proxy is and how it is found in the environment. Refuses to know what is said to it (`wsring_proto::tunnel`).

use std::fmt;
use std::net::IpAddr;

use http::uri::Uri;
use wsring_proto::prefix::Prefix;
use wsring_proto::tunnel::{AskError, Credentials, Tunnel};

/// A proxy that connects for us: by HTTP CONNECT (RFC 9110 §9.3.6) or SOCKS version 5 (RFC 1928). What goes through it is as it would be
/// without, TLS from end to end. It looks up the server's name, so the core does not, and [`Handler::on_resolved`](crate::Handler::on_resolved) is asked about
/// the proxy's addresses.
///
/// ```
/// use wsring::{Proxy, Target};
///
/// let named = Target::new("ws://feed.example.com/")?.proxy(Proxy::new("socks5://me:secret@10.0.0.1:1080")?)?;
/// let of_env = Target::new("ws://feed.example.com/")?.proxy_from_env()?; // http_proxy, all_proxy, no_proxy
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    is_socks: bool,
    /// Without the brackets of IPv6.
    host: String,
    port: u16,
    /// Name and password.
    login: Option<(String, String)>,
}

/// Its password is nobody's to see.
impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_socks { "socks5" } else { "http" };
        let login = if self.login.is_some() { "...@" } else { "" };
        write!(f, "{kind}://{login}{}:{}", self.host, self.port)
    }
}

/// Why something is no proxy, or cannot be asked for a server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// Not a URL of a proxy. (The URL is not told: it may hold a password.)
    #[error("no URL of a proxy: http://[USER:PASSWORD@]HOST[:PORT] or socks5://...")]
    Url,
    /// Another kind of proxy than `http`, `socks5` and `socks5h`.
    #[error("a proxy is http://, socks5:// or socks5h://, not {0}://")]
    Scheme(String),
    /// Its protocol has no place for the host, the name or the password.
    #[error(transparent)]
    Ask(#[from] AskError),
}

impl Proxy {
    /// A URL: `http://` (port 80 unless it names one), or `socks5://` and `socks5h://` (1080), which are the same here. A name and password in
    /// front of the host may be escaped (`%40` is `@`).
    ///
    /// # Errors
    /// [`ProxyError`] says what is wrong with it.
    pub fn new(url: &str) -> Result<Self, ProxyError> {
        let uri: Uri = url.parse().map_err(|_| ProxyError::Url)?;
        let (is_socks, port) = match uri.scheme_str().map(str::to_ascii_lowercase).as_deref() {
            Some("http") => (false, 80),
            Some("socks5" | "socks5h") => (true, 1080),
            Some(other) => return Err(ProxyError::Scheme(other.to_owned())),
            None => return Err(ProxyError::Url),
        };
        let authority = uri.authority().ok_or(ProxyError::Url)?;
        let host = authority.host();
        let said = authority.as_str().rsplit_once('@').map_or(authority.as_str(), |(_, rest)| rest);
        let port = match said.strip_prefix(host).ok_or(ProxyError::Url)? {
            "" => port,
            said => port_of(said).ok_or(ProxyError::Url)?,
        };
        let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() {
            return Err(ProxyError::Url);
        }
        let login = match authority.as_str().rsplit_once('@') {
            Some((login, _)) => {
                let (user, password) = login.split_once(':').unwrap_or((login, ""));
                Some((unescaped(user).ok_or(ProxyError::Url)?, unescaped(password).ok_or(ProxyError::Url)?))
            }
            None => None,
        };
        Ok(Self { is_socks, host: host.to_owned(), port, login })
    }

    /// The proxy that such an environment names for a server: see [`Target::proxy_from_env`](crate::Target::proxy_from_env).
    pub(crate) fn from_vars(
        is_secure: bool,
        host: &str,
        port: u16,
        var: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, ProxyError> {
        let first = |names: &[&str]| names.iter().find_map(|name| var(name).filter(|value| !value.is_empty()));
        let own: &[&str] = if is_secure { &["https_proxy", "HTTPS_PROXY"] } else { &["http_proxy"] };
        let Some(url) = first(own).or_else(|| first(&["all_proxy", "ALL_PROXY"])) else { return Ok(None) };
        let without = first(&["no_proxy", "NO_PROXY"]).unwrap_or_default();
        if without.split([',', ' ']).any(|entry| covers(entry, host, port)) {
            return Ok(None);
        }
        let url = if url.contains("://") { url } else { format!("http://{url}") };
        Self::new(&url).map(Some)
    }

    /// Where it is.
    pub(crate) fn place(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    /// Asks it for a server; appends what is said first.
    pub(crate) fn ask(&self, host: &str, port: u16, out: &mut Vec<u8>) -> Result<Tunnel, AskError> {
        let login = self.login.as_ref().map(|(user, password)| Credentials { user, password });
        match self.is_socks {
            true => Tunnel::socks(host, port, login, out),
            false if host.contains(':') => Tunnel::http(&format!("[{host}]"), port, login, out),
            false => Tunnel::http(host, port, login, out),
        }
    }
}

/// The port in `:80`, which is digits alone (RFC 3986 §3.2.3), and not 0. (`http` takes `:+80` for one, and `:` and `:99999` for none.)
pub(crate) fn port_of(said: &str) -> Option<u16> {
    number_of(said.strip_prefix(':')?).filter(|port| *port > 0)
}

/// A number without a sign.
fn number_of(digits: &str) -> Option<u16> {
    let all = digits.bytes().all(|byte| byte.is_ascii_digit());
    all.then(|| digits.parse().ok()).flatten()
}

/// RFC 3986 §2.1: two hexadecimal digits, and no sign among them.
fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (digits, behind) = rest.split_at_checked(2)?;
        let digit = |at: usize| char::from(digits[at]).to_digit(16).map(|digit| digit as u8);
        bytes.push(digit(0)? << 4 | digit(1)?);
        rest = behind;
    }
    String::from_utf8(bytes).ok()
}

/// Whether an entry of `no_proxy` is about this server.
fn covers(entry: &str, host: &str, port: u16) -> bool {
    let entry = entry.trim();
    if entry == "*" {
        return true;
    }
    if let Ok(address) = host.parse::<IpAddr>() {
        let bare = entry.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(entry);
        return bare.parse::<Prefix>().is_ok_and(|network| network.contains(address));
    }
    let (name, only) = entry.rsplit_once(':').map_or((entry, None), |(name, port)| (name, Some(port)));
    let name = name.trim_start_matches("*.").trim_matches('.');
    let host = host.trim_end_matches('.');
    let at = host.len().checked_sub(name.len());
    let is_below = |at: usize| at == 0 || host.as_bytes()[at - 1] == b'.';
    let is_named = at.is_some_and(|at| {
        !name.is_empty() && host.is_char_boundary(at) && host[at..].eq_ignore_ascii_case(name) && is_below(at)
    });
    is_named && only.is_none_or(|only| number_of(only) == Some(port))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Parts = (bool, String, u16, Option<(String, String)>);

    fn proxy(url: &str) -> Result<Parts, ProxyError> {
        Proxy::new(url).map(|Proxy { is_socks, host, port, login }| (is_socks, host, port, login))
    }

    #[test]
    fn urls_of_proxies() {
        let host = |host: &str| host.to_owned();
        let login = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        assert_eq!(proxy("http://proxy"), Ok((false, host("proxy"), 80, None)));
        assert_eq!(proxy("HTTP://proxy:3128/"), Ok((false, host("proxy"), 3128, None)));
        assert_eq!(proxy("socks5://10.0.0.1"), Ok((true, host("10.0.0.1"), 1080, None)));
        assert_eq!(proxy("socks5h://me@[::1]:9"), Ok((true, host("::1"), 9, login("me", ""))));
        assert_eq!(proxy("http://me:se%3Acr%40t@proxy:8"), Ok((false, host("proxy"), 8, login("me", "se:cr@t"))));
        for wrong in [
            "",
            "proxy",
            "http://",
            "http://proxy:0",
            "http://proxy:x",
            "http://proxy:+80",
            "http://a%4@proxy",
            "http://a%ff@proxy",
        ]
        .into_iter()
        .chain([
            "http://a%+4@proxy",
            "http://a%-4@proxy",
            "http://a%4+@proxy",
            "http://a%4g@proxy",
            "http://a%@proxy",
        ]) {
            assert_eq!(proxy(wrong), Err(ProxyError::Url), "{wrong}");
        }
        assert_eq!(proxy("https://proxy"), Err(ProxyError::Scheme("https".to_owned())));
        let shown = format!("{:?}", Proxy::new("http://me:secret@proxy:8").expect("a proxy"));
        assert_eq!(shown, "http://...@proxy:8");
    }

    fn from(url: &str, vars: &[(&str, &str)]) -> Option<String> {
        let target = crate::Target::new(url).expect("a URL");
        let var = |name: &str| vars.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Proxy::from_vars(target.is_secure(), target.host(), target.port(), var)
            .expect("proxies")
            .map(|proxy| proxy.host)
    }

    #[test]
    fn variables_as_the_world_has_them() {
        let all = [("http_proxy", "http://a"), ("HTTPS_PROXY", "b:1"), ("all_proxy", "socks5://c")];
        assert_eq!(from("ws://host/", &all).as_deref(), Some("a"));
        assert_eq!(from("wss://host/", &all).as_deref(), Some("b"));
        assert_eq!(from("wss://host/", &all[2..]).as_deref(), Some("c"));
        assert_eq!(from("ws://host/", &[("HTTP_PROXY", "http://a")]), None, "a request's header may have set it");
        assert_eq!(from("wss://host/", &[("https_proxy", ""), ("ALL_PROXY", "http://d")]).as_deref(), Some("d"));
        assert_eq!(from("ws://host/", &[]), None);
    }

    #[test]
    fn hosts_without_a_proxy() {
        let direct =
            |url: &str, without: &str| from(url, &[("all_proxy", "http://a"), ("no_proxy", without)]).is_none();
        for (without, covered) in [
            ("*", true),
            ("example.com", true),
            (".example.com", true),
            ("*.example.com", true),
            ("FEED.example.com", true),
            ("other.com, example.com:80", true),
            ("com", true),
            ("example.com:81", false),
            ("example.com:+80", false),
            ("ample.com", false),
            ("feed.example.com.evil", false),
            ("10.0.0.0/8", false),
            (",", false),
        ] {
            assert_eq!(direct("ws://feed.example.com/", without), covered, "{without}");
        }
        for (url, without, covered) in [
            ("ws://10.1.2.3/", "10.0.0.0/8", true),
            ("ws://10.1.2.3/", "10.1.2.3", true),
            ("ws://11.1.2.3/", "10.0.0.0/8", false),
            ("ws://[fd00::1]/", "[fd00::1]", true),
            ("ws://[fd00::1]/", "fd00::/8", true),
            ("ws://10.1.2.3/", "2.3", false),
        ] {
            assert_eq!(direct(url, without), covered, "{url} {without}");
        }
    }
}
