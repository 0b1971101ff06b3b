//! What all sources have in common that are asked over HTTPS, again and again.
use super::settings::positive;
use super::{Cx, host, trust};
use crate::at::At;
use crate::config::PolledApi;
use crate::place::Place;
use crate::units::Mistake;
use std::time::Duration;
use url::{Host, Url};

/// As typed.
pub(super) struct Typed<'a> {
    pub ca_file: Option<&'a At<String>>,
    pub poll: Option<&'a At<String>>,
    pub max_stale: Option<&'a At<String>>,
    pub timeout: Option<&'a At<String>>,
}

/// What counts where nothing is typed; the reasons stand in `reference`.
pub(super) struct Defaults {
    pub poll: Duration,
    pub max_stale: Duration,
    pub timeout: Duration,
}

pub(super) fn check(typed: &Typed<'_>, defaults: &Defaults, place: &Place, cx: &mut Cx<'_>) -> Option<PolledApi> {
    let ca_file = typed.ca_file.map(|at| trust::ca_file(at, cx));
    let poll = positive(typed.poll, defaults.poll, cx);
    let max_stale = positive(typed.max_stale, defaults.max_stale, cx);
    let timeout = positive(typed.timeout, defaults.timeout, cx);
    let (poll, max_stale) = (poll?, max_stale?);
    if max_stale < poll * 2 {
        cx.error(
            typed.max_stale.or(typed.poll).map_or(place, |at| &at.place),
            "`max_stale` is less than two polls, so one answer that is lost makes its facts unknown",
            "make `max_stale` at least twice as long as `poll`",
        );
        return None;
    }
    Some(PolledApi { ca_file: ca_file.map_or(Some(None), |file| file.map(Some))?, poll, max_stale, timeout: timeout? })
}

/// Over http a key could be read on the way, and what is believed be changed; on this machine there is no way.
pub(super) fn url(text: &str) -> Result<Url, Mistake> {
    let url = host::url(text, &["https", "http"])?;
    let here = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    if url.scheme() == "http" && !here {
        return Err(Mistake::new("over http, whoever sits on the way reads the key and writes the answer").hint(
            format!("write `https://{}`; http is for an address of this machine", text.trim_start_matches("http://")),
        ));
    }
    if url.fragment().is_some() {
        return Err(Mistake::new(format!("`{text}` has a `#`")).hint("remove it and what follows"));
    }
    Ok(url)
}

/// The same for the address of a server: what is asked there is known.
pub(super) fn server(text: &str) -> Result<Url, Mistake> {
    let url = url(text)?;
    match url.path() == "/" && url.query().is_none() {
        true => Ok(url),
        false => Err(Mistake::new(format!("`{text}` is more than the address of a server"))
            .hint(format!("write `{}`", url.origin().ascii_serialization()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_reached_by_tls_but_for_one_on_this_machine() {
        for (text, good) in [
            ("https://hs.example.test", true),
            ("https://hs.example.test:8443/", true),
            ("http://127.0.0.1:8080", true),
            ("http://[::1]:8080", true),
            ("http://localhost:8080", true),
            ("http://localhost.example.test", false),
            ("http://10.0.0.7:8080", false),
            ("https://hs.example.test/api/v1", false),
            ("hs.example.test", false),
        ] {
            assert_eq!(server(text).is_ok(), good, "{text}");
        }
    }
}
