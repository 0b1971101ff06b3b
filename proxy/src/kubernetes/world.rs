//! What is known of the cluster. A listing replaces what was known of its kind at once, when it is complete; until then,
//! and while the API does not answer, the last that was known stays.
use super::objects::{Address, Class, Ingress, Key, Kind, Object, Service, Slice, TlsSecret};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

#[derive(Default)]
pub struct World {
    pub classes: HashMap<Arc<str>, Class>,
    pub ingresses: HashMap<Key, Ingress>,
    pub services: HashMap<Key, Service>,
    pub secrets: HashMap<Key, TlsSecret>,
    slices: HashMap<Key, Slice>,
    /// Slices of each service, in the order of their names.
    slices_of: HashMap<Key, BTreeSet<Key>>,
    /// Objects that cannot be read, and why.
    pub broken: BTreeMap<(Kind, Key), String>,
    /// Of the service that says where we are reached.
    pub published: Vec<Address>,
    /// Counts changes of each service, its endpoints included, and of each secret.
    versions: HashMap<(Kind, Key), u64>,
    /// Listings that are not complete yet, by watch.
    listings: HashMap<usize, Vec<(Key, Object)>>,
}

/// One thing that a watch saw.
pub enum Seen {
    ListingBegins,
    Listed(Key, Object),
    ListingEnds,
    Changed(Key, Object),
    Gone(Key),
}

/// A watch: of one kind, in one namespace or in all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    pub watch: usize,
    pub kind: Kind,
    pub namespace: Option<Arc<str>>,
}

impl World {
    /// Takes in what a watch saw. True: something may have to be served otherwise.
    pub fn take(&mut self, scope: &Scope, seen: Seen) -> bool {
        match seen {
            Seen::ListingBegins => {
                self.listings.insert(scope.watch, Vec::new());
                false
            }
            Seen::Listed(key, object) => {
                self.listings.entry(scope.watch).or_default().push((key, object));
                false
            }
            Seen::ListingEnds => {
                let listed = self.listings.remove(&scope.watch).unwrap_or_default();
                let there: BTreeSet<&Key> = listed.iter().map(|(key, _)| key).collect();
                let gone: Vec<Key> = self.keys(scope).into_iter().filter(|key| !there.contains(key)).collect();
                let mut changed = false;
                for key in gone {
                    changed |= self.remove(scope.kind, &key);
                }
                for (key, object) in listed {
                    changed |= self.put(key, object, scope.kind);
                }
                changed
            }
            Seen::Changed(key, object) => self.put(key, object, scope.kind),
            Seen::Gone(key) => self.remove(scope.kind, &key),
        }
    }

    fn keys(&self, scope: &Scope) -> Vec<Key> {
        let inside = |key: &&Key| scope.namespace.as_ref().is_none_or(|namespace| *namespace == key.namespace);
        let known: Vec<Key> = match scope.kind {
            Kind::Class => self.classes.keys().map(|name| Key { namespace: "".into(), name: name.clone() }).collect(),
            Kind::Ingress => self.ingresses.keys().filter(inside).cloned().collect(),
            Kind::Service => self.services.keys().filter(inside).cloned().collect(),
            Kind::Slice => self.slices.keys().filter(inside).cloned().collect(),
            Kind::Secret => self.secrets.keys().filter(inside).cloned().collect(),
        };
        let broken = self.broken.keys().filter(|(kind, key)| *kind == scope.kind && inside(&key));
        known.into_iter().chain(broken.map(|(_, key)| key.clone())).collect()
    }

    fn put(&mut self, key: Key, object: Object, kind: Kind) -> bool {
        if !matches!(object, Object::Broken(_)) {
            self.broken.remove(&(kind, key.clone()));
        }
        match object {
            Object::Broken(why) => {
                // What it was before may have been changed for a reason.
                self.remove(kind, &key);
                self.broken.insert((kind, key), why);
                true
            }
            Object::Class(class) => self.classes.insert(key.name, class.clone()).as_ref() != Some(&class),
            Object::Ingress(mut ingress) => {
                let before = self.ingresses.get(&key);
                let same = before.filter(|before| before.uid == ingress.uid && before.body == ingress.body);
                let same = same.map(|before| before.body.clone());
                let changed = same.is_none();
                if let Some(body) = same {
                    ingress.body = body;
                }
                self.ingresses.insert(key, ingress);
                changed
            }
            Object::Service(service) => {
                let changed = self.services.get(&key) != Some(&service);
                self.services.insert(key.clone(), service);
                changed && self.touch(Kind::Service, key)
            }
            Object::Slice(slice) => {
                if self.slices.get(&key) == Some(&slice) {
                    return false;
                }
                self.remove(Kind::Slice, &key);
                let service = Key { namespace: key.namespace.clone(), name: slice.service.clone() };
                self.slices_of.entry(service.clone()).or_default().insert(key.clone());
                self.slices.insert(key, slice);
                self.touch(Kind::Service, service)
            }
            Object::Secret(secret) => self.put_secret(key, secret),
        }
    }

