//! A policy of several files, a candidate beside it, and signatures.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]
use minisign::KeyPair;
use std::fs;
use std::io::Cursor;
use std::path::Path;
use tempfile::TempDir;
use torhaus_authz::{CandidateMode, Timestamp};
use torhaus_config::{Config, load, load_with_policy, run_policy_tests, state_dir};

/// 23 November 2026.
const NOW: Timestamp = Timestamp::from_seconds(1_795_392_000);

const BASE: &str = "version: 1
include: [projects/hr.yaml, projects/web.yaml]
zones: { internal: { networks: [10.0.0.0/8] } }
tiers:
  - { name: standard, max_age: 12h }
table:
  - { resource: wiki, allow: [\"group:staff\"], zones: { internal: standard } }
  - { resource: mail, allow: [\"group:staff\"], zones: { internal: standard } }
tests:
  - { name: staff reads, user: a, groups: [staff], ip: 10.0.0.1, proven: standard, resource: wiki, expect: allow }
  - { name: staff mails, user: a, groups: [staff], ip: 10.0.0.1, proven: standard, resource: mail, expect: allow }
";

const HR: &str = "version: 1
table:
  - { resource: payroll, allow: [\"group:hr\"], zones: { internal: standard } }
tests:
  - { name: hr, user: a, groups: [hr], ip: 10.0.0.1, proven: standard, resource: payroll, expect: allow }
";

const WEB: &str = "version: 1
table:
  - resource: mail
    zones: { internal: deny }
";

struct Files(TempDir);

impl Files {
    /// The example of the reference, on a policy of three files.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let files = Self(folder);
        for entry in fs::read_dir("tests/material").unwrap() {
            let entry = entry.unwrap();
            let to = files.0.path().join("material");
            fs::create_dir_all(&to).unwrap();
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
        fs::create_dir_all(files.0.path().join("gate/projects")).unwrap();
        files.write(
            "torhaus.yaml",
            "version: 1
listeners:
  - { name: web, address: \"127.0.0.1:8443\", tls: { certificates: [{ cert_file: ../material/apps.pem, key_file: ../material/apps.key }] } }
portal: { url: \"https://auth.example.test\" }
identity:
  providers:
    - { name: corp, issuer: \"https://idp.example.test\", client_id: torhaus, client_secret_file: ../material/secret, user_claim: name, tiers: { standard: {} } }
routes:
  - { name: wiki, host: wiki.example.test, upstream: \"http://10.0.0.7:8080\", resource: wiki }
  - { name: mail, host: mail.example.test, upstream: \"http://10.0.0.7:8080\", resource: mail }
  - { name: payroll, host: payroll.example.test, upstream: \"http://10.0.0.7:8080\", resource: payroll }
",
        );
        // Staff cannot mail any more: the promise of the base goes with the row.
        files.write("policy.yaml", &BASE.replace("resource: mail, expect: allow", "resource: mail, expect: deny"));
        files.write("projects/hr.yaml", HR);
        files.write("projects/web.yaml", WEB);
        files
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join("gate").join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn change(&self, name: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.path(name)).unwrap();
        assert!(text.contains(from), "{from}");
        self.write(name, &text.replace(from, to));
    }

    fn load(&self) -> Result<Config, String> {
        load(&self.path("torhaus.yaml"), NOW).map_err(|errors| {
            let folder = format!("{}/", self.path("").display()).replace("//", "/");
            errors.to_string().replace(&folder, "")
        })
    }

    fn sign(&self, name: &str, by: &KeyPair) {
        let signed = minisign::sign(None, &by.sk, Cursor::new(fs::read(self.path(name)).unwrap()), None, None).unwrap();
        self.write(&format!("{name}.minisig"), &signed.into_string());
    }
}

#[test]
fn a_policy_of_several_files_is_one_policy() {
    let files = Files::new();
    let config = files.load().unwrap();
    let rows: Vec<String> =
        config.policy.rows().iter().map(|row| format!("{} {}", row.resource, config.policy.place(row.line))).collect();
    assert_eq!(rows, ["wiki policy.yaml:7", "mail policy.yaml:8", "payroll projects/hr.yaml:3"]);
    let names: Vec<&str> = config.policy_texts.iter().map(|text| text.name.as_str()).collect();
    assert_eq!(names, ["policy.yaml", "projects/hr.yaml", "projects/web.yaml"]);
    for name in ["policy.yaml", "projects/hr.yaml", "projects/web.yaml"] {
        assert!(config.files.contains(&files.path(name)), "{name} is watched");
    }
    // A change of any of them is another version.
    files.change("projects/web.yaml", "version: 1", "version: 1 # looked at");
    assert_ne!(files.load().unwrap().policy.version(), config.policy.version());
}

#[test]
fn mistakes_of_a_project_file_stand_in_it() {
    let files = Files::new();
    files.change("projects/hr.yaml", "internal: standard", "intrenal: standard");
    files.write(
        "projects/web.yaml",
        "version: 1\ntiers: []\ntable:\n  - { resource: mail, zones: { external: standard } }\n  - { resource: wiki, alow: [] }\n",
    );
    let errors = files.load().unwrap_err();
    for part in [
        "projects/hr.yaml:3: table[0]: unknown zone `intrenal`\n  3 |   - { resource: payroll",
        "projects/web.yaml:2: tiers: `tiers` belongs to the base policy, not to a project file\n  2 | tiers: []",
        "projects/web.yaml:5: table[1]: unknown key `alow`",
    ] {
        assert!(errors.contains(part), "{part}\n{errors}");
    }
    files.change("projects/hr.yaml", "intrenal", "internal");
    files.change("projects/web.yaml", "tiers: []\n", "");
    files.change("projects/web.yaml", ", alow: []", ", zones: { internal: standard }");
    let errors = files.load().unwrap_err();
    assert!(
        errors.contains(
            "projects/web.yaml:3: table[0]: row `mail` is `standard` from zone `external` here, and the base is closed (line 8 of `policy.yaml`)"
        ),
        "{errors}"
    );
    files.write("projects/web.yaml", "version: 1\ntable: [\n");
    assert!(files.load().unwrap_err().contains("projects/web.yaml:"), "a broken file says where");
    fs::remove_file(files.path("projects/web.yaml")).unwrap();
    let errors = files.load().unwrap_err();
    assert!(errors.contains("policy.yaml:2: include[1]: policy file `projects/web.yaml` does not exist"), "{errors}");
}

#[test]
fn projects_stand_below_the_policy_and_once() {
    let files = Files::new();
    for (list, expected) in [
        ("../torhaus.yaml", "`../torhaus.yaml` is not below the folder of the policy"),
        ("/etc/passwd", "`/etc/passwd` is not below the folder of the policy"),
        ("projects/hr.yaml, projects/hr.yaml", "`projects/hr.yaml` is included twice"),
    ] {
        files.write("policy.yaml", &BASE.replace("projects/hr.yaml, projects/web.yaml", list));
        let errors = files.load().unwrap_err();
        assert!(errors.contains(expected), "{expected}\n{errors}");
    }
}

#[test]
fn a_test_of_a_project_holds_or_nothing_loads() {
    let files = Files::new();
    files.change("projects/hr.yaml", "expect: allow", "expect: deny");
    let errors = files.load().unwrap_err();
    assert!(
        errors.contains("projects/hr.yaml:5: tests[0].name: test `hr` fails: verdict is `allow`, not `deny`"),
        "{errors}"
    );
    let suite = run_policy_tests(&files.path("torhaus.yaml"), None, NOW).unwrap();
    assert!(suite.to_string().contains("FAIL  hr (projects/hr.yaml:5)"), "{suite}");
}

#[test]
fn an_exception_ends_within_the_limit() {
    let files = Files::new();
    let exception = |until: &str| {
        format!(
            "exceptions:\n  - {{ id: EX-1, resource: payroll, allow: [\"user:c\"], zone: external, tier: standard, \
             owner: a, reason: audit, expires: {until} }}\n"
        )
    };
    files.write("projects/hr.yaml", &format!("{HR}{}", exception("2027-02-20")));
    files.load().unwrap();
    files.write("projects/hr.yaml", &format!("{HR}{}", exception("2027-02-23")));
    let errors = files.load().unwrap_err();
    assert!(errors.contains("projects/hr.yaml:7") && errors.contains("more than 90d from now"), "{errors}");
    files.change("policy.yaml", "version: 1", "version: 1\nlongest_exception: 120d");
    files.load().unwrap();
}

#[test]
fn a_candidate_is_checked_like_the_policy_it_may_become() {
    let files = Files::new();
    let running = files.load().unwrap();
    assert!(running.candidate.is_none());
    files.change("torhaus.yaml", "version: 1", "version: 1\npolicy_candidate_file: next.yaml");
    assert!(files.load().unwrap_err().contains("candidate policy `next.yaml` does not exist"));
    let next = BASE.replace("include: [projects/hr.yaml, projects/web.yaml]", "include: [projects/hr.yaml]");
    files.write("next.yaml", &next);
    let config = files.load().unwrap();
    let candidate = config.candidate.unwrap();
    assert_eq!(candidate.mode, CandidateMode::Shadow);
    assert_ne!(candidate.policy.version(), config.policy.version());
    assert_eq!(config.policy.version(), running.policy.version());
    assert!(config.files.contains(&files.path("next.yaml")));
    files.change("torhaus.yaml", "next.yaml", "next.yaml\npolicy_candidate_mode: 25%");
    assert_eq!(files.load().unwrap().candidate.unwrap().mode, CandidateMode::Share(25));
    for wrong in ["0%", "101%", "25", "live"] {
        files.change("torhaus.yaml", "25%", wrong);
        assert!(files.load().unwrap_err().contains("is not how far a candidate counts"), "{wrong}");
        files.change("torhaus.yaml", &format!("mode: {wrong}"), "mode: 25%");
    }
    // Its own promises count, and mistakes of both come at once.
    files.write("next.yaml", &next.replace("resource: wiki, expect: allow", "resource: wiki, expect: deny"));
    files.change("policy.yaml", "internal: standard", "internal: standrad");
    let errors = files.load().unwrap_err();
    assert!(errors.contains("next.yaml:10") && errors.contains("policy.yaml:7"), "{errors}");
}

#[test]
fn another_policy_can_be_loaded_on_the_same_configuration() {
    let files = Files::new();
    let next = BASE.replace("projects/hr.yaml, projects/web.yaml", "projects/hr.yaml");
    files.write("next.yaml", &next);
    let main = files.path("torhaus.yaml");
    let config = load_with_policy(&main, &files.path("next.yaml"), NOW).unwrap();
    assert_eq!(&**config.policy.file(), "next.yaml");
    // The one in place may be broken then.
    files.write("policy.yaml", "version: 1\ntable: [\n");
    load_with_policy(&main, &files.path("next.yaml"), NOW).unwrap();
    assert_eq!(state_dir(&main), Some(files.path("state")));
    assert_eq!(state_dir(Path::new("nowhere.yaml")), None);
}

#[test]
fn only_what_was_signed_is_loaded() {
    let files = Files::new();
    let (own, other) =
        (KeyPair::generate_unencrypted_keypair().unwrap(), KeyPair::generate_unencrypted_keypair().unwrap());
    let key = own.pk.to_base64();
    files.change("torhaus.yaml", "version: 1", &format!("version: 1\npolicy_signed_by: {key}"));
    let all = ["policy.yaml", "projects/hr.yaml", "projects/web.yaml"];
    let errors = files.load().unwrap_err();
    assert!(
        errors.contains("policy file `policy.yaml` is not signed: `policy.yaml.minisig` does not exist"),
        "{errors}"
    );
    files.sign("policy.yaml", &own);
    // Each file of the policy, not only the base.
    let errors = files.load().unwrap_err();
    assert!(errors.contains("policy.yaml:2: include[0]: policy file `projects/hr.yaml` is not signed"), "{errors}");
    all.iter().for_each(|name| files.sign(name, &own));
    let config = files.load().unwrap();
    assert!(config.policy_texts.iter().all(|text| text.signature.is_some()));
    assert!(config.files.contains(&files.path("policy.yaml.minisig")), "a signature that comes later is noticed");

    let unfit = "does not fit: it was changed since, or signed by another key";
    files.sign("projects/web.yaml", &other);
    assert!(files.load().unwrap_err().contains(unfit));
    files.sign("projects/web.yaml", &own);
    files.change("projects/web.yaml", "deny", "standard");
    // One byte: nothing of it is parsed, so the only mistake is the signature.
    let errors = files.load().unwrap_err();
    assert!(errors.contains(unfit) && errors.ends_with("1 error; nothing was loaded"), "{errors}");
    files.write("projects/web.yaml.minisig", "untrusted comment: nothing\n");
    assert!(files.load().unwrap_err().contains("is not a minisign signature"));
    files.change("torhaus.yaml", &key, "RWnonsense");
    assert!(files.load().unwrap_err().contains("this is not a minisign public key"));
}
