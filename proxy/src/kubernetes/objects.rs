//! Objects of the cluster, as far as they concern us. Each is read by itself: one that cannot be read is that one's
//! fault, and stops no other.
use crate::edge::tls;
use k8s_openapi::api::core::v1::{Secret, Service as ApiService};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress as ApiIngress, IngressClass, IngressSpec};
use kube::core::{ApiResource, DynamicObject, ObjectMeta};
use rustls::sign::CertifiedKey;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use torhaus_authz::Timestamp;

/// What an object is called.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Empty for objects of the whole cluster.
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

impl Key {
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    fn of(meta: &ObjectMeta) -> Self {
        Self::new(meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.namespace {
            "" => f.write_str(&self.name),
            namespace => write!(f, "{namespace}/{}", self.name),
        }
    }
}

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Class,
    Ingress,
    Service,
    Slice,
    Secret,
}

impl Kind {
    pub const ALL: [Self; 5] = [Self::Class, Self::Ingress, Self::Service, Self::Slice, Self::Secret];

    /// As `kubectl` and roles call them.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Class => "ingressclasses",
            Self::Ingress => "ingresses",
            Self::Service => "services",
            Self::Slice => "endpointslices",
            Self::Secret => "secrets",
        }
    }

    pub fn resource(self) -> ApiResource {
        match self {
            Self::Class => ApiResource::erase::<IngressClass>(&()),
            Self::Ingress => ApiResource::erase::<ApiIngress>(&()),
            Self::Service => ApiResource::erase::<ApiService>(&()),
            Self::Slice => ApiResource::erase::<EndpointSlice>(&()),
            Self::Secret => ApiResource::erase::<Secret>(&()),
        }
    }

    /// Only what we can use leaves the API server: no tokens, no passwords.
    pub fn fields(self) -> Option<&'static str> {
        (self == Self::Secret).then_some("type=kubernetes.io/tls")
    }
}

