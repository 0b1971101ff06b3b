//! `kubernetes`: which ingresses are ours, and what each namespace may do. Nothing is asked of a cluster here.
use super::{Cx, default, host, resolve};
use crate::at::{At, List};
use crate::config::{HostPattern, Kubernetes, Namespace, Publish};
use crate::file;
use crate::file::kubernetes as typed;
use crate::units::Mistake;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// All namespaces that are not named.
pub(crate) const EVERY: &str = "*";

/// The outer `None` is one that was there and wrong.
pub(crate) fn check(tree: &file::Torhaus, cx: &mut Cx<'_>) -> Option<Option<Kubernetes>> {
    let Some(at) = &tree.kubernetes else { return Some(None) };
    let typed = at.get()?;
    let controller = cx.parse_or(typed.controller.as_ref(), default::CONTROLLER.to_owned(), controller);
    let lease = cx.parse_or(typed.lease.as_ref(), default::LEASE.to_owned(), |text| name(text, "a lease"));
    let publish = publish(typed, cx);
    let namespaces = namespaces(typed, cx);
    // Read by the client of the cluster, which also knows the ways of a pod.
    let kubeconfig_file = typed.kubeconfig_file.as_ref().and_then(At::text).map(|text| resolve(cx.base, text));
    Some(Some(Kubernetes {
        controller: controller?,
        lease: lease?,
        kubeconfig_file,
        publish: publish?,
        namespaces: namespaces?,
        loopback_endpoints: typed.danger_loopback_endpoints.as_ref().is_some_and(|at| at.get() == Some(&true)),
    }))
}

/// `example.com/ingress`, as `spec.controller` of an IngressClass.
fn controller(text: &str) -> Result<String, Mistake> {
    let wrong = || Mistake::new(format!("`{text}` is no controller name")).hint("as in `torhaus.dev/ingress`");
    let (domain, path) = text.split_once('/').ok_or_else(wrong)?;
    let plain = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'/' | b'_'))
    };
    if text.len() <= 250 && domain.contains('.') && plain(domain) && plain(path) {
        return Ok(text.to_owned());
    }
    Err(wrong())
}

/// The name of an object (RFC 1123 section 2.1, as Kubernetes takes it).
fn name(text: &str, what: &str) -> Result<String, Mistake> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
    if !text.is_empty() && text.len() <= 253 && text.bytes().all(plain) {
        return Ok(text.to_owned());
    }
    Err(Mistake::new(format!("`{text}` is not the name of {what}")).hint("use small letters, digits, `-` and `.`"))
}

fn publish(typed: &typed::Kubernetes, cx: &mut Cx<'_>) -> Option<Publish> {
    let service = typed.publish_service.as_ref();
    if let (Some(at), false) = (service, typed.publish_addresses.items.is_empty()) {
        let hint = "keep one: the addresses of a service, or a list";
        cx.error(&at.place, "`publish_service` and `publish_addresses` say different things", hint);
        return None;
    }
    if let Some(at) = service {
        return cx.parse(at, |text| {
            let wrong = || Mistake::new(format!("`{text}` is not a service")).hint("write `NAMESPACE/NAME`");
            let (namespace, service) = text.split_once('/').ok_or_else(wrong)?;
            let name = |text| name(text, "a service");
            Ok(Publish::Service { namespace: name(namespace)?, name: name(service)? })
        });
    }
    let addresses = each(&typed.publish_addresses, cx, |text| match text.parse::<IpAddr>() {
        Ok(address) => Ok(address.to_string()),
        Err(_) => match host::pattern(text)? {
            HostPattern::Exact(host) => Ok(host),
            _ => Err(Mistake::new(format!("`{text}` is not one address")).hint("write an address or a host name")),
        },
    })?;
    Some(if addresses.is_empty() { Publish::Nothing } else { Publish::Addresses(addresses) })
}

fn namespaces(typed: &typed::Kubernetes, cx: &mut Cx<'_>) -> Option<BTreeMap<String, Namespace>> {
    let mut whole = typed.namespaces.whole;
    let mut found = BTreeMap::new();
    for (key, at) in &typed.namespaces.entries {
        let named = cx.parse(key, |text| match text {
            EVERY => Ok(EVERY.to_owned()),
            text => name(text, "a namespace"),
        });
        let granted = at.get().and_then(|typed| {
            let resources = each(&typed.resources, cx, |text| Ok(text.into()));
            let hosts = each(&typed.hosts, cx, host::pattern);
            let any_host = typed.any_host.as_ref().map_or(Some(false), |at| at.get().copied());
            Some(Namespace { resources: resources?, hosts: hosts?, any_host: any_host? })
        });
        match (named, granted) {
            (Some(named), Some(granted)) => {
                if named == EVERY && granted.any_host {
                    let hint = "name the namespace that answers for hosts which nobody else has";
                    cx.error(&key.place, "every namespace cannot have every host", hint);
                    whole = false;
                }
                found.insert(named, granted);
            }
            _ => whole = false,
        }
    }
    if typed.namespaces.place.is_none() {
        found.insert(EVERY.to_owned(), Namespace::default());
    }
    whole.then_some(found)
}

fn each<T>(list: &List<String>, cx: &mut Cx<'_>, parse: impl Fn(&str) -> Result<T, Mistake>) -> Option<Vec<T>> {
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
