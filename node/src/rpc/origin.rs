//! Which web pages may use this node.
//!
//! A browser lets any page open a WebSocket to any address, that of the node on the operator's own machine included, and says in
//! the header `Origin` whose page it is. So a request that has one is served only if the page is the node's own, or of an
//! origin that the operator allows (`rpc.origins`). Programs send no such header and are not asked.
//!
//! A page is the node's own if its origin is the host that the request is for, by address or as `localhost`. By no other name:
//! whoever owns a name can have it point at this machine once the browser has the page (DNS rebinding).

use std::net::{IpAddr, Ipv6Addr};

use axum::http::{HeaderMap, header};

/// The origin that stands for all.
pub(crate) const ANY: &str = "*";

/// Whether the page that a request comes from may make it.
pub(crate) fn may_call(headers: &HeaderMap, allowed: &[String]) -> bool {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let (origin, more) = (origins.next(), origins.next());
    let Some(origin) = origin else { return true };
    let Ok(origin) = origin.to_str() else { return false };
    if more.is_some() {
        return false;
    }
    let is_allowed = allowed.iter().any(|one| one == ANY || one.eq_ignore_ascii_case(origin));
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    is_allowed || host.is_some_and(|host| is_own(origin, host))
}

/// Whether a text can be what a browser says a page's origin is: a scheme, a host, and a port if it is not the usual one.
pub(crate) fn is_origin(text: &str) -> bool {
    let host = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    host.is_some_and(|host| {
        !host.is_empty()
            && host.chars().all(|character| character.is_ascii_graphic() && !"/?#@,".contains(character))
    })
}

fn is_own(origin: &str, host: &str) -> bool {
    let page = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    page.is_some_and(|page| page.eq_ignore_ascii_case(host)) && is_unowned(host)
}

/// Whether a host, with its port, is one that nobody can point elsewhere.
fn is_unowned(host: &str) -> bool {
    if let Some((address, _)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return address.parse::<Ipv6Addr>().is_ok();
    }
    let name = host.split_once(':').map_or(host, |(name, _)| name);
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn asked(origin: Option<&str>, host: &str, allowed: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_str(host).expect("a value"));
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, HeaderValue::from_str(origin).expect("a value"));
        }
        let allowed: Vec<_> = allowed.iter().map(|&one| one.to_owned()).collect();
        may_call(&headers, &allowed)
    }

    #[test]
    fn programs_are_not_asked_where_they_come_from() {
        assert!(asked(None, "127.0.0.1:7601", &[]));
        assert!(asked(None, "node.example", &[]));
    }

    #[test]
    fn only_the_nodes_own_page_is_served_unasked() {
        for host in ["127.0.0.1:7601", "localhost:7601", "[::1]:7601", "192.0.2.1"] {
            assert!(asked(Some(&format!("http://{host}")), host, &[]), "{host}");
            for foreign in
                ["https://evil.example", "http://127.0.0.1:8080", "http://localhost", "null", "file://"]
            {
                assert!(!asked(Some(foreign), host, &[]), "{foreign} at {host}");
            }
        }
    }

    #[test]
    fn a_name_that_was_made_to_point_here_is_not_ours() {
        for name in
            ["evil.example:7601", "127.0.0.1.evil.example:7601", "127.evil.example", "localhost.evil.example"]
        {
            assert!(!asked(Some(&format!("http://{name}")), name, &[]), "{name}");
        }
    }

    #[test]
    fn the_operator_may_allow_pages() {
        let page = Some("https://wallet.example");
        assert!(asked(page, "127.0.0.1:7601", &["https://other.example", "https://wallet.example"]));
        assert!(!asked(page, "127.0.0.1:7601", &["https://wallet.example:444"]));
        assert!(asked(page, "127.0.0.1:7601", &[ANY]));
    }

    #[test]
    fn who_says_two_origins_says_none_that_counts() {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("127.0.0.1:7601"));
        headers.append(header::ORIGIN, HeaderValue::from_static("http://127.0.0.1:7601"));
        headers.append(header::ORIGIN, HeaderValue::from_static("https://evil.example"));
        assert!(!may_call(&headers, &[]));
    }

    #[test]
    fn an_origin_has_a_scheme_and_a_host_and_no_path() {
        for text in ["https://wallet.example", "http://127.0.0.1:3000", "http://[::1]:3000"] {
            assert!(is_origin(text), "{text}");
        }
        for text in
            ["", "null", "wallet.example", "https://", "https://wallet.example/", "https://a,b", "ws://a"]
        {
            assert!(!is_origin(text), "{text}");
        }
    }
}
