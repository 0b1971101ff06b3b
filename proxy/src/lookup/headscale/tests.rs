use super::*;
use crate::lookup::directory::Failure;
use crate::lookup::polled::Fetch;
use async_trait::async_trait;
use std::time::Duration;
use torhaus_config::{PolledApi, Secret};

const MINUTE: Duration = Duration::from_secs(60);

fn config(user_attribute: HeadscaleUser, first: bool) -> torhaus_config::Headscale {
    torhaus_config::Headscale {
        url: "https://hs.example.test".parse().unwrap(),
        api_key: Secret::new("key".into()),
        provider: "corp".into(),
        first,
        user_attribute,
        networks: vec!["100.64.0.0/10".parse().unwrap(), "fd7a:115c:a1e0::/48".parse().unwrap()],
        polled: PolledApi { ca_file: None, poll: MINUTE, max_stale: MINUTE * 5, timeout: MINUTE },
    }
}

fn node(name: &str, addresses: &[&str], change: impl FnOnce(&mut Node)) -> Node {
    let mut node = Node {
        name: name.into(),
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        user: Some(User { name: "alice".into(), email: "alice@example.test".into(), ..User::default() }),
        tags: Vec::new(),
        expiry: None,
        routes: false,
    };
    change(&mut node);
    node
}

struct Says(Vec<Node>);

#[async_trait]
impl Fetch<Nodes> for Says {
    async fn fetch(&self, _: Timestamp) -> Result<Nodes, Failure> {
        Ok(Nodes::of(self.0.clone(), &config(HeadscaleUser::Name, true)))
    }
}

async fn mesh(nodes: Vec<Node>, now: Timestamp) -> Mesh {
    let config = config(HeadscaleUser::Name, true);
    let polled = Polled::new(&SOURCE.into(), config.polled.clone(), Box::new(Says(nodes)));
    polled.tick(now);
    while polled.get(now).is_err() {
        tokio::task::yield_now().await;
    }
    Mesh { nodes: polled, listeners: vec!["mesh".into()], networks: config.networks }
}

fn find(mesh: &Mesh, listener: &str, address: &str, now: Timestamp) -> Fact<Option<String>> {
    let address = address.parse().unwrap();
    let evidence = Evidence { certificate: Fact::Known(None), names: &[], address, listener };
    mesh.find(&evidence, now).map(|device| device.map(|device| device.id.to_string()))
}

#[tokio::test]
async fn an_address_is_a_node_only_where_it_comes_in_by_the_mesh() {
    let now = crate::clock::now();
    let nodes = vec![
        node("alice-nb", &["100.64.0.7", "fd7a:115c:a1e0::7"], |_| ()),
        node("over", &["100.64.0.8"], |node| node.expiry = Some(now)),
        node("soon", &["100.64.0.9"], |node| node.expiry = Some(now.plus(MINUTE))),
        node("twin-1", &["100.64.0.10"], |_| ()),
        node("twin-2", &["100.64.0.10"], |_| ()),
        node("strange", &["10.1.2.3"], |_| ()),
    ];
    let mesh = mesh(nodes, now).await;
    let is = |name: &str| Fact::Known(Some(name.to_owned()));
    let nobody = Fact::Unknown(Why::NotFound);
    for (listener, address, found) in [
        ("mesh", "100.64.0.7", is("alice-nb")),
        ("mesh", "::ffff:100.64.0.7", is("alice-nb")),
        ("mesh", "fd7a:115c:a1e0::7", is("alice-nb")),
        ("mesh", "100.64.0.99", Fact::Known(None)),
        ("mesh", "100.64.0.8", Fact::Known(None)),
        ("mesh", "100.64.0.9", is("soon")),
        ("mesh", "100.64.0.10", Fact::Unknown(Why::Ambiguous)),
        // Carriers use the same range, and what Headscale says of other addresses is not its to say.
        ("public", "100.64.0.7", nobody.clone()),
        ("forward-auth", "100.64.0.7", nobody.clone()),
        ("mesh", "10.1.2.3", nobody.clone()),
    ] {
        assert_eq!(find(&mesh, listener, address, now), found, "{listener} {address}");
    }
    assert_eq!(find(&mesh, "mesh", "100.64.0.9", now.plus(MINUTE)), Fact::Known(None), "expired meanwhile");
    let late = now.plus(MINUTE * 5 + Duration::from_secs(1));
    assert_eq!(find(&mesh, "mesh", "100.64.0.7", late), Fact::Unknown(Why::Stale));
}

#[test]
fn a_node_is_its_users_unless_it_is_tagged_or_leads_elsewhere() {
    let of = |change: fn(&mut Node), user, first| {
        let device = device(&node("n", &[], change), &config(user, first));
        let Fact::Known(owner) = &device.owner else { panic!("{device:?}") };
        (owner.as_deref().map(str::to_owned), device.tags.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    let (name, email) = (HeadscaleUser::Name, HeadscaleUser::Email);
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(of(|_| (), name, true), (some("alice"), vec![]));
    assert_eq!(of(|_| (), email, true), (some("alice@example.test"), vec![]));
    assert_eq!(of(|_| (), name, false), (some("corp/alice"), vec![]));
    assert_eq!(of(|node| node.user = None, name, true), (None, vec![]));
    let tagged = |node: &mut Node| node.tags = vec!["tag:web".into(), "tag:db".into()];
    assert_eq!(of(tagged, name, true), (None, vec!["tag:db".into(), "tag:web".into()]));
    assert_eq!(of(|node| node.routes = true, name, true), (None, vec![SUBNET_ROUTER.into()]));
}