    /// One that cannot be used takes nothing away: what it was before serves on, and the reason is kept.
    fn put_secret(&mut self, key: Key, secret: TlsSecret) -> bool {
        let before = self.secrets.get(&key);
        if before.is_some_and(|before| before.version == secret.version && !secret.version.is_empty()) {
            return false;
        }
        match (before, &secret.key) {
            (Some(good), Err(why)) if good.key.is_ok() => {
                self.broken.insert((Kind::Secret, key.clone()), format!("{why}; the one before is served on"));
            }
            _ => {
                self.secrets.insert(key.clone(), secret);
            }
        }
        self.touch(Kind::Secret, key)
    }

    fn remove(&mut self, kind: Kind, key: &Key) -> bool {
        self.broken.remove(&(kind, key.clone()));
        match kind {
            Kind::Class => self.classes.remove(&key.name).is_some(),
            Kind::Ingress => self.ingresses.remove(key).is_some(),
            Kind::Service => self.services.remove(key).is_some() && self.touch(Kind::Service, key.clone()),
            Kind::Secret => self.secrets.remove(key).is_some() && self.touch(Kind::Secret, key.clone()),
            Kind::Slice => {
                let Some(slice) = self.slices.remove(key) else { return false };
                let service = Key { namespace: key.namespace.clone(), name: slice.service };
                if let Some(slices) = self.slices_of.get_mut(&service) {
                    slices.remove(key);
                    if slices.is_empty() {
                        self.slices_of.remove(&service);
                    }
                }
                self.touch(Kind::Service, service)
            }
        }
    }

    fn touch(&mut self, kind: Kind, key: Key) -> bool {
        *self.versions.entry((kind, key)).or_default() += 1;
        true
    }

    /// Another number after every change of a service, its endpoints included, or of a secret.
    pub fn version(&self, kind: Kind, key: &Key) -> u64 {
        self.versions.get(&(kind, key.clone())).copied().unwrap_or_default()
    }

    pub fn slices_of(&self, service: &Key) -> impl Iterator<Item = &Slice> {
        self.slices_of.get(service).into_iter().flatten().filter_map(|key| self.slices.get(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(controller: &str) -> Object {
        Object::Class(Class { controller: controller.into(), is_default: false, has_parameters: false })
    }

    #[test]
    fn a_listing_counts_when_it_is_complete_and_takes_away_what_is_not_in_it() {
        let mut world = World::default();
        let scope = Scope { watch: 0, kind: Kind::Class, namespace: None };
        let key = |name: &str| Key::new("", name);
        let list = |world: &mut World, names: &[&str]| {
            world.take(&scope, Seen::ListingBegins);
            for name in names {
                world.take(&scope, Seen::Listed(key(name), class("a.test/x")));
            }
        };
        list(&mut world, &["one", "two"]);
        assert!(world.classes.is_empty(), "not complete yet");
        assert!(world.take(&scope, Seen::ListingEnds));
        list(&mut world, &["two"]);
        assert_eq!(world.classes.len(), 2, "the last that was known stays");
        assert!(world.take(&scope, Seen::ListingEnds));
        assert_eq!(world.classes.keys().map(|name| &**name).collect::<Vec<_>>(), ["two"]);
        assert!(!world.take(&scope, Seen::Changed(key("two"), class("a.test/x"))), "nothing new");
        assert!(world.take(&scope, Seen::Changed(key("bad"), Object::Broken("why".into()))));
        assert_eq!(world.broken.len(), 1);
        list(&mut world, &["two"]);
        world.take(&scope, Seen::ListingEnds);
        assert!(world.broken.is_empty(), "a broken object that is gone is forgotten");
    }

    #[test]
    fn a_watch_of_one_namespace_takes_nothing_away_from_another() {
        let mut world = World::default();
        let service = || Object::Service(Service { is_external: false, has_selector: true, ports: Vec::new() });
        let scope = |watch, namespace: &str| Scope { watch, kind: Kind::Service, namespace: Some(namespace.into()) };
        for (watch, namespace) in [(0, "a"), (1, "b")] {
            let scope = scope(watch, namespace);
            world.take(&scope, Seen::ListingBegins);
            world.take(&scope, Seen::Listed(Key::new(namespace, "s"), service()));
            world.take(&scope, Seen::ListingEnds);
        }
        world.take(&scope(1, "b"), Seen::ListingBegins);
        world.take(&scope(1, "b"), Seen::ListingEnds);
        assert_eq!(world.services.keys().map(ToString::to_string).collect::<Vec<_>>(), ["a/s"]);
    }
}
