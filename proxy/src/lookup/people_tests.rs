//! What is kept of a directory's answers, and what is made of its silence.
use super::directory::{Directory, Failure, Person, Standing};
use super::people::{People, Seen};
use async_trait::async_trait;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use torhaus_authz::{Fact, Name, Timestamp, User, Why};
use torhaus_config::{Authentik, DirectorySource, GroupName, GroupsBy, Ldap, LdapSchema, Secret};

const NOW: Timestamp = Timestamp::from_seconds(1_795_392_000);
const STALE: Duration = Duration::from_secs(300);

/// Says what it is told to, and counts the questions.
#[derive(Default)]
struct Fake {
    people: Mutex<HashMap<Name, Person>>,
    questions: AtomicUsize,
    fails: Mutex<bool>,
    /// Answers wait for this.
    gate: tokio::sync::RwLock<()>,
}

#[async_trait]
impl Directory for Fake {
    async fn ask(&self, names: &[Name], _: Timestamp) -> Result<Vec<Option<Person>>, Failure> {
        self.questions.fetch_add(1, Ordering::SeqCst);
        drop(self.gate.read().await);
        if *self.fails.lock().unwrap() {
            return Err(Failure::Timeout("`ldaps://dc`".to_owned()));
        }
        let people = self.people.lock().unwrap();
        Ok(names.iter().map(|name| people.get(name).cloned()).collect())
    }
}

impl Fake {
    fn with(names: &[&str]) -> Arc<Self> {
        let fake = Self::default();
        for name in names {
            fake.set(name, Standing::Active, &["staff"]);
        }
        Arc::new(fake)
    }

    fn set(&self, name: &str, standing: Standing, groups: &[&str]) {
        let person = Person { standing, groups: Arc::new(groups.iter().copied().collect()), password_set: None };
        self.people.lock().unwrap().insert(name.into(), person);
    }

    fn remove(&self, names: &[&str]) {
        self.people.lock().unwrap().retain(|name, _| !names.contains(&&**name));
    }

    fn questions(&self) -> usize {
        self.questions.load(Ordering::SeqCst)
    }
}

fn people(source: &Arc<Fake>, first: bool) -> Arc<People> {
    let config = torhaus_config::Directory {
        provider: "corp".into(),
        first,
        poll: Duration::from_secs(30),
        max_stale: STALE,
        // No test waits for it.
        timeout: Duration::from_secs(60),
        source: DirectorySource::Ldap(Arc::new(Ldap {
            urls: vec!["ldaps://dc.example.test".parse().unwrap()],
            ca_file: "ca.pem".into(),
            bind_dn: "svc".to_owned(),
            bind_password: Secret::new("secret".to_owned()),
            base_dn: "DC=example".to_owned(),
            group_base_dn: "DC=example".to_owned(),
            schema: LdapSchema::ActiveDirectory,
            user_attribute: "sAMAccountName".to_owned(),
            user_filter: "(a=b)".to_owned(),
            group_filter: "(a=b)".to_owned(),
            group_name: GroupName::Dn,
            member_attribute: "member".to_owned(),
            groups_by: GroupsBy::Member,
            nested_groups: true,
        })),
    };
    People::asking(Arc::new(config), source.clone())
}

#[test]
fn a_directory_that_cannot_be_used_is_named_by_its_own_key() {
    let ldap = Arc::clone(&people(&Fake::with(&[]), true).config);
    let authentik = DirectorySource::Authentik(Arc::new(Authentik {
        url: "https://authentik.example.test".parse().unwrap(),
        ca_file: Some("/nowhere/ca.pem".into()),
        token: Secret::new("secret".to_owned()),
    }));
    let provider = "corp".into();
    let torhaus_config::Directory { first, poll, max_stale, timeout, .. } = *ldap;
    let authentik =
        Arc::new(torhaus_config::Directory { provider, first, poll, max_stale, timeout, source: authentik });
    for (directory, key) in [(ldap, "lookups.ldap: `ca_file`: "), (authentik, "lookups.authentik: `ca_file`: ")] {
        let Err(why) = People::of(Some(&directory), None) else { panic!("{key} is there") };
        assert!(why.starts_with(key), "{why}");
    }
}

fn names(names: &[&str]) -> Vec<Name> {
    names.iter().map(|name| Name::from(*name)).collect()
}

async fn is_out(people: &People, name: &str) -> Option<&'static str> {
    people.known(&name.into(), NOW).await.unwrap().is_out()
}

#[tokio::test]
async fn of_many_who_ask_about_somebody_new_one_does_and_then_nobody() {
    let source = Fake::with(&["alice"]);
    let people = people(&source, true);
    let held = source.gate.write().await;
    let asking: Vec<_> = (0..50)
        .map(|_| {
            let people = people.clone();
            tokio::spawn(async move { people.about(&"alice".into(), NOW).await })
        })
        .collect();
    while source.questions() == 0 {
        tokio::task::yield_now().await;
    }
    drop(held);
    for answer in asking {
        let seen = answer.await.unwrap();
        assert!(matches!(seen, Seen::Person(_)), "{seen:?}");
    }
    assert!(matches!(people.about(&"alice".into(), NOW).await, Seen::Person(_)));
    assert_eq!(source.questions(), 1);
}

