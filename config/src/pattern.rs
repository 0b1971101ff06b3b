//! Paths of keys, and patterns of paths: `routes[].upstream`, `trust_domains.*.ca_file`.

/// Does `routes[].upstream` mean `routes[3].upstream`? `[]` is any item, `*` any name.
pub(crate) fn matches(pattern: &str, path: &str) -> bool {
    let last = |text: &str| text.rsplit('.').next().map(generic);
    if last(pattern) != last(path) && !pattern.ends_with('*') {
        return false;
    }
    let path = generic(path);
    let (mut patterns, mut parts) = (pattern.split('.'), path.split('.'));
    loop {
        match (patterns.next(), parts.next()) {
            (None, None) => return true,
            (Some(pattern), Some(part)) if pattern == "*" || pattern == part => {}
            _ => return false,
        }
    }
}

/// `routes[3].upstream` -> `routes[].upstream`.
pub(crate) fn generic(path: &str) -> String {
    let mut inside = false;
    path.chars()
        .filter(|c| {
            inside = (inside || *c == '[') && *c != ']';
            !inside || *c == '['
        })
        .collect()
}
