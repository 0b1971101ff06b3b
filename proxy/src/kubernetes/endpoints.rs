//! The servers of a service: the pods that it selects and that are ready, as the cluster's own slices name them.
//!
//! A service without a selector is refused, and so is `ExternalName`: its addresses are whatever somebody wrote, another
//! namespace's pods or the API server among them (CVE-2021-25740).
use super::objects::{Endpoint, Key, Service, ServicePort, Slice};
use super::world::World;
use k8s_openapi::api::networking::v1::ServiceBackendPort;
use std::net::{IpAddr, SocketAddr};

/// A port of a service, as an ingress names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Port {
    Number(u16),
    Name(String),
}

impl Port {
    /// # Errors
    /// Neither a name nor a number from 1 to 65535; in words.
    pub fn of(port: Option<&ServiceBackendPort>) -> Result<Self, String> {
        let wrong = || "a backend names no port of its service; give `port.number` or `port.name`".to_owned();
        let port = port.ok_or_else(wrong)?;
        match (&port.name, port.number) {
            (Some(name), _) if !name.is_empty() => Ok(Self::Name(name.clone())),
            (_, Some(number)) => {
                u16::try_from(number).ok().filter(|number| *number > 0).map(Self::Number).ok_or_else(wrong)
            }
            _ => Err(wrong()),
        }
    }

    fn is(&self, port: &ServicePort) -> bool {
        match self {
            Self::Number(number) => port.number == *number,
            Self::Name(name) => port.name == *name,
        }
    }
}

impl std::fmt::Display for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// Where requests for a service go, in an order that does not change by itself. Empty: nobody is ready.
///
/// # Errors
/// The service is not there, has no such port, or may not be one; in words.
pub fn of(world: &World, service: &Key, port: &Port, loopback: bool) -> Result<Vec<SocketAddr>, String> {
    let found = world.services.get(service).ok_or_else(|| format!("there is no service `{}`", service.name))?;
    may_be_served(found, service)?;
    let port = found.ports.iter().find(|own| port.is(own)).ok_or_else(|| {
        let ports: Vec<String> = found.ports.iter().map(|own| format!("{} {}", own.number, own.name)).collect();
        format!("service `{}` has no port `{port}` (TCP); it has {}", service.name, ports.join(", "))
    })?;
    let of_pods = || world.slices_of(service).filter(|slice| slice.of_pods);
    let any_v4 = of_pods().any(|slice| !slice.is_v6 && !slice.endpoints.is_empty());
    // A pod with two addresses is one server.
    let slices = of_pods().filter(|slice| slice.is_v6 != any_v4);
    let all: Vec<(SocketAddr, &Endpoint)> = slices.flat_map(|slice| with_port(slice, port, loopback)).collect();
    let ready = |endpoint: &Endpoint| endpoint.ready && !endpoint.terminating;
    // While all are on their way out, those that still answer are better than none.
    let leaving = |endpoint: &Endpoint| endpoint.serving && endpoint.terminating;
    let mut servers: Vec<SocketAddr> = all.iter().filter(|(_, one)| ready(one)).map(|(address, _)| *address).collect();
    if servers.is_empty() {
        servers = all.iter().filter(|(_, one)| leaving(one)).map(|(address, _)| *address).collect();
    }
    servers.sort_unstable();
    servers.dedup();
    Ok(servers)
}

fn may_be_served(service: &Service, key: &Key) -> Result<(), String> {
    if service.is_external {
        return Err(format!("service `{}` is an ExternalName, which may lead anywhere", key.name));
    }
    if !service.has_selector {
        return Err(format!("service `{}` selects no pods, so its endpoints may be anybody's", key.name));
    }
    Ok(())
}