/// An object that was read, or why it could not be.
pub enum Object {
    Class(Class),
    Ingress(Ingress),
    Service(Service),
    Slice(Slice),
    Secret(TlsSecret),
    Broken(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    pub controller: String,
    pub is_default: bool,
    /// It asks for parameters, which we know none of.
    pub has_parameters: bool,
}

/// What somebody wrote, and what we wrote about it.
#[derive(Clone, Debug)]
pub struct Ingress {
    pub uid: String,
    /// Another one after every change of the object, and of what is written about it.
    pub version: String,
    /// Seconds since the epoch.
    pub created: i64,
    /// The same value as long as nobody changes it, so that what was made of it is found again.
    pub body: Arc<IngressBody>,
    /// Sorted.
    pub addresses: Vec<Address>,
}

#[derive(Debug, PartialEq)]
pub struct IngressBody {
    pub spec: IngressSpec,
    pub annotations: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
}

/// Where an ingress, or a service, is reached from outside.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Address {
    Ip(String),
    Host(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// `ExternalName`: another name of something that may be anywhere.
    pub is_external: bool,
    /// Its servers are the pods that this selects, and not whatever somebody writes.
    pub has_selector: bool,
    pub ports: Vec<ServicePort>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Empty for the only port of a service.
    pub name: String,
    pub number: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    pub service: Arc<str>,
    /// The cluster itself wrote it from the pods that the service selects.
    pub of_pods: bool,
    pub is_v6: bool,
    pub ports: Vec<ServicePort>,
    pub endpoints: Vec<Endpoint>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub address: IpAddr,
    pub ready: bool,
    pub serving: bool,
    pub terminating: bool,
}

/// A certificate with its key. What cannot be used is kept as the reason.
#[derive(Clone, Debug)]
pub struct TlsSecret {
    pub key: Result<Arc<CertifiedKey>, String>,
    /// DNS names of the certificate.
    pub names: Vec<String>,
    /// `ca.crt`, where it holds a certificate.
    pub authority: Option<Arc<str>>,
    /// To know it again.
    pub version: String,
}

/// Reads one object.
pub fn read(kind: Kind, object: DynamicObject, now: Timestamp) -> (Key, Object) {
    let key = Key::of(&object.metadata);
    let read = match kind {
        Kind::Class => object.try_parse::<IngressClass>().map(|class| Object::Class(class_of(class))),
        Kind::Ingress => object.try_parse::<ApiIngress>().map(|ingress| Object::Ingress(ingress_of(ingress))),
        Kind::Service => object.try_parse::<ApiService>().map(|service| Object::Service(service_of(service))),
        Kind::Slice => object.try_parse::<EndpointSlice>().map(|slice| Object::Slice(slice_of(slice))),
        Kind::Secret => object.try_parse::<Secret>().map(|secret| Object::Secret(secret_of(secret, now))),
    };
    // What stands in a secret is in no message.
    let why = |error: String| if kind == Kind::Secret { "its fields are not those of a secret".into() } else { error };
    (key, read.unwrap_or_else(|error| Object::Broken(why(error.to_string()))))
}

/// Annotation of the class that new ingresses get (set by the API server; without it, by us).
const DEFAULT_CLASS: &str = "ingressclass.kubernetes.io/is-default-class";

fn class_of(class: IngressClass) -> Class {
    let annotations = class.metadata.annotations.unwrap_or_default();
    let spec = class.spec.unwrap_or_default();
    Class {
        controller: spec.controller.unwrap_or_default(),
        is_default: annotations.get(DEFAULT_CLASS).is_some_and(|value| value == "true"),
        has_parameters: spec.parameters.is_some(),
    }
}

pub fn ingress_of(ingress: ApiIngress) -> Ingress {
    let shown = ingress.status.and_then(|status| status.load_balancer?.ingress).unwrap_or_default();
    let addresses = shown.into_iter().filter_map(|shown| match (shown.ip, shown.hostname) {
        (Some(ip), _) => Some(Address::Ip(ip)),
        (None, Some(host)) => Some(Address::Host(host)),
        (None, None) => None,
    });
    let mut addresses: Vec<_> = addresses.collect();
    addresses.sort();
    Ingress {
        uid: ingress.metadata.uid.unwrap_or_default(),
        version: ingress.metadata.resource_version.unwrap_or_default(),
        created: ingress.metadata.creation_timestamp.map_or(i64::MAX, |at| at.0.as_second()),
        addresses,
        body: Arc::new(IngressBody {
            spec: ingress.spec.unwrap_or_default(),
            annotations: ingress.metadata.annotations.unwrap_or_default(),
            labels: ingress.metadata.labels.unwrap_or_default(),
        }),
    }
}

fn service_of(service: ApiService) -> Service {
    let spec = service.spec.unwrap_or_default();
    let tcp = |protocol: &Option<String>| protocol.as_deref().is_none_or(|protocol| protocol == "TCP");
    let ports = spec.ports.unwrap_or_default().into_iter().filter(|port| tcp(&port.protocol));
    Service {
        is_external: spec.type_.as_deref() == Some("ExternalName"),
        has_selector: spec.selector.is_some_and(|selector| !selector.is_empty()),
        ports: ports.filter_map(|port| service_port(port.name, Some(port.port))).collect(),
    }
}

fn service_port(name: Option<String>, number: Option<i32>) -> Option<ServicePort> {
    Some(ServicePort { name: name.unwrap_or_default(), number: u16::try_from(number?).ok().filter(|port| *port > 0)? })
}

/// Where people reach a service, as the cluster says.
pub fn addresses_of(service: ApiService) -> Vec<Address> {
    let balancer = service.status.and_then(|status| status.load_balancer?.ingress).unwrap_or_default();
    let told = balancer.into_iter().filter_map(|told| match (told.ip, told.hostname) {
        (Some(ip), _) => Some(Address::Ip(ip)),
        (None, Some(host)) => Some(Address::Host(host)),
        (None, None) => None,
    });
    let mut told: Vec<_> = told.collect();
    told.sort();
    told.dedup();
    told
}

const SERVICE_LABEL: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const POD_CONTROLLER: &str = "endpointslice-controller.k8s.io";

fn slice_of(slice: EndpointSlice) -> Slice {
    let labels = slice.metadata.labels.unwrap_or_default();
    let endpoints = slice.endpoints.into_iter().filter_map(|endpoint| {
        let conditions = endpoint.conditions.unwrap_or_default();
        // "nil should be interpreted as true" (ready), and serving as ready, in the API's own words.
        let ready = conditions.ready.unwrap_or(true);
        Some(Endpoint {
            address: endpoint.addresses.first()?.parse().ok()?,
            ready,
            serving: conditions.serving.unwrap_or(ready),
            terminating: conditions.terminating.unwrap_or(false),
        })
    });
    let tcp = |protocol: &Option<String>| protocol.as_deref().is_none_or(|protocol| protocol == "TCP");
    let ports = slice.ports.unwrap_or_default().into_iter().filter(|port| tcp(&port.protocol));
    Slice {
        service: labels.get(SERVICE_LABEL).map_or("", String::as_str).into(),
        of_pods: labels.get(MANAGED_BY).is_some_and(|by| by == POD_CONTROLLER),
        is_v6: slice.address_type == "IPv6",
        endpoints: endpoints.collect(),
        ports: ports.filter_map(|port| service_port(port.name, port.port)).collect(),
    }
}

fn secret_of(secret: Secret, now: Timestamp) -> TlsSecret {
    let data = secret.data.unwrap_or_default();
    let part = |name: &str| data.get(name).map(|bytes| bytes.0.as_slice()).unwrap_or_default();
    let (key, names) = match tls::from_pem(part("tls.crt"), part("tls.key"), now) {
        Ok((key, names)) => (Ok(key), names),
        Err(why) => (Err(why), Vec::new()),
    };
    let authority = std::str::from_utf8(part("ca.crt")).ok().filter(|pem| tls::is_authorities(pem));
    TlsSecret {
        key,
        names,
        authority: authority.map(Into::into),
        version: secret.metadata.resource_version.unwrap_or_default(),
    }
}
