//! From the headers of a head that the protocol parsed to those of `http`.

use http::{HeaderMap, HeaderName, HeaderValue};

/// Copies of all headers, in the order sent for each name. A name of more than 65,535 bytes, which `http` cannot hold, is left out.
pub(crate) fn header_map<'h>(headers: impl Iterator<Item = (&'h str, &'h [u8])>) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value)) {
            map.append(name, value);
        }
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_header_of_a_name_is_kept() {
        let long = "n".repeat(1 << 16);
        let sent = [("Set-Cookie", &b"a=1"[..]), ("Server", b"\xff"), ("set-cookie", b"b=2"), (&long, b"")];
        let map = header_map(sent.into_iter());
        let cookies: Vec<_> = map.get_all("Set-Cookie").iter().map(HeaderValue::as_bytes).collect();
        assert_eq!((map.len(), cookies), (3, vec![&b"a=1"[..], b"b=2"]));
        assert_eq!(map["server"].as_bytes(), b"\xff");
        assert!(header_map([(&long[1..], &b"x"[..])].into_iter()).len() == 1, "65,535 bytes are held");
    }
}
