//! Names of players, members and rooms: plain enough to stand in a path and in JSON as they are.

/// Characters of a name.
const LEN_MAX: usize = 32;

/// Whether this is one: 1 to 32 letters and digits of ASCII, `-`, `_` and `.`.
pub(crate) fn is_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=LEN_MAX).contains(&text.len()) && text.bytes().all(is_plain)
}

/// The name in a query such as `name=ann`; `None` if there is no such field or it holds none.
pub(crate) fn name_in(query: Option<&str>) -> Option<&str> {
    query?.split('&').find_map(|field| field.strip_prefix("name=")).filter(|name| is_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        assert!(["a", "Ann-2_x.y", &"n".repeat(32)].iter().all(|name| is_name(name)));
        assert!(!["", "a b", "é", "\"", "a%20b", &"n".repeat(33)].iter().any(|name| is_name(name)));
        assert_eq!(name_in(Some("name=ann")), Some("ann"));
        assert_eq!(name_in(Some("v=2&name=ann&x")), Some("ann"));
        for query in [None, Some(""), Some("ann"), Some("name="), Some("name=a+b"), Some("nick=ann")] {
            assert_eq!(name_in(query), None, "{query:?}");
        }
    }
}
