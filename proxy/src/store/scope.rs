//! The condition that says which sessions are meant, in words that every database of ours understands.
use crate::login::session::{ProviderLogout, Which};
use std::borrow::Cow;
use torhaus_authz::Timestamp;

/// The value of a question mark.
pub enum Value {
    Text(String),
    Time(Timestamp),
}

/// The condition of a `Which`, and the values of its question marks in their order. The text holds nothing that came
/// from outside.
pub fn scope(which: &Which) -> (Cow<'static, str>, Vec<Value>) {
    let text = |value: &str| Value::Text(value.to_owned());
    let (condition, values) = match which {
        Which::Session(id) => ("id = ?", vec![text(id)]),
        Which::User(name) => ("user_name = ?", vec![text(name)]),
        Which::Subject { issuer, subject } => ("issuer = ? AND subject = ?", vec![text(issuer), text(subject)]),
        Which::LoggedOut(logout) => return logged_out(logout),
        Which::Provider(name) => ("provider = ?", vec![text(name)]),
        Which::Hosts(hosts) if hosts.is_empty() => ("false", vec![]),
        Which::Hosts(hosts) => {
            // A name has no `%`, and `_` in one would only mean more than was asked for.
            let each: Vec<&str> =
                hosts.iter().map(|host| if host.starts_with("*.") { "host LIKE ?" } else { "host = ?" }).collect();
            let condition = format!("id IN (SELECT session FROM handles WHERE {})", each.join(" OR "));
            let values = hosts.iter().map(|host| Value::Text(host.replacen('*', "%", 1))).collect();
            return (condition.into(), values);
        }
        Which::All => ("true", vec![]),
    };
    (condition.into(), values)
}

fn logged_out(logout: &ProviderLogout) -> (Cow<'static, str>, Vec<Value>) {
    let text = |value: &str| Value::Text(value.to_owned());
    let (names, more) = match (&logout.subject, &logout.sid) {
        (Some(subject), Some(sid)) => {
            ("subject = ? AND (provider_session = ? OR provider_session IS NULL)", vec![text(subject), text(sid)])
        }
        (Some(subject), None) => ("subject = ?", vec![text(subject)]),
        (None, Some(sid)) => ("provider_session = ?", vec![text(sid)]),
        (None, None) => ("false", vec![]),
    };
    let mut values = vec![text(&logout.issuer), Value::Time(logout.heard)];
    values.extend(more);
    (format!("issuer = ? AND created <= ? AND {names}").into(), values)
}
