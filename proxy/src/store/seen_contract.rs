//! What every keeper of the places of people promises, as one function that each implementation runs.
use crate::lookup::places::Places;
use crate::lookup::seen::{MAX_PLACES, Place, REMEMBERED, SeenPlaces, Visit, VisitStore};
use std::sync::Arc;
use std::time::Duration;
use torhaus_authz::{Country, Fact, Identity, Seen, Timestamp, User, Why};

const NOW: Timestamp = Timestamp::from_seconds(1_795_900_000);

fn visit(subject: &str, place: &str, last: Timestamp) -> Visit {
    Visit { issuer: "idp".into(), subject: subject.into(), place: Place::parse(place).unwrap(), last }
}

fn person(subject: &str) -> Identity {
    Identity::User(Arc::new(User {
        name: subject.into(),
        provider: "corp".into(),
        issuer: "idp".into(),
        subject: subject.into(),
        federated: false,
    }))
}

/// Runs every promise on an empty store.
pub async fn holds(store: Arc<dyn VisitStore>) {
    where_somebody_was_is_known_and_new_again_after_half_a_year(&store).await;
    what_is_old_or_too_much_is_forgotten(&*store).await;
}

async fn where_somebody_was_is_known_and_new_again_after_half_a_year(store: &Arc<dyn VisitStore>) {
    let visits =
        [visit("dana", "DE", NOW), visit("dana", "203.0.113.0/24", NOW), visit("dana", "2001:db8:1::/48", NOW)];
    store.visited(&visits).await.unwrap();
    // An older word takes nothing back.
    store.visited(&[visit("dana", "DE", NOW.minus(REMEMBERED * 2))]).await.unwrap();

    let seen = SeenPlaces::load(store.clone()).await.unwrap();
    let of = |who: &str, address: &str, country: &str, now: Timestamp| {
        let country = Country::parse(country).map_or(Fact::Unknown(Why::SourceDown), Fact::Known);
        seen.of(&person(who), address.parse().unwrap(), country, &Places::default(), now)
    };
    let known = |country: bool, network: bool| Seen { country: Fact::Known(country), network: Fact::Known(network) };
    for (who, address, country, answer) in [
        ("dana", "203.0.113.200", "DE", known(true, true)),
        ("dana", "::ffff:203.0.113.9", "DE", known(true, true)),
        ("dana", "2001:db8:1:ff::1", "DE", known(true, true)),
        ("dana", "2001:db8:2::1", "DE", known(true, false)),
        ("dana", "203.0.114.1", "FR", known(false, false)),
        ("eve", "203.0.113.200", "DE", known(false, false)),
        ("dana", "203.0.113.200", "?", Seen { country: Fact::Unknown(Why::SourceDown), ..known(true, true) }),
    ] {
        assert_eq!(of(who, address, country, NOW), answer, "{who} {address} {country}");
    }
    assert_eq!(of("dana", "203.0.113.200", "DE", NOW.plus(REMEMBERED)), known(false, false));
    let nobody = seen.of(
        &Identity::Anonymous,
        "203.0.113.1".parse().unwrap(),
        Fact::Unknown(Why::NotFound),
        &Places::default(),
        NOW,
    );
    assert_eq!(nobody, Seen::unknown(Why::NotFound));
}

async fn what_is_old_or_too_much_is_forgotten(store: &dyn VisitStore) {
    store.forget_visits(NOW.plus(REMEMBERED), 0).await.unwrap();
    let many: Vec<Visit> = (0..MAX_PLACES + 3)
        .map(|n| visit("dana", &format!("10.0.{n}.0/24"), NOW.plus(Duration::from_secs(n as u64))))
        .collect();
    store.visited(&many).await.unwrap();
    store.visited(&[visit("eve", "DE", NOW.minus(REMEMBERED * 2)), visit("eve", "FR", NOW)]).await.unwrap();
    store.forget_visits(NOW.minus(REMEMBERED), MAX_PLACES).await.unwrap();
    let left = store.visits().await.unwrap();
    let of = |who: &str| left.iter().filter(|visit| *visit.subject == *who).count();
    assert_eq!((of("dana"), of("eve")), (MAX_PLACES, 1));
    assert!(!left.iter().any(|visit| visit.place.to_string() == "10.0.0.0/24"), "the oldest makes room");
}