#[tokio::test]
async fn an_answer_that_is_too_old_is_unknown_and_not_no_groups() {
    let source = Fake::with(&["alice"]);
    let people = people(&source, true);
    people.refresh(names(&["alice"]), NOW).await.unwrap();
    let seen = async |after| people.about(&"alice".into(), NOW.plus(after)).await.groups();
    assert!(matches!(seen(STALE).await, Fact::Known(groups) if groups.contains("staff")));
    *source.fails.lock().unwrap() = true;
    people.refresh(names(&["alice"]), NOW).await.unwrap_err();
    assert_eq!(seen(STALE + Duration::from_millis(1)).await, Fact::Unknown(Why::Stale));
}

#[tokio::test]
async fn nobody_waits_for_a_directory_that_is_known_to_fail() {
    let source = Fake::with(&["alice"]);
    *source.fails.lock().unwrap() = true;
    let people = people(&source, true);
    assert_eq!(people.about(&"alice".into(), NOW).await, Seen::Unknown(Why::SourceDown));
    let asked = source.questions();
    for _ in 0..100 {
        assert_eq!(people.about(&"alice".into(), NOW).await, Seen::Unknown(Why::SourceDown));
        assert_eq!(people.afresh(&"alice".into(), NOW).await, Seen::Unknown(Why::SourceDown));
    }
    assert_eq!(source.questions(), asked);
    *source.fails.lock().unwrap() = false;
    people.refresh(names(&[]), NOW).await.unwrap();
    assert_eq!(source.questions(), asked + 1, "the poll finds out, even if nobody is signed in");
    assert!(matches!(people.about(&"alice".into(), NOW).await, Seen::Person(_)));
}

#[tokio::test]
async fn who_is_gone_is_out_and_who_never_was_there_is_unknown() {
    let source = Fake::with(&["alice", "bob"]);
    let people = people(&source, true);
    let all = names(&["alice", "bob", "carol"]);
    people.refresh(all.clone(), NOW).await.unwrap();
    source.remove(&["alice"]);
    let before = source.questions();
    people.refresh(all.clone(), NOW).await.unwrap();
    assert_eq!(source.questions(), before + 2, "asked once more before a session ends by it");
    assert_eq!(is_out(&people, "alice").await, Some("not there any more"));
    assert_eq!((is_out(&people, "bob").await, is_out(&people, "carol").await), (None, None));
    assert_eq!(people.about(&"carol".into(), NOW).await.groups(), Fact::Unknown(Why::NotFound));
    people.refresh(all, NOW).await.unwrap();
    assert_eq!(is_out(&people, "alice").await, Some("not there any more"), "and stays so");
}

#[tokio::test]
async fn a_directory_that_has_lost_everybody_is_not_believed() {
    let source = Fake::with(&["alice", "bob", "carol"]);
    let people = people(&source, true);
    let all = names(&["alice", "bob", "carol"]);
    people.refresh(all.clone(), NOW).await.unwrap();
    source.remove(&["alice", "bob", "carol"]);
    assert_eq!(people.refresh(all, NOW).await, Err(Failure::Emptied(3)));
    assert_eq!(is_out(&people, "alice").await, None);
    assert!(people.health.is_failing());
}

#[tokio::test]
async fn what_the_directory_says_at_a_login_is_of_this_moment() {
    let source = Fake::with(&["alice"]);
    let people = people(&source, true);
    people.refresh(names(&["alice"]), NOW).await.unwrap();
    for standing in [Standing::Disabled, Standing::Expired, Standing::Locked] {
        source.set("alice", standing, &["staff"]);
        assert_eq!(people.afresh(&"alice".into(), NOW).await.is_out(), Some(standing.describe()));
    }
}

#[test]
fn a_directory_answers_for_the_people_of_its_provider_alone() {
    let user = |name: &str, provider: &str| User {
        name: name.into(),
        provider: provider.into(),
        issuer: "https://idp".into(),
        subject: "1".into(),
        federated: false,
    };
    let source = Fake::with(&[]);
    let first = people(&source, true);
    assert_eq!(first.name_of(&user("alice", "corp")).as_deref(), Some("alice"));
    assert_eq!(first.name_of(&user("partner/alice", "partner")), None);
    let other = people(&source, false);
    assert_eq!(other.name_of(&user("corp/alice", "corp")).as_deref(), Some("alice"));
    assert_eq!(other.name_of(&user("alice", "corp")), None);
}

#[tokio::test]
async fn who_is_out_stays_out_while_the_directory_is_silent_however_long() {
    let fake = Fake::with(&["alice", "bob", "carol"]);
    let people = people(&fake, true);
    let names = || names(&["alice", "bob", "carol"]);
    for name in names() {
        people.about(&name, NOW).await;
    }
    fake.set("bob", Standing::Disabled, &["staff"]);
    fake.remove(&["carol"]);
    people.refresh(names(), NOW).await.unwrap();
    *fake.fails.lock().unwrap() = true;
    let late = NOW.plus(STALE * 100);
    assert!(people.refresh(names(), late).await.is_err());
    assert_eq!(people.used_lately(late).await, Vec::<Name>::new(), "idle for long");
    for (name, why) in [("bob", "disabled"), ("carol", "not there any more")] {
        assert_eq!(people.afresh(&name.into(), late).await.is_out(), Some(why), "{name}: at a login");
        assert_eq!(people.about(&name.into(), late).await.is_out(), Some(why), "{name}: at a request");
    }
    assert_eq!(people.about(&"alice".into(), late).await, Seen::Unknown(Why::SourceDown));
    // Its word lets them in again.
    *fake.fails.lock().unwrap() = false;
    fake.set("bob", Standing::Active, &["staff"]);
    people.refresh(names(), late).await.unwrap();
    assert_eq!(people.about(&"bob".into(), late).await.is_out(), None);
}
