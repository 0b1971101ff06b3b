//! The vocabulary of all outcomes: one reason, one status, one sentence. It stands in logs, pages, metrics and tests, and
//! its names never change their meaning. Reasons that `decide` gives come first; the others are the proxy's own steps.

/// A sentence for the page, and one that says what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Words {
    pub sentence: &'static str,
    pub what_to_do: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Language {
    English,
    German,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    // What the policy table answers.
    /// The policy allows it.
    Allowed,
    /// Nobody is identified. Browsers are redirected instead.
    LoginNeeded,
    /// The proof is missing or too old. Browsers are redirected instead; bearers get the challenge of RFC 9470.
    StepUpNeeded,
    /// The resource has no row.
    NoRule,
    /// The row is closed from this zone.
    ZoneDenied,
    /// The subject is not in `allow`.
    NotAllowed,
    /// Whether the subject is in `allow` cannot be told.
    GroupsUnknown,
    /// A `deny` condition holds or is unknown.
    ConditionDenied,
    /// A `require` condition does not hold or is unknown.
    RequirementMissing,
    /// A service does not prove the tier, and services cannot step up.
    ServiceTierMissing,
    // The request itself.
    /// Not strict HTTP, or a path with two readings.
    BadRequest,
    /// The host does not belong to the name of the TLS handshake.
    WrongHost,
    /// No route for this host and path.
    NoRoute,
    /// One of our own pages was asked with another method.
    MethodNotAllowed,
    BodyTooLarge,
    HeaderTooLarge,
    /// The path and query are longer than any application needs.
    UriTooLong,
    /// Its head or body came too slowly.
    RequestTooSlow,
    RateLimited,
    /// The route does not accept this upgrade.
    UpgradeRefused,
    /// A form of ours was sent by another site.
    CrossOrigin,
    /// Forwarded facts, or a question for authorisation, from a peer that is not a listed proxy.
    PeerNotTrusted,
    // Who it is.
    /// Two identities that disagree.
    IdentityConflict,
    SessionExpired,
    /// Logged out, revoked or ended by the provider.
    SessionRevoked,
    /// Disabled in the directory or at the provider.
    AccountDisabled,
    BearerInvalid,
    BearerExpired,
    /// The route asks for a client certificate and none came.
    CertificateMissing,
    CertificateInvalid,
    CertificateExpired,
    CertificateRevoked,
    /// The certificate names another user than the session.
    CertificateOfAnother,
    /// The list of revoked certificates is missing or expired.
    RevocationUnknown,
    // Signing in.
    /// A callback without the state of this browser, or a code used twice.
    LoginInvalid,
    /// The browser did not send back a cookie that was just set.
    CookiesMissing,
    /// The provider refused, or its answer does not check out.
    LoginFailed,
    /// The provider answered and did not prove the tier; we do not ask again by ourselves.
    StepUpFailed,
    ProviderUnavailable,
    // The application behind.
    UpstreamFailed,
    /// Its certificate is not the one the route names.
    UpstreamNotTrusted,
    UpstreamUnavailable,
    UpstreamTimeout,
    // Ourselves.
    /// The decision could not be recorded: no record, no forward.
    RecordUnavailable,
    StoreUnavailable,
    Overloaded,
    /// Shutting down; another replica answers.
    Draining,
    /// A mistake of ours.
    InternalError,
}

