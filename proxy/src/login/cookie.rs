//! Our cookies. All carry the `__Host-` prefix (RFC 6265bis section 4.1.3.2): set by this very host over TLS, for all
//! its paths, so that a sibling domain can neither set nor read them.

/// The handle of a session at a host.
pub const SESSION: &str = "__Host-torhaus";
/// Set by a host before it sends a person to the portal; the hand-over code comes back bound to it.
pub const NONCE: &str = "__Host-torhaus-nonce";
/// At the portal: a login under way, one cookie each.
pub const LOGIN: &str = "__Host-torhaus-login-";

/// The cookie of the login with this `state`.
pub fn of_login(state: &str) -> String {
    // 60 bits tell the logins of one browser apart; the whole state is checked against what is sealed inside.
    format!("{LOGIN}{}", state.get(..10).unwrap_or("unknown"))
}

/// A cookie for this browser session. Lax: a link from a mail or a chat opens the application with the session.
pub fn set(name: &str, value: &str) -> String {
    format!("{name}={value}; Path=/; Secure; HttpOnly; SameSite=Lax")
}

/// A cookie that ends by itself.
pub fn set_for(name: &str, value: &str, seconds: u32) -> String {
    format!("{}; Max-Age={seconds}", set(name, value))
}

pub fn clear(name: &str) -> String {
    set_for(name, "", 0)
}
