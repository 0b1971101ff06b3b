//! Keys of the file format that this version does not act on. They are refused: a setting that is silently ignored
//! is worse than none. Whoever builds one removes its line here.
use crate::pattern::{self, generic};
use crate::place::FileId;
use crate::units::Mistake;

/// File, path (`*` is any name, `[]` any item), what to do until then.
const NOT_BUILT: &[(FileId, &str, &str)] =
    &[(FileId::Main, "store", "remove it: state is kept in SQLite under `state_dir`")];

/// Why the key at `path` cannot be used yet, if so.
pub(crate) fn refuse(file: FileId, path: &str) -> Option<Mistake> {
    let (_, _, hint) = NOT_BUILT.iter().find(|(in_file, pattern, _)| *in_file == file && matches(pattern, path))?;
    let shown = generic(path);
    let shown = shown.rsplit("[].").next().unwrap_or(&shown);
    Some(Mistake::new(format!("`{shown}` is not built yet")).hint(*hint))
}

fn matches(pattern: &str, path: &str) -> bool {
    pattern::matches(pattern, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_refused_where_it_is_meant_and_nowhere_else() {
        for (file, path, refused) in [
            (FileId::Main, "lookups.ldap", false),
            (FileId::Main, "store", true),
            (FileId::Main, "lookups.headscale", false),
            (FileId::Main, "listeners[12].tls.acme", false),
            (FileId::Main, "trust_domains.devices.own_ca", false),
            (FileId::Main, "routes[0].upstream", false),
            (FileId::Main, "lookups.posture", false),
            (FileId::Main, "trust_domains.posture", false),
        ] {
            assert_eq!(refuse(file, path).is_some(), refused, "{path}");
        }
        assert_eq!(refuse(FileId::Main, "store").unwrap().message, "`store` is not built yet");
    }
}
