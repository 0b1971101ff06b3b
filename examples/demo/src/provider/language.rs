//! The words of the provider's pages.
use axum::http::{HeaderMap, header};

pub struct Words {
    pub tag: &'static str,
    pub title: &'static str,
    pub about: &'static str,
    pub sign_in: &'static str,
    pub sign_in_for: &'static str,
    pub user: &'static str,
    pub password: &'static str,
    pub next: &'static str,
    pub cancel: &'static str,
    pub accounts: &'static str,
    pub second: &'static str,
    pub second_for: &'static str,
    pub code: &'static str,
    pub code_now: &'static str,
    pub secret: &'static str,
    pub confirm: &'static str,
    pub or: &'static str,
    pub key: &'static str,
    pub key_for: &'static str,
    pub touch: &'static str,
    pub wrong_password: &'static str,
    pub wrong_code: &'static str,
    pub wait: &'static str,
    pub touch_please: &'static str,
    pub signed_in_as: &'static str,
    pub nobody: &'static str,
    pub sign_out: &'static str,
    pub sign_out_ask: &'static str,
    pub signed_out: &'static str,
    pub error: &'static str,
    pub error_help: &'static str,
}

const ENGLISH: Words = Words {
    tag: "en",
    title: "Demo identity",
    about: "A small OpenID provider that belongs to the Torhaus demo. Nobody here is real.",
    sign_in: "Sign in",
    sign_in_for: "Your company account opens the applications you may use.",
    user: "User",
    password: "Password",
    next: "Continue",
    cancel: "Cancel",
    accounts: "Accounts of this demo",
    second: "One more factor",
    second_for: "This application asks for a second factor.",
    code: "One-time code",
    code_now: "Your app would show",
    secret: "Secret for an authenticator app",
    confirm: "Confirm",
    or: "or",
    key: "Your hardware key",
    key_for: "This application asks for a hardware key.",
    touch: "Touch the key",
    wrong_password: "User or password is wrong.",
    wrong_code: "This code is wrong or was used before.",
    wait: "Too many wrong answers. Please wait half a minute.",
    touch_please: "Please touch the key.",
    signed_in_as: "Signed in as",
    nobody: "Nobody is signed in.",
    sign_out: "Sign out",
    sign_out_ask: "Do you want to sign out here?",
    signed_out: "You are signed out.",
    error: "This did not work",
    error_help: "Go back to the application and try again.",
};

const GERMAN: Words = Words {
    tag: "de",
    title: "Demo-Anmeldung",
    about: "Ein kleiner OpenID-Provider, der zur Torhaus-Demo gehört. Niemand hier ist echt.",
    sign_in: "Anmelden",
    sign_in_for: "Ihr Firmenkonto öffnet die Anwendungen, die Sie nutzen dürfen.",
    user: "Benutzer",
    password: "Passwort",
    next: "Weiter",
    cancel: "Abbrechen",
    accounts: "Konten dieser Demo",
    second: "Noch ein Faktor",
    second_for: "Diese Anwendung verlangt einen zweiten Faktor.",
    code: "Einmalcode",
    code_now: "Ihre App würde zeigen",
    secret: "Geheimnis für eine Authenticator-App",
    confirm: "Bestätigen",
    or: "oder",
    key: "Ihr Hardware-Schlüssel",
    key_for: "Diese Anwendung verlangt einen Hardware-Schlüssel.",
    touch: "Schlüssel berühren",
    wrong_password: "Benutzer oder Passwort ist falsch.",
    wrong_code: "Dieser Code ist falsch oder wurde schon benutzt.",
    wait: "Zu viele falsche Antworten. Bitte warten Sie eine halbe Minute.",
    touch_please: "Bitte berühren Sie den Schlüssel.",
    signed_in_as: "Angemeldet als",
    nobody: "Niemand ist angemeldet.",
    sign_out: "Abmelden",
    sign_out_ask: "Möchten Sie sich hier abmelden?",
    signed_out: "Sie sind abgemeldet.",
    error: "Das hat nicht geklappt",
    error_help: "Gehen Sie zur Anwendung zurück und versuchen Sie es noch einmal.",
};

/// `locales` (the request's `ui_locales`) before `Accept-Language`; English when neither names one of ours.
pub fn words(headers: &HeaderMap, locales: Option<&str>) -> &'static Words {
    let accepted = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    locales.and_then(|list| first(list, ' ')).or_else(|| first(accepted, ',')).unwrap_or(&ENGLISH)
}

/// Browsers list languages by preference, so the first of ours is the best.
fn first(list: &str, separator: char) -> Option<&'static Words> {
    let language = |tag: &str| match tag.trim().split(['-', ';']).next().unwrap_or_default() {
        "de" => Some(&GERMAN),
        "en" => Some(&ENGLISH),
        _ => None,
    };
    list.split(separator).find_map(language)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_language_that_we_have_is_taken() {
        for (accept, locales, expected) in [
            ("de-DE,de;q=0.9,en;q=0.8", None, "de"),
            ("fr-FR,fr;q=0.9,de;q=0.8,en;q=0.7", None, "de"),
            ("en-US,en;q=0.9,de;q=0.8", None, "en"),
            ("fr", None, "en"),
            ("", None, "en"),
            ("en", Some("fr de"), "de"),
            ("de", Some("fr"), "de"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_LANGUAGE, accept.parse().unwrap());
            assert_eq!(words(&headers, locales).tag, expected, "{accept} {locales:?}");
        }
    }
}
