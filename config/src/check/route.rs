//! One route: host, path, application, and what the application is told.
use super::trust::TrustDomains;
use super::{Cx, client_auth, headers, host, takes, upstream};
use crate::at::{At, List};
use crate::config::Route;
use crate::file::route as typed;
use crate::place::Place;
use crate::units::{self, Mistake};

pub(crate) fn check(place: &Place, route: &typed::Route, domains: &TrustDomains, cx: &mut Cx<'_>) -> Option<Route> {
    let host = cx.parse(&route.host, host::pattern);
    let path = cx.parse_or(route.path.as_ref(), "/".to_owned(), path);
    let upstream = upstream::check(route, cx);
    let client_auth = client_auth::check(route.client_auth.as_ref(), domains, cx);
    let headers = headers::check(route.headers.as_ref(), cx);
    let upgrades = upgrades(&route.upgrades, cx);
    let cors_origins = cors_origins(&route.cors_origins, cx);
    let max_body = match &route.max_body {
        Some(at) => cx.parse(at, body_size).map(Some),
        None => Some(None),
    };
    let min_body_rate = match &route.min_body_rate {
        Some(at) => cx.parse(at, body_rate).map(Some),
        None => Some(None),
    };
    let takes = takes::check(route, cx);
    let access_token = headers::access_token(route, headers.as_ref(), takes.as_ref(), cx);
    let name = route.name.text()?;
    Some(Route {
        name: name.into(),
        host: host?,
        path: path?,
        exact: false,
        upstream: upstream?,
        resource: route.resource.text()?.into(),
        client_auth: client_auth?,
        headers: headers?,
        preserve_host: flag(route.preserve_host.as_ref(), true)?,
        cors_origins: cors_origins?,
        title: route.title.as_ref().and_then(At::text).unwrap_or(name).to_owned(),
        description: route.description.as_ref().and_then(At::text).map(str::to_owned),
        listed: flag(route.listed.as_ref(), true)?,
        sign_in: flag(route.sign_in.as_ref(), true)?,
        access_token: access_token?,
        takes: takes?,
        upgrades: upgrades?,
        allow_encoded_slash: flag(route.allow_encoded_slash.as_ref(), false)?,
        max_body: max_body?,
        min_body_rate: min_body_rate?,
        line: place.line,
    })
}

/// `10MiB`; zero would refuse every form.
pub(crate) fn body_size(text: &str) -> Result<u64, Mistake> {
    match units::size(text)? {
        0 => Err(Mistake::new(format!("`{text}` lets no form through")).hint("write at least `1KiB`")),
        size => Ok(u64::try_from(size).unwrap_or(u64::MAX)),
    }
}

/// `512B`; `0B`: as slow as it likes.
pub(crate) fn body_rate(text: &str) -> Result<u64, Mistake> {
    units::size(text).map(|size| u64::try_from(size).unwrap_or(u64::MAX))
}

fn flag(at: Option<&At<bool>>, default: bool) -> Option<bool> {
    at.map_or(Some(default), |at| at.get().copied())
}

/// Canonical: what the policy sees is what the application sees, so there is one spelling of a path.
fn path(text: &str) -> Result<String, Mistake> {
    let wrong = |why: &str, hint: String| Err(Mistake::new(format!("`{text}` {why}")).hint(hint));
    if !text.starts_with('/') {
        return wrong("does not begin with `/`", format!("write `/{text}`"));
    }
    if text == "/.torhaus" || text.starts_with("/.torhaus/") {
        return wrong("belongs to the gate itself, on every host", "choose another path".to_owned());
    }
    if text.ends_with("/*") {
        let bare = text.trim_end_matches("/*");
        let bare = if bare.is_empty() { "/" } else { bare };
        return wrong("has a `*`; a path stands for all below it anyway", format!("write `{bare}`"));
    }
    if text.len() > 1 && text.ends_with('/') {
        return wrong(
            "ends with `/`",
            format!("write `{}`: it stands for all below it, too", text.trim_end_matches('/')),
        );
    }
    if text.split('/').skip(1).any(|segment| (segment.is_empty() && text != "/") || segment == "." || segment == "..") {
        return wrong("is not canonical", "remove `//`, `/./` and `/../`".to_owned());
    }
    if text.contains(['?', '#']) {
        return wrong("has a query", "a route goes by host and path only: remove what follows the path".to_owned());
    }
    // Only characters with one spelling: `/@x` and `/%40x` are two paths here and one for an application.
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"/-._~".contains(&b);
    if !text.bytes().all(is_plain) {
        return wrong(
            "has characters that can be spelled in several ways",
            "use letters, digits, `-`, `_`, `.`".to_owned(),
        );
    }
    Ok(text.to_owned())
}

fn upgrades(list: &List<String>, cx: &mut Cx<'_>) -> Option<Vec<String>> {
    each(list, upgrade, cx)
}

fn cors_origins(list: &List<String>, cx: &mut Cx<'_>) -> Option<Vec<String>> {
    each(list, cors_origin, cx)
}

/// Every item, or none of them if one is wrong; all that are wrong are reported.
fn each(list: &List<String>, parse: impl Fn(&str) -> Result<String, Mistake>, cx: &mut Cx<'_>) -> Option<Vec<String>> {
    let mut whole = list.whole;
    let mut found = Vec::new();
    for item in &list.items {
        match cx.parse(item, &parse) {
            Some(value) => found.push(value),
            None => whole = false,
        }
    }
    whole.then_some(found)
}

/// As a browser writes it in `Origin` (RFC 6454 section 7): scheme, host, and the port unless it is 443.
fn cors_origin(text: &str) -> Result<String, Mistake> {
    let wrong = || Mistake::new(format!("`{text}` is not an https origin"));
    if text == "*" || text == "null" {
        return Err(wrong().hint("name each origin; scripts of any site could act as whoever is signed in"));
    }
    let url = url::Url::parse(text).map_err(|_| wrong().hint("as in `https://dash.example.test`"))?;
    let origin = url.origin().ascii_serialization();
    if url.scheme() != "https" || origin != text {
        return Err(wrong().hint(format!("write `{}`", origin.replacen("http://", "https://", 1))));
    }
    Ok(origin)
}

fn upgrade(text: &str) -> Result<String, Mistake> {
    let token = text.to_ascii_lowercase();
    if token == "h2c" || token == "h2" || token.starts_with("http/") {
        // Behind such a switch requests are no longer seen, and so not decided.
        return Err(Mistake::new(format!("`{text}` would let requests pass the gate unseen"))
            .hint("for an HTTP/2 application write `upstream: h2c://…`"));
    }
    if !token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._/".contains(&b)) {
        return Err(Mistake::new(format!("`{text}` is not an upgrade token"))
            .hint("as in `Upgrade: tailscale-control-protocol`"));
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_one_spelling() {
        for right in ["/", "/api", "/api/v1", "/.well-known/x"] {
            assert_eq!(path(right).as_deref(), Ok(right));
        }
        for wrong in [
            "api",
            "/api/",
            "/a//b",
            "/a/../b",
            "/a/.",
            "/a?b",
            "/a#b",
            "/a%2fb",
            "/ä",
            "/a\\b",
            "/a/*",
            "/.torhaus/x",
            "//",
        ] {
            assert!(path(wrong).is_err_and(|mistake| mistake.hint.is_some()), "{wrong}");
        }
    }
}