impl Reason {
    /// Every reason, as the documentation lists them.
    pub const ALL: &'static [Self] = &[
        Self::Allowed,
        Self::LoginNeeded,
        Self::StepUpNeeded,
        Self::NoRule,
        Self::ZoneDenied,
        Self::NotAllowed,
        Self::GroupsUnknown,
        Self::ConditionDenied,
        Self::RequirementMissing,
        Self::ServiceTierMissing,
        Self::BadRequest,
        Self::WrongHost,
        Self::NoRoute,
        Self::MethodNotAllowed,
        Self::BodyTooLarge,
        Self::HeaderTooLarge,
        Self::UriTooLong,
        Self::RequestTooSlow,
        Self::RateLimited,
        Self::UpgradeRefused,
        Self::CrossOrigin,
        Self::PeerNotTrusted,
        Self::IdentityConflict,
        Self::SessionExpired,
        Self::SessionRevoked,
        Self::AccountDisabled,
        Self::BearerInvalid,
        Self::BearerExpired,
        Self::CertificateMissing,
        Self::CertificateInvalid,
        Self::CertificateExpired,
        Self::CertificateRevoked,
        Self::CertificateOfAnother,
        Self::RevocationUnknown,
        Self::LoginInvalid,
        Self::CookiesMissing,
        Self::LoginFailed,
        Self::StepUpFailed,
        Self::ProviderUnavailable,
        Self::UpstreamFailed,
        Self::UpstreamNotTrusted,
        Self::UpstreamUnavailable,
        Self::UpstreamTimeout,
        Self::RecordUnavailable,
        Self::StoreUnavailable,
        Self::Overloaded,
        Self::Draining,
        Self::InternalError,
    ];

    /// The name in logs, metrics and JSON.
    pub const fn as_str(self) -> &'static str {
        self.entry().name
    }

    /// HTTP status of the answer.
    pub const fn status(self) -> u16 {
        self.entry().status
    }

    pub const fn words(self, language: Language) -> Words {
        match language {
            Language::English => self.entry().english,
            Language::German => self.entry().german,
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.as_str() == name)
    }

    /// The table.
    const fn entry(self) -> Entry {
        match self {
            Self::Allowed => entry(
                "allowed",
                200,
                ("Access is allowed.", "There is nothing to do."),
                ("Der Zugriff ist erlaubt.", "Es ist nichts zu tun."),
            ),
            Self::LoginNeeded => entry(
                "login_needed",
                401,
                ("Please sign in to open this application.", "Sign in; you will come back here."),
                (
                    "Bitte melden Sie sich an, um diese Anwendung zu öffnen.",
                    "Melden Sie sich an; danach kommen Sie hierher zurück.",
                ),
            ),
            Self::StepUpNeeded => entry(
                "step_up_needed",
                401,
                (
                    "This application asks for a stronger or more recent sign-in.",
                    "Sign in again with the factor you are asked for.",
                ),
                (
                    "Diese Anwendung verlangt eine stärkere oder neuere Anmeldung.",
                    "Melden Sie sich mit dem verlangten Faktor erneut an.",
                ),
            ),
            Self::NoRule => entry(
                "no_rule",
                403,
                ("No rule opens this application.", "Ask your administrator to add a row for it to the policy table."),
                (
                    "Keine Regel öffnet diese Anwendung.",
                    "Bitten Sie Ihre Administration, eine Zeile dafür in die Richtlinientabelle aufzunehmen.",
                ),
            ),
            Self::ZoneDenied => entry(
                "zone_denied",
                403,
                (
                    "This application is closed from where you are.",
                    "Use it from the internal network, or ask your administrator.",
                ),
                (
                    "Diese Anwendung ist von Ihrem Standort aus geschlossen.",
                    "Nutzen Sie sie aus dem internen Netz, oder fragen Sie Ihre Administration.",
                ),
            ),
            Self::NotAllowed => entry(
                "not_allowed",
                403,
                (
                    "Your account is not among those who may open this application.",
                    "Ask the owner of the application for access.",
                ),
                (
                    "Ihr Konto gehört nicht zu denen, die diese Anwendung öffnen dürfen.",
                    "Bitten Sie die verantwortliche Person der Anwendung um Zugang.",
                ),
            ),
            Self::GroupsUnknown => entry(
                "groups_unknown",
                503,
                (
                    "We cannot tell at the moment which groups you belong to.",
                    "Try again in a few minutes; if it stays like this, tell your administrator.",
                ),
                (
                    "Im Moment lässt sich nicht feststellen, zu welchen Gruppen Sie gehören.",
                    "Versuchen Sie es in einigen Minuten erneut; bleibt es dabei, wenden Sie sich an Ihre Administration.",
                ),
            ),
            Self::ConditionDenied => entry(
                "condition_denied",
                403,
                (
                    "A rule refuses access under the present conditions.",
                    "Look at the named condition, or ask your administrator.",
                ),
                (
                    "Eine Regel verweigert den Zugriff unter den jetzigen Bedingungen.",
                    "Prüfen Sie die genannte Bedingung, oder fragen Sie Ihre Administration.",
                ),
            ),
            Self::RequirementMissing => entry(
                "requirement_missing",
                403,
                (
                    "Something that this application requires is missing.",
                    "Meet the named requirement, or ask your administrator.",
                ),
                (
                    "Etwas, das diese Anwendung verlangt, fehlt.",
                    "Erfüllen Sie die genannte Voraussetzung, oder fragen Sie Ihre Administration.",
                ),
            ),
            Self::ServiceTierMissing => entry(
                "service_tier_missing",
                403,
                (
                    "This service does not prove the tier that is asked for.",
                    "Give its trust domain or token issuer the tier it proves, or change the row.",
                ),
                (
                    "Dieser Dienst weist die verlangte Stufe nicht nach.",
                    "Legen Sie für seine Vertrauensdomäne oder seinen Token-Aussteller die nachgewiesene Stufe fest, oder ändern Sie die Zeile.",
                ),
            ),
            Self::BadRequest => entry(
                "bad_request",
                400,
                ("The request is malformed.", "Check the address; if it came from a link, tell its author."),
                (
                    "Die Anfrage ist fehlerhaft.",
                    "Prüfen Sie die Adresse; stammt sie aus einem Link, wenden Sie sich an dessen Urheber.",
                ),
            ),
            Self::WrongHost => entry(
                "wrong_host",
                421,
                (
                    "This connection was opened for another host.",
                    "Reload the page; your browser then opens a connection of its own.",
                ),
                (
                    "Diese Verbindung wurde für einen anderen Host geöffnet.",
                    "Laden Sie die Seite neu; der Browser öffnet dann eine eigene Verbindung.",
                ),
            ),
            Self::NoRoute => entry(
                "no_route",
                404,
                (
                    "There is no application at this address.",
                    "Check the address, or start from the list of applications.",
                ),
                (
                    "Unter dieser Adresse gibt es keine Anwendung.",
                    "Prüfen Sie die Adresse, oder beginnen Sie bei der Liste der Anwendungen.",
                ),
            ),
            Self::MethodNotAllowed => entry(
                "method_not_allowed",
                405,
                ("This address does not accept this method.", "Open the page again from the start."),
                ("Diese Adresse nimmt diese Methode nicht an.", "Öffnen Sie die Seite noch einmal von vorn."),
            ),
            Self::BodyTooLarge => entry(
                "body_too_large",
                413,
                (
                    "The request carries more data than is accepted here.",
                    "Send less, or ask your administrator to raise the limit.",
                ),
                (
                    "Die Anfrage enthält mehr Daten, als hier angenommen werden.",
                    "Senden Sie weniger, oder bitten Sie Ihre Administration, die Grenze anzuheben.",
                ),
            ),
            Self::HeaderTooLarge => entry(
                "header_too_large",
                431,
                ("The headers of the request are too large.", "Delete the cookies of this site and try again."),
                (
                    "Die Kopfzeilen der Anfrage sind zu groß.",
                    "Löschen Sie die Cookies dieser Website und versuchen Sie es erneut.",
                ),
            ),
            Self::UriTooLong => entry(
                "uri_too_long",
                414,
                ("The address is too long.", "Check the address; if it came from a link, tell its author."),
                (
                    "Die Adresse ist zu lang.",
                    "Prüfen Sie die Adresse; stammt sie aus einem Link, wenden Sie sich an dessen Urheber.",
                ),
            ),
            Self::RequestTooSlow => entry(
                "request_too_slow",
                408,
                ("The request took too long to arrive.", "Check your connection and send it again."),
                ("Die Anfrage ist zu langsam eingetroffen.", "Prüfen Sie Ihre Verbindung und senden Sie sie erneut."),
            ),
            Self::RateLimited => entry(
                "rate_limited",
                429,
                ("Too many requests came from here.", "Wait a minute and try again."),
                ("Von hier kamen zu viele Anfragen.", "Warten Sie eine Minute und versuchen Sie es erneut."),
            ),
            Self::UpgradeRefused => entry(
                "upgrade_refused",
                403,
                (
                    "This application does not accept this kind of connection.",
                    "Ask your administrator to allow the upgrade on the route.",
                ),
                (
                    "Diese Anwendung nimmt diese Art von Verbindung nicht an.",
                    "Bitten Sie Ihre Administration, diese Art von Verbindung für die Route zu erlauben.",
                ),
            ),
            Self::CrossOrigin => entry(
                "cross_origin",
                403,
                ("The request came from another website.", "Open the page here and send it again."),
                ("Die Anfrage kam von einer anderen Website.", "Öffnen Sie die Seite hier und senden Sie sie erneut."),
            ),
            Self::PeerNotTrusted => entry(
                "peer_not_trusted",
                403,
                ("This peer may not speak for others.", "Add its address to `trusted_proxies` if it is your proxy."),
                (
                    "Diese Gegenstelle darf nicht für andere sprechen.",
                    "Tragen Sie ihre Adresse in `trusted_proxies` ein, wenn es Ihr Proxy ist.",
                ),
            ),
            Self::IdentityConflict => entry(
                "identity_conflict",
                403,
                (
                    "The request carries two identities that disagree.",
                    "Sign out, or send only one of session, token and client certificate.",
                ),
                (
                    "Die Anfrage trägt zwei Identitäten, die sich widersprechen.",
                    "Melden Sie sich ab, oder senden Sie nur eines von Sitzung, Token und Client-Zertifikat.",
                ),
            ),
            Self::SessionExpired => entry(
                "session_expired",
                401,
                ("Your session has expired.", "Sign in again."),
                ("Ihre Sitzung ist abgelaufen.", "Melden Sie sich erneut an."),
            ),
            Self::SessionRevoked => entry(
                "session_revoked",
                401,
                ("Your session was ended.", "Sign in again; if you did not end it, tell your administrator."),
                (
                    "Ihre Sitzung wurde beendet.",
                    "Melden Sie sich erneut an; haben Sie sie nicht beendet, wenden Sie sich an Ihre Administration.",
                ),
            ),
            Self::AccountDisabled => entry(
                "account_disabled",
                403,
                ("Your account is disabled.", "Ask your administrator."),
                ("Ihr Konto ist gesperrt.", "Wenden Sie sich an Ihre Administration."),
            ),
            Self::BearerInvalid => entry(
                "bearer_invalid",
                401,
                ("The bearer token is not valid.", "Get a new token from its issuer for this audience."),
                ("Das Bearer-Token ist ungültig.", "Holen Sie beim Aussteller ein neues Token für diese Zielgruppe."),
            ),
            Self::BearerExpired => entry(
                "bearer_expired",
                401,
                ("The bearer token has expired.", "Get a new token from its issuer."),
                ("Das Bearer-Token ist abgelaufen.", "Holen Sie beim Aussteller ein neues Token."),
            ),
            Self::CertificateMissing => entry(
                "certificate_missing",
                403,
                (
                    "This application asks for a client certificate.",
                    "Enrol this device or service, then choose its certificate.",
                ),
                (
                    "Diese Anwendung verlangt ein Client-Zertifikat.",
                    "Registrieren Sie dieses Gerät oder diesen Dienst und wählen Sie dann sein Zertifikat.",
                ),
            ),
            Self::CertificateInvalid => entry(
                "certificate_invalid",
                403,
                ("The client certificate is not valid here.", "Choose another certificate, or enrol again."),
                (
                    "Das Client-Zertifikat gilt hier nicht.",
                    "Wählen Sie ein anderes Zertifikat, oder registrieren Sie sich neu.",
                ),
            ),
            Self::CertificateExpired => entry(
                "certificate_expired",
                403,
                ("The client certificate has expired.", "Renew it or enrol again."),
                ("Das Client-Zertifikat ist abgelaufen.", "Erneuern Sie es, oder registrieren Sie sich neu."),
            ),
            Self::CertificateRevoked => entry(
                "certificate_revoked",
                403,
                ("The client certificate was revoked.", "Enrol again, or ask your administrator why."),
                (
                    "Das Client-Zertifikat wurde widerrufen.",
                    "Registrieren Sie sich neu, oder fragen Sie Ihre Administration nach dem Grund.",
                ),
            ),
            Self::CertificateOfAnother => entry(
                "certificate_of_another",
                403,
                (
                    "The client certificate belongs to another user than the session.",
                    "Choose your own certificate, or sign out and in again.",
                ),
                (
                    "Das Client-Zertifikat gehört einer anderen Person als die Sitzung.",
                    "Wählen Sie Ihr eigenes Zertifikat, oder melden Sie sich ab und wieder an.",
                ),
            ),
            Self::RevocationUnknown => entry(
                "revocation_unknown",
                403,
                (
                    "We cannot tell whether the client certificate was revoked.",
                    "Tell your administrator that the revocation list is out of date.",
                ),
                (
                    "Es lässt sich nicht feststellen, ob das Client-Zertifikat widerrufen wurde.",
                    "Teilen Sie Ihrer Administration mit, dass die Sperrliste veraltet ist.",
                ),
            ),
            Self::LoginInvalid => entry(
                "login_invalid",
                400,
                ("This sign-in cannot be continued.", "Start again from the application."),
                ("Diese Anmeldung lässt sich nicht fortsetzen.", "Beginnen Sie noch einmal bei der Anwendung."),
            ),
            Self::CookiesMissing => entry(
                "cookies_missing",
                400,
                (
                    "Your browser did not send back a cookie that signing in needs.",
                    "Allow cookies for this site, then open the application again.",
                ),
                (
                    "Ihr Browser hat ein Cookie nicht zurückgeschickt, das die Anmeldung braucht.",
                    "Erlauben Sie Cookies für diese Website, und öffnen Sie die Anwendung noch einmal.",
                ),
            ),
            Self::LoginFailed => entry(
                "login_failed",
                403,
                (
                    "The identity provider did not sign you in.",
                    "Try again; if it stays like this, tell your administrator.",
                ),
                (
                    "Der Identitätsanbieter hat Sie nicht angemeldet.",
                    "Versuchen Sie es erneut; bleibt es dabei, wenden Sie sich an Ihre Administration.",
                ),
            ),
            Self::StepUpFailed => entry(
                "step_up_failed",
                403,
                (
                    "The sign-in did not prove what this application asks for.",
                    "Use the factor that is asked for, or set it up at your identity provider.",
                ),
                (
                    "Die Anmeldung hat nicht nachgewiesen, was diese Anwendung verlangt.",
                    "Nutzen Sie den verlangten Faktor, oder richten Sie ihn bei Ihrem Identitätsanbieter ein.",
                ),
            ),
            Self::ProviderUnavailable => entry(
                "provider_unavailable",
                503,
                ("The identity provider cannot be reached.", "Try again in a few minutes."),
                ("Der Identitätsanbieter ist nicht erreichbar.", "Versuchen Sie es in einigen Minuten erneut."),
            ),
            Self::UpstreamFailed => entry(
                "upstream_failed",
                502,
                ("The application did not answer properly.", "Try again; if it stays like this, tell its owner."),
                (
                    "Die Anwendung hat nicht richtig geantwortet.",
                    "Versuchen Sie es erneut; bleibt es dabei, wenden Sie sich an die verantwortliche Person.",
                ),
            ),
            Self::UpstreamNotTrusted => entry(
                "upstream_not_trusted",
                502,
                (
                    "The application could not prove that it is the right one.",
                    "Tell your administrator that its certificate does not fit the route.",
                ),
                (
                    "Die Anwendung konnte nicht nachweisen, dass sie die richtige ist.",
                    "Teilen Sie Ihrer Administration mit, dass ihr Zertifikat nicht zur Route passt.",
                ),
            ),
            Self::UpstreamUnavailable => entry(
                "upstream_unavailable",
                503,
                ("The application cannot be reached.", "Try again in a few minutes."),
                ("Die Anwendung ist nicht erreichbar.", "Versuchen Sie es in einigen Minuten erneut."),
            ),
            Self::UpstreamTimeout => entry(
                "upstream_timeout",
                504,
                ("The application took too long to answer.", "Try again; if it stays like this, tell its owner."),
                (
                    "Die Anwendung hat zu lange nicht geantwortet.",
                    "Versuchen Sie es erneut; bleibt es dabei, wenden Sie sich an die verantwortliche Person.",
                ),
            ),
            Self::RecordUnavailable => entry(
                "record_unavailable",
                503,
                (
                    "The access could not be recorded, so it is not allowed.",
                    "Try again in a minute; administrators look at the audit log's disk.",
                ),
                (
                    "Der Zugriff konnte nicht protokolliert werden und ist deshalb nicht erlaubt.",
                    "Versuchen Sie es in einer Minute erneut; die Administration prüft den Speicher des Protokolls.",
                ),
            ),
            Self::StoreUnavailable => entry(
                "store_unavailable",
                503,
                ("Sessions cannot be read at the moment.", "Try again in a minute."),
                ("Sitzungen lassen sich im Moment nicht lesen.", "Versuchen Sie es in einer Minute erneut."),
            ),
            Self::Overloaded => entry(
                "overloaded",
                503,
                ("The gate is busy.", "Try again in a minute."),
                ("Das Tor ist ausgelastet.", "Versuchen Sie es in einer Minute erneut."),
            ),
            Self::Draining => entry(
                "draining",
                503,
                ("The gate is restarting.", "Try again."),
                ("Das Tor wird neu gestartet.", "Versuchen Sie es erneut."),
            ),
            Self::InternalError => entry(
                "internal_error",
                500,
                ("Something went wrong at the gate.", "Tell your administrator the number of this decision."),
                (
                    "Am Tor ist ein Fehler aufgetreten.",
                    "Nennen Sie Ihrer Administration die Nummer dieser Entscheidung.",
                ),
            ),
        }
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

struct Entry {
    name: &'static str,
    status: u16,
    english: Words,
    german: Words,
}

const fn entry(
    name: &'static str,
    status: u16,
    english: (&'static str, &'static str),
    german: (&'static str, &'static str),
) -> Entry {
    Entry {
        name,
        status,
        english: Words { sentence: english.0, what_to_do: english.1 },
        german: Words { sentence: german.0, what_to_do: german.1 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_reason_has_a_name_a_status_and_whole_sentences_in_both_languages() {
        let mut names = HashSet::new();
        for reason in Reason::ALL.iter().copied() {
            assert!(names.insert(reason.as_str()));
            assert_eq!(serde_json::to_string(&reason).unwrap(), format!("\"{reason}\""));
            assert_eq!(Reason::parse(reason.as_str()), Some(reason));
            assert!(matches!(reason.status(), 200 | 400..=431 | 500..=504), "{reason}");
            for language in [Language::English, Language::German] {
                let words = reason.words(language);
                for text in [words.sentence, words.what_to_do] {
                    assert!(text.ends_with('.') && text.starts_with(char::is_uppercase), "{reason}: {text}");
                }
            }
        }
    }

    #[test]
    fn no_reason_is_missing_from_the_list() {
        // Variants are numbered from 0 without gaps, and the list is in their order.
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
        }
        let last = Reason::ALL.last().copied();
        assert_eq!(last, Some(Reason::InternalError), "a new last reason goes into ALL and here");
    }
}
