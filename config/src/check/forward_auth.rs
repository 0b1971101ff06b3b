//! Which other proxies may ask what this gate decides.
use super::Cx;
use super::settings::proxies;
use crate::at::At;
use crate::config::{AskingProxy, AskingStyle};
use crate::file::forward_auth::{self as typed, Proxy};

pub(crate) fn check(at: Option<&At<typed::ForwardAuth>>, cx: &mut Cx<'_>) -> Vec<AskingProxy> {
    let Some(typed) = at.and_then(At::get) else { return Vec::new() };
    if let Some(at) = at
        && typed.peers.items.is_empty()
        && typed.peers.whole
        && !cx.is_reported(&at.place)
    {
        cx.error(
            &at.place,
            "`forward_auth` names no proxy that may ask",
            "add `peers: [{ proxy: nginx, addresses: [10.0.0.4] }]`, or remove it",
        );
    }
    let mut found = Vec::new();
    for (place, peer) in typed.peers.iter() {
        if peer.addresses.items.is_empty() && peer.addresses.whole {
            cx.error(place, "this peer has no addresses", "add `addresses: [10.0.0.4]`: where the proxy connects from");
        }
        let addresses = proxies(&peer.addresses, "name the addresses that the asking proxy connects from", cx);
        let style = match peer.proxy.get() {
            Some(Proxy::Nginx | Proxy::Apache) => AskingStyle::XOriginal,
            Some(Proxy::Traefik | Proxy::Caddy) => AskingStyle::XForwarded,
            Some(Proxy::Envoy) => AskingStyle::Grpc,
            None => continue,
        };
        found.push(AskingProxy { style, addresses });
    }
    found
}
