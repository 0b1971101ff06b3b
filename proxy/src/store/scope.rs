//! The condition that says which sessions are meant, in words that every database of ours understands.
use crate::login::session::{ProviderLogout, Which};
use crate::store::database::{Value, one_of};
use std::borrow::Cow;

/// The condition of a `Which`, and the values of `$1`, `$2` and so on. The text holds nothing that came from outside.
pub fn scope(which: &Which) -> (Cow<'static, str>, Vec<Value>) {
    let text = |value: &str| Value::from(value);
    let (condition, values) = match which {
        Which::Session(id) => ("id = $1", vec![text(id)]),
        Which::These(ids) => {
            let (places, values) = one_of(ids.iter().map(|id| text(id)).collect());
            return (format!("id IN ({places})").into(), values);
        }
        Which::User(name) => ("user_name = $1", vec![text(name)]),
        Which::Subject { issuer, subject } => ("issuer = $1 AND subject = $2", vec![text(issuer), text(subject)]),
        Which::LoggedOut(logout) => return logged_out(logout),
        Which::Provider(name) => ("provider = $1", vec![text(name)]),
        Which::VouchedFor { provider, issuer } => ("provider = $1 AND issuer = $2", vec![text(provider), text(issuer)]),
        Which::Device(name) => {
            // Certificates are known by names in lower case, lists of devices write them as they like.
            let values = vec![text(name), Value::from(name.to_lowercase())];
            ("id IN (SELECT session FROM session_devices WHERE device IN ($1, $2))", values)
        }
        Which::Hosts(hosts) if hosts.is_empty() => ("false", vec![]),
        Which::Hosts(hosts) => {
            // A name has no `%`, and `_` in one would only mean more than was asked for.
            let is = |host: &str| if host.starts_with("*.") { "host LIKE" } else { "host =" };
            let each: Vec<String> = (1..).zip(hosts).map(|(n, host)| format!("{} ${n}", is(host))).collect();
            let condition = format!("id IN (SELECT session FROM handles WHERE {})", each.join(" OR "));
            let values = hosts.iter().map(|host| Value::from(host.replacen('*', "%", 1))).collect();
            return (condition.into(), values);
        }
        Which::All => ("true", vec![]),
    };
    (condition.into(), values)
}

fn logged_out(logout: &ProviderLogout) -> (Cow<'static, str>, Vec<Value>) {
    let text = |value: &str| Value::from(value);
    let (names, more) = match (&logout.subject, &logout.sid) {
        (Some(subject), Some(sid)) => {
            ("subject = $3 AND (provider_session = $4 OR provider_session IS NULL)", vec![text(subject), text(sid)])
        }
        (Some(subject), None) => ("subject = $3", vec![text(subject)]),
        (None, Some(sid)) => ("provider_session = $3", vec![text(sid)]),
        (None, None) => ("false", vec![]),
    };
    let mut values = vec![text(&logout.issuer), Value::from(logout.heard.millis())];
    values.extend(more);
    (format!("issuer = $1 AND created <= $2 AND {names}").into(), values)
}
