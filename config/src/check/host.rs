//! Host names as they stand in routes, URLs and certificates.
use crate::config::HostPattern;
use crate::suggest;
use crate::units::Mistake;
use std::net::{IpAddr, SocketAddr};
use url::Url;

/// `wiki.example.test` or `*.apps.example.test`, in lower case.
pub(crate) fn pattern(text: &str) -> Result<HostPattern, Mistake> {
    let wrong = |message: String, hint: &str| Err(Mistake::new(message).hint(hint));
    if text.contains("://") {
        let host = text.split("://").nth(1).and_then(|rest| rest.split(['/', ':']).next()).unwrap_or("");
        return wrong(format!("`{text}` is a URL, not a host"), &format!("write only the host: `{host}`"));
    }
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    if bare.parse::<IpAddr>().is_ok() || text.parse::<SocketAddr>().is_ok() {
        return wrong(
            format!("`{text}` is an address; browsers send no server name for it"),
            "give the application a DNS name that leads to this gate",
        );
    }
    if let Some((host, path)) = text.split_once('/') {
        return wrong(format!("`{text}` has a path"), &format!("write `host: {host}` and `path: /{path}`"));
    }
    if let Some((host, _)) = text.split_once(':') {
        return wrong(format!("`{text}` has a port; a route answers on every listener"), &format!("write `{host}`"));
    }
    let lower = text.to_ascii_lowercase();
    let (name, is_wildcard) = match lower.strip_prefix("*.") {
        Some(rest) => (rest, true),
        None => (lower.as_str(), false),
    };
    if name.contains('*') {
        return wrong(format!("`{text}`: a wildcard is the whole first label"), "write `*.apps.example.test`");
    }
    if name.ends_with('.') {
        return wrong(format!("`{text}` ends with a dot"), "remove the last dot");
    }
    if !name.is_ascii() {
        return wrong(format!("`{text}` has letters outside ASCII"), "write it in its `xn--…` form");
    }
    let label = |label: &str| {
        let hyphens = label.starts_with('-') || label.ends_with('-');
        let bytes = label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        // RFC 1035 s2.3.4
        !label.is_empty() && label.len() <= 63 && bytes && !hyphens
    };
    if name.len() > 253 || !name.split('.').all(label) {
        return wrong(format!("`{text}` is not a host name"), "use letters, digits, `-` and dots: `wiki.example.test`");
    }
    if is_wildcard && !name.contains('.') {
        return wrong(format!("`{text}` stands for a whole top-level domain"), "write `*.apps.example.test`");
    }
    Ok(if is_wildcard { HostPattern::Wildcard(name.to_owned()) } else { HostPattern::Exact(name.to_owned()) })
}

/// Does a certificate with these DNS names serve the host? (RFC 6125 s6.4.3: a wildcard is one label)
pub(crate) fn is_covered(host: &HostPattern, names: &[String]) -> bool {
    match host {
        HostPattern::Any => false,
        HostPattern::Wildcard(domain) => names.iter().any(|name| name.strip_prefix("*.") == Some(domain)),
        HostPattern::Exact(host) => {
            let parent = host.split_once('.').map(|(_, parent)| parent);
            names.iter().any(|name| name == host || (parent.is_some() && name.strip_prefix("*.") == parent))
        }
    }
}

/// As it was meant: `wiki.example.test`, `*.apps.example.test`.
pub(crate) fn shown(host: &HostPattern) -> String {
    match host {
        HostPattern::Any => "any host".to_owned(),
        HostPattern::Exact(host) => host.clone(),
        HostPattern::Wildcard(domain) => format!("*.{domain}"),
    }
}

/// An absolute URL of one of these schemes, with a host and without user name or password.
pub(crate) fn url(text: &str, schemes: &[&str]) -> Result<Url, Mistake> {
    let listed: Vec<String> = schemes.iter().map(|scheme| format!("`{scheme}://…`")).collect();
    let listed = listed.join(", ");
    let Some((scheme, rest)) = text.split_once("://") else {
        let hint = match (text.split_once("//"), schemes.first()) {
            (Some((scheme, rest)), Some(first)) => {
                let scheme = suggest::nearest(scheme.trim_end_matches(':'), schemes.iter().copied()).unwrap_or(first);
                format!("did you mean `{scheme}://{rest}`?")
            }
            (None, Some(scheme)) if !text.contains(' ') => format!("did you mean `{scheme}://{text}`?"),
            _ => format!("write {listed}"),
        };
        return Err(Mistake::new(format!("`{text}` is not a URL")).hint(hint));
    };
    if !schemes.contains(&scheme) {
        let hint = match suggest::nearest(scheme, schemes.iter().copied()) {
            Some(near) => format!("did you mean `{near}://{rest}`?"),
            None => format!("write {listed}"),
        };
        return Err(Mistake::new(format!("`{scheme}` is not possible here")).hint(hint));
    }
    let url = Url::parse(text).map_err(|error| {
        let mistake = Mistake::new(format!("`{text}` is not a URL: {error}"));
        match error {
            url::ParseError::InvalidPort => mistake.hint("a port is a number from 1 to 65535"),
            _ => mistake.hint(format!("write {listed}")),
        }
    })?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Mistake::new("the URL has a user name or password in it")
            .hint("remove what stands before the `@`; it was exposed here, so change that password"));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(Mistake::new(format!("`{text}` has no host")).hint(format!("write {listed}")));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_and_nothing_else() {
        assert_eq!(pattern("Wiki.Example.Test"), Ok(HostPattern::Exact("wiki.example.test".into())));
        assert_eq!(pattern("*.apps.example.test"), Ok(HostPattern::Wildcard("apps.example.test".into())));
        for wrong in [
            "https://wiki.example.test",
            "10.0.0.1",
            "[::1]",
            "wiki.example.test:443",
            "wiki.example.test/x",
            "*",
            "*.test",
            "a.*.test",
            "wiki_1.test",
            "-a.test",
            "a..test",
            "wiki.test.",
            "bücher.test",
        ] {
            assert!(pattern(wrong).is_err_and(|mistake| mistake.hint.is_some()), "{wrong}");
        }
    }

    #[test]
    fn a_wildcard_certificate_covers_one_label() {
        let names = ["*.example.test".to_owned(), "auth.test".to_owned()];
        for (host, covered) in
            [("wiki.example.test", true), ("a.b.example.test", false), ("example.test", false), ("auth.test", true)]
        {
            assert_eq!(is_covered(&pattern(host).unwrap(), &names), covered, "{host}");
        }
        assert!(is_covered(&pattern("*.example.test").unwrap(), &names));
        assert!(!is_covered(&pattern("*.b.example.test").unwrap(), &names));
    }
}
