//! Objects of a cluster, as short as a test can say them.
use crate::harness::pki::{Identity, now};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use torhaus_certs::{Authority, LeafRequest};

pub const CONTROLLER: &str = "torhaus.dev/ingress";

pub fn class(name: &str, controller: &str) -> Value {
    json!({ "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": { "name": name },
        "spec": { "controller": controller } })
}

/// A service that selects pods, and a slice of the cluster's own for each of them.
pub fn service(namespace: &str, name: &str, pods: &[u16]) -> Vec<Value> {
    let service = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "namespace": namespace, "name": name },
        "spec": { "selector": { "app": name }, "ports": [{ "name": "web", "port": 80, "targetPort": 8080 }] } });
    let pod = |(at, port): (usize, &u16)| slice(namespace, name, at, *port, json!({ "ready": true }));
    [service].into_iter().chain(pods.iter().enumerate().map(pod)).collect()
}

pub fn slice(namespace: &str, service: &str, at: usize, port: u16, conditions: Value) -> Value {
    let labels = json!({ "kubernetes.io/service-name": service,
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io" });
    json!({ "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": { "namespace": namespace, "name": format!("{service}-{at}"), "labels": labels },
        "addressType": "IPv4", "ports": [{ "name": "web", "port": port }],
        "endpoints": [{ "addresses": ["127.0.0.1"], "conditions": conditions }] })
}

/// `rules`: host, path, path type, service.
pub fn ingress(namespace: &str, name: &str, rules: &[(&str, &str, &str, &str)]) -> Value {
    let rule = |(host, path, kind, service): &(&str, &str, &str, &str)| {
        let mut rule =
            json!({ "http": { "paths": [{ "path": path, "pathType": kind, "backend": backend(service) }] } });
        if !host.is_empty() {
            rule["host"] = json!(host);
        }
        rule
    };
    json!({ "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": { "namespace": namespace, "name": name, "annotations": {}, "labels": {} },
        "spec": { "ingressClassName": "torhaus", "rules": rules.iter().map(rule).collect::<Vec<_>>() } })
}

pub fn backend(service: &str) -> Value {
    json!({ "service": { "name": service, "port": { "number": 80 } } })
}

/// Changes one thing of an object.
pub fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    let (parent, last) = pointer.rsplit_once('/').unwrap();
    object.pointer_mut(parent).unwrap()[last.replace("~1", "/")] = value;
    object
}

pub fn annotated(object: Value, name: &str, value: &str) -> Value {
    with(object, &format!("/metadata/annotations/{}", name.replace('/', "~1")), json!(value))
}

pub fn created(object: Value, at: &str) -> Value {
    with(object, "/metadata/creationTimestamp", json!(at))
}

pub fn secret(namespace: &str, name: &str, of: &Identity) -> Value {
    let data = |text: &str| BASE64_STANDARD.encode(text);
    json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "namespace": namespace, "name": name },
        "type": "kubernetes.io/tls", "data": { "tls.crt": data(&of.cert_pem), "tls.key": data(&of.key_pem) } })
}

pub fn certificate(authority: &Authority, hosts: &[&str]) -> Identity {
    let names = hosts.iter().map(ToString::to_string);
    authority.issue(&LeafRequest::server(names).valid_for(time::Duration::days(1)), now()).unwrap().into()
}