fn with_port<'a>(
    slice: &'a Slice,
    port: &'a ServicePort,
    loopback: bool,
) -> impl Iterator<Item = (SocketAddr, &'a Endpoint)> {
    let number = slice.ports.iter().find(|own| own.name == port.name).map(|own| own.number);
    let endpoints = slice.endpoints.iter().filter(move |endpoint| is_of_a_pod(endpoint.address, loopback));
    endpoints.filter_map(move |endpoint| Some((SocketAddr::new(endpoint.address, number?), endpoint)))
}

/// No pod has an address of the machine itself, of nobody, or of a link (where clouds keep credentials).
fn is_of_a_pod(address: IpAddr, loopback: bool) -> bool {
    let address = address.to_canonical();
    let of_a_link = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !of_a_link && !address.is_unspecified() && !address.is_multicast() && (loopback || !address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::super::objects::{Kind, Object};
    use super::super::world::{Scope, Seen};
    use super::*;

    fn endpoint(address: &str, ready: bool, serving: bool, terminating: bool) -> Endpoint {
        Endpoint { address: address.parse().unwrap(), ready, serving, terminating }
    }

    fn world(endpoints: Vec<Endpoint>, change: impl Fn(&mut Service, &mut Slice)) -> World {
        let ports = |number| vec![ServicePort { name: "web".into(), number }];
        let mut service = Service { is_external: false, has_selector: true, ports: ports(80) };
        let mut slice = Slice { service: "app".into(), of_pods: true, is_v6: false, ports: ports(8080), endpoints };
        change(&mut service, &mut slice);
        let mut world = World::default();
        let scope = |kind| Scope { watch: 0, kind, namespace: None };
        world.take(&scope(Kind::Service), Seen::Changed(Key::new("a", "app"), Object::Service(service)));
        world.take(&scope(Kind::Slice), Seen::Changed(Key::new("a", "app-1"), Object::Slice(slice)));
        world
    }

    fn found(world: &World, port: Port) -> Result<String, String> {
        let servers = of(world, &Key::new("a", "app"), &port, false)?;
        Ok(servers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn those_that_are_ready_get_requests_and_while_none_is_those_that_leave() {
        let named = || Port::Name("web".into());
        let all = vec![
            endpoint("10.0.0.2", true, true, false),
            endpoint("10.0.0.1", true, true, false),
            endpoint("10.0.0.3", false, true, true),
            endpoint("10.0.0.4", false, false, false),
        ];
        assert_eq!(found(&world(all.clone(), |_, _| {}), named()), Ok("10.0.0.1:8080 10.0.0.2:8080".into()));
        assert_eq!(found(&world(all.clone(), |_, _| {}), Port::Number(80)), Ok("10.0.0.1:8080 10.0.0.2:8080".into()));
        assert_eq!(found(&world(all[2..].to_vec(), |_, _| {}), named()), Ok("10.0.0.3:8080".into()));
        assert_eq!(found(&world(all[3..].to_vec(), |_, _| {}), named()), Ok(String::new()));
        assert!(found(&world(all, |_, _| {}), Port::Number(8080)).unwrap_err().contains("no port `8080`"));
    }

    #[test]
    fn nobody_can_write_where_requests_go() {
        let pod = || vec![endpoint("10.0.0.1", true, true, false)];
        let port = || Port::Number(80);
        let refused = |change: fn(&mut Service, &mut Slice)| found(&world(pod(), change), port());
        assert!(refused(|service, _| service.is_external = true).unwrap_err().contains("ExternalName"));
        assert!(refused(|service, _| service.has_selector = false).unwrap_err().contains("selects no pods"));
        assert_eq!(
            refused(|_, slice| slice.of_pods = false),
            Ok(String::new()),
            "a slice that the cluster did not write"
        );
        for address in ["127.0.0.1", "::1", "169.254.169.254", "0.0.0.0", "224.0.0.1", "fe80::1", "::ffff:127.0.0.1"] {
            let endpoints = vec![endpoint(address, true, true, false)];
            assert_eq!(found(&world(endpoints, |_, _| {}), port()), Ok(String::new()), "{address}");
        }
    }
}
