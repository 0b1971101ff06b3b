//! The command line, as a person or a script uses it: what it prints and which code it ends with.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]
use assert_cmd::Command;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tempfile::TempDir;
use time::{Duration, OffsetDateTime};
use torhaus::audit::Audit;
use torhaus_authz::{Entry, Fact, Kind, Reason, Timestamp, VerdictKind, Who};
use torhaus_certs::{Authority, LeafRequest};

const BINARY: &str = env!("CARGO_BIN_EXE_torhaus");

/// The good configuration of the `config` crate in a folder of its own, with an authority whose key we have.
struct Site {
    folder: TempDir,
    devices: Authority,
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["good", "material"] {
            let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/tests").join(name);
            fs::create_dir(folder.path().join(name)).unwrap();
            for entry in fs::read_dir(from).unwrap() {
                let entry = entry.unwrap();
                fs::copy(entry.path(), folder.path().join(name).join(entry.file_name())).unwrap();
            }
        }
        let devices = Authority::new("devices", OffsetDateTime::now_utc(), Duration::days(2)).unwrap();
        fs::write(folder.path().join("material/ca.pem"), devices.root_pem()).unwrap();
        Self { folder, devices }
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("good/torhaus.yaml")
    }

    fn change(&self, file: &str, from: &str, to: &str) {
        let path = self.folder.path().join("good").join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from}");
        fs::write(path, text.replace(from, to)).unwrap();
    }

    /// Exit code and standard output.
    fn run(&self, arguments: &str) -> (i32, String) {
        let mut command = torhaus(arguments);
        let output = command.arg("--config").arg(self.config()).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    }

    fn json(&self, arguments: &str) -> (i32, Value) {
        let (code, text) = self.run(&format!("{arguments} --output json"));
        (code, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    fn certificate(&self, authority: &Authority, request: &LeafRequest) -> String {
        let issued = authority.issue(request, OffsetDateTime::now_utc()).unwrap();
        let path = self.folder.path().join("client.pem");
        fs::write(&path, issued.cert_pem()).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

fn torhaus(arguments: &str) -> Command {
    let mut command = Command::new(BINARY);
    command.args(arguments.split_whitespace());
    command
}

#[test]
fn a_good_configuration_is_ok() {
    let site = Site::new();
    let (code, text) = site.run("check");
    assert!(code == 0 && text.contains("ok (3 listeners, 9 routes, 7 rows"), "{code} {text}");
    let (code, report) = site.json("check");
    assert_eq!((code, &report["ok"], report["errors"].as_array().unwrap().len()), (0, &Value::Bool(true), 0));
}

#[test]
fn a_broken_configuration_shows_every_mistake_at_once() {
    let site = Site::new();
    site.change("torhaus.yaml", "version: 1", "version: 1\nlisten: 8443");
    site.change("policy.yaml", "group:developers", "grupe:developers");
    let (code, text) = site.run("check");
    assert_eq!(code, 1, "{text}");
    for part in ["torhaus.yaml:3", "`listen`", "policy.yaml:", "grupe:developers", "2 errors"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let (code, report) = site.json("check");
    assert_eq!((code, report["errors"].as_array().unwrap().len()), (1, 2));
    assert_eq!(report["errors"][0]["line"], 3);
    let (code, text) = site.run("policy table");
    assert_eq!((code, text.as_str()), (1, ""), "nothing is made of a broken one");
}

#[test]
fn the_table_is_printed_as_it_stands_on_paper_and_for_programs() {
    let site = Site::new();
    let (code, text) = site.run("policy table");
    assert_eq!(code, 0);
    let row = "| samba-hr | high | group:hr, group:finance | mfa | deny |";
    assert!(text.starts_with("| resource |") && text.contains(row), "{text}");
    let (code, table) = site.json("policy table");
    assert_eq!((code, table["rows"].as_array().unwrap().len()), (0, 7));
}

#[test]
fn the_matrix_says_who_can_open_what_from_where() {
    let site = Site::new();
    let (code, text) = site.run("policy matrix");
    let row = "| group:hr | samba-hr | high | mfa | deny | require company-device |";
    assert!(code == 0 && text.contains(row), "{text}");
    let (code, matrix) = site.json("policy matrix");
    assert_eq!((code, &matrix["zones"][1]), (0, &Value::String("external".into())));
}

#[test]
fn the_policys_tests_are_run_and_one_that_fails_shows_why_and_does_not_load() {
    let site = Site::new();
    let (code, text) = site.run("policy test");
    assert!(code == 0 && text.contains("ok    HR from outside is refused") && text.contains("9 passed"), "{text}");
    site.change("policy.yaml", "expect: deny, reason: zone_denied }", "expect: deny, reason: not_allowed }");
    let (code, text) = site.run("policy test");
    assert_eq!(code, 1);
    for part in [
        "FAIL  HR from outside is refused (policy.yaml:32)",
        "expected not_allowed, found zone_denied",
        "| refused: row",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    let (code, suite) = site.json("policy test");
    assert_eq!((code, &suite["tests"][0]["differences"][0]["of"]), (1, &Value::String("reason".into())));
    for command in ["check", "policy table"] {
        assert_eq!(site.run(command).0, 1, "{command}");
    }
}

#[test]
fn explain_answers_as_the_gate_would() {
    let site = Site::new();
    let rows = [
        ("--url https://wiki.example.test/a", 1, "login", "login_needed"),
        ("--url https://wiki.example.test/a --user alice --proven standard", 1, "deny", "groups_unknown"),
        ("--url https://wiki.example.test/a --user alice --groups all-employees", 1, "step_up", "step_up_needed"),
        (
            "--url https://wiki.example.test/ --user alice --groups all-employees --proven standard",
            0,
            "allow",
            "allowed",
        ),
        ("--resource wiki --user alice --groups all-employees --proven standard:13h", 1, "step_up", "step_up_needed"),
        (
            "--resource wiki --user alice --groups x,all-employees --proven standard --country FR",
            1,
            "step_up",
            "step_up_needed",
        ),
        ("--resource wiki --user alice --groups x --proven hardware", 1, "deny", "not_allowed"),
        // Whom the second provider knows is external wherever they sit.
        ("--resource samba-hr --user partner/bob --groups hr --proven mfa --ip 10.0.0.1", 1, "deny", "zone_denied"),
        (
            "--url https://hr.example.test/files/x --user dana --groups hr --proven mfa --ip 203.0.113.5",
            1,
            "deny",
            "zone_denied",
        ),
        (
            "--url https://hr.example.test/files --user dana --groups hr --proven mfa --ip 10.0.0.1",
            1,
            "deny",
            "requirement_missing",
        ),
        (
            "--url https://hr.example.test/files --user dana --groups hr --proven mfa --ip 10.0.0.1 --certificate none",
            1,
            "deny",
            "requirement_missing",
        ),
        (
            "--url https://pve.example.test/ --user root --groups it-admins --proven hardware --ip 10.0.0.1",
            0,
            "allow",
            "allowed",
        ),
        (
            "--resource backup-api --service spiffe://example.test/backup --trust-domain partner --ip 10.0.0.1",
            0,
            "allow",
            "allowed",
        ),
        (
            "--resource backup-api --service spiffe://example.test/other --trust-domain partner --ip 10.0.0.1",
            1,
            "deny",
            "not_allowed",
        ),
        ("--resource nothing --user alice", 1, "deny", "no_rule"),
        // What the gate refuses before it asks the policy.
        ("--url https://hr.example.test/other --user dana", 1, "deny", "no_route"),
        ("--url https://unknown.example.test/", 1, "deny", "no_route"),
        ("--url https://wiki.example.test/a%2fb", 1, "deny", "bad_request"),
    ];
    for (arguments, code, verdict, reason) in rows {
        let (found, answer) = site.json(&format!("policy explain {arguments}"));
        let said = (answer["verdict"].as_str(), answer["reason"].as_str());
        assert_eq!((found, said), (code, (Some(verdict), Some(reason))), "{arguments}\n{answer:#}");
    }
    let (_, text) = site.run("policy explain --resource samba-hr --user dana --ip 203.0.113.5");
    assert!(text.contains("row `samba-hr` (policy.yaml:17)"), "names the row and its line: {text}");
}

#[test]
fn explain_judges_a_certificate_as_a_handshake_does() {
    let site = Site::new();
    let ask = |certificate: &str, who: &str, url: &str| {
        let (code, answer) =
            site.json(&format!("policy explain --url {url} --ip 10.0.0.1 {who} --certificate {certificate}"));
        (code, answer["reason"].as_str().unwrap_or_default().to_owned())
    };
    let dana = "--user dana --groups hr --proven mfa";
    let hr = "https://hr.example.test/files";
    let ours = site.certificate(&site.devices, &LeafRequest::device("laptop-7"));
    assert_eq!(ask(&ours, dana, hr), (0, "allowed".into()));
    assert_eq!(ask(&ours, dana, "https://wiki.example.test/").1, "not_allowed", "the host asks for none");
    let stranger = Authority::new("stranger", OffsetDateTime::now_utc(), Duration::days(2)).unwrap();
    let theirs = site.certificate(&stranger, &LeafRequest::device("laptop-7"));
    assert_eq!(ask(&theirs, dana, hr), (1, "certificate_invalid".into()));
}

#[test]
fn a_question_that_makes_no_sense_is_a_usage_error_that_says_what_would() {
    let site = Site::new();
    for (arguments, words) in [
        ("policy explain", "--url"),
        ("policy explain --resource wiki --user a --proven gold", "there are: standard, mfa, hardware"),
        ("policy explain --resource wiki --user a --proven mfa:soon", "`90m`"),
        ("policy explain --resource wiki --listener nowhere", "there are: mesh, plain, public"),
        ("policy explain --resource wiki --country Germany", "`DE`"),
        ("policy explain --resource wiki --service backup", "not a SPIFFE ID"),
        ("policy explain --resource wiki --service spiffe://a/b", "devices, laptops, partner"),
        (
            "policy explain --resource wiki --service spiffe://a/b --trust-domain partner",
            "may not vouch for `spiffe://a/b`",
        ),
        ("policy explain --url https://auth.example.test:8443/", "the portal itself"),
        ("audit query --since yesterday", "2026-11-23T08:00:00Z"),
        ("audit query --verdict maybe", "maybe"),
        ("session revoke", "--user"),
        ("session revoke --user a --all", "cannot be used with"),
        ("run --log loud", "loud"),
        ("fly", "unrecognized"),
    ] {
        let output = torhaus(arguments).arg("--config").arg(site.config()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments}: {said}");
        assert!(arguments == "fly" || said.contains(words), "{arguments}: {words} is not in\n{said}");
    }
}

#[test]
fn a_process_that_is_not_there_is_code_3() {
    let site = Site::new();
    for arguments in ["status", "reload", "session list", "session revoke --all"] {
        let output = torhaus(arguments).arg("--config").arg(site.config()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(3), "{arguments}: {said}");
        assert!(said.contains("is it running"), "{said}");
    }
    site.change("torhaus.yaml", "version: 1", "version: 9");
    let output = torhaus("status").arg("--config").arg(site.config()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && said.contains("--socket"), "{said}");
}

/// A log with an allowed request, a refused one, and a path made by somebody who knows terminals.
fn log(site: &Site) -> PathBuf {
    let dir = site.folder.path().join("good/state/audit");
    let now = Timestamp::from_seconds(OffsetDateTime::now_utc().unix_timestamp());
    let decided = |user: &str, verdict, reason, path: &str| Entry {
        decision: Some(format!("d-{user}").into()),
        who: Some(Who::User {
            name: user.into(),
            provider: "corp".into(),
            issuer: "https://idp".into(),
            subject: user.into(),
            federated: false,
        }),
        resource: Some("wiki".into()),
        method: Some("GET".into()),
        path: Some(path.into()),
        address: Some(Fact::Known([10, 0, 0, 1].into())),
        verdict: Some(verdict),
        reason: Some(reason),
        ..Entry::new(now, Kind::Decision)
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let audit = Audit::open(&dir, now).unwrap();
        audit.event(decided("alice", VerdictKind::Allow, Reason::Allowed, "/a")).await.unwrap();
        let by_exception =
            Entry { exception: Some("EX-14".into()), ..decided("alice", VerdictKind::Allow, Reason::Allowed, "/b") };
        audit.event(by_exception).await.unwrap();
        audit.event(decided("dana", VerdictKind::Deny, Reason::NotAllowed, "/\u{1b}[2J\u{202e}")).await.unwrap();
        audit.close(now).await.unwrap();
    });
    dir
}

#[test]
fn the_audit_log_is_verified_and_questioned() {
    let site = Site::new();
    let dir = log(&site);
    let (code, text) = site.run("audit verify");
    assert!(code == 0 && text.contains("6 lines in 1 segments form one chain"), "{text}");
    let (code, found) = site.run("audit query --user dana --since 1h --output json");
    assert_eq!((code, found.lines().count()), (0, 1));
    assert!(fs::read_to_string(dir.join("00000001.jsonl")).unwrap().contains(found.trim_end()), "as it stands there");
    let (code, found) = site.run("audit query --decision d-dana");
    assert!(code == 0 && found.contains("decision deny not_allowed dana -> wiki GET"), "{found}");
    assert!(!found.trim_end().chars().any(|c| c.is_control() || c == '\u{202e}'), "{found:?}");
    assert_eq!(site.run("audit query --reason zone_denied"), (1, String::new()));
    assert_eq!(site.run("audit query --until 1h").0, 1);
    let (code, newest) = site.run("audit tail -n 2");
    assert!(code == 0 && newest.lines().count() == 2 && newest.lines().last().unwrap().contains(" stop"), "{newest}");

    let (code, found) = site.run("audit query --exception EX-14");
    assert!(code == 0 && found.lines().count() == 1 && found.contains("by exception EX-14"), "{found}");
    assert_eq!(site.run("audit query --exception EX-15").0, 1);
    assert_eq!(site.run("audit query --kind exception_used").0, 2, "nobody writes it");

    let path = dir.join("00000001.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    let copy = dir.with_file_name("copy.jsonl");
    fs::write(&copy, &text).unwrap();
    let against = format!("audit verify --against {}", copy.display());
    let (code, said) = site.run(&against);
    assert!(code == 0 && said.contains("6 records of the copy are in the log"), "{said}");
    fs::write(&path, text.split_inclusive('\n').take(5).collect::<String>()).unwrap();
    assert_eq!(site.run("audit verify").0, 0, "a chain cannot know that its end was cut off");
    let (code, said) = site.run(&against);
    assert!(code == 1 && said.contains("record 6 of the copy is not in the log"), "{said}");
    let (code, report) = site.json(&against);
    assert_eq!((code, &report["ok"], &report["against"]["missing"]), (1, &Value::Bool(false), &6.into()));
    fs::write(&path, text.replace("\"deny\"", "\"allow\"")).unwrap();
    let (code, text) = site.run("audit verify");
    assert!(code == 1 && text.contains("00000001.jsonl") && text.contains("line 5 was altered"), "{text}");
    let (code, report) = site.json("audit verify");
    assert_eq!((code, &report["ok"]), (1, &Value::Bool(false)));
    let missing = torhaus("audit verify --dir /nonexistent").output().unwrap();
    assert_eq!(missing.status.code(), Some(1));
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let site = Site::new();
    let dir = log(&site);
    let line = fs::read_to_string(dir.join("00000001.jsonl")).unwrap();
    // Far more than a pipe holds.
    fs::write(dir.join("00000001.jsonl"), line.repeat(2000)).unwrap();
    let mut child = std::process::Command::new(BINARY)
        .args(["audit", "query", "--output", "json", "--dir"])
        .arg(&dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

#[test]
fn completions_and_manual_pages_come_from_the_same_definition() {
    for shell in ["bash", "zsh", "fish"] {
        let output = torhaus(&format!("completions {shell}")).output().unwrap();
        assert!(output.status.success() && String::from_utf8(output.stdout).unwrap().contains("explain"), "{shell}");
    }
    let page = torhaus("man").output().unwrap();
    assert!(String::from_utf8(page.stdout).unwrap().contains(".TH torhaus 1"));
    let folder = tempfile::tempdir().unwrap();
    assert!(torhaus("man --dir").arg(folder.path()).output().unwrap().status.success());
    assert!(folder.path().join("torhaus-policy-explain.1").exists());
}
