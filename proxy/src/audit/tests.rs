//! Promises of the audit log, on real files.
use super::*;
use crate::audit::against::{Compared, compare};
use crate::audit::archive::{ArchiveError, archive};
use crate::audit::lines::{Stream, Target};
use crate::audit::read::{Filter, Follow, ReadError, query, verify_folder};
use crate::audit::segment::{Append, Limits, append_durably};
use std::fs;
use std::io::{self, Write as _};
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use torhaus_authz::{Broken, Fact, Record, VerdictKind, Who};

const NOON: Timestamp = Timestamp::from_seconds(1_800_000_000);

fn minutes(n: u64) -> Timestamp {
    NOON.plus(Duration::from_secs(60 * n))
}

fn decided(now: Timestamp, user: &str, id: &str) -> Entry {
    Entry {
        decision: Some(id.into()),
        who: Some(Who::User {
            name: user.into(),
            provider: "corp".into(),
            issuer: "https://idp".into(),
            subject: user.into(),
            federated: false,
        }),
        resource: Some("wiki".into()),
        verdict: Some(VerdictKind::Allow),
        reason: Some(Reason::Allowed),
        ..Entry::new(now, Kind::Decision)
    }
}

fn records(dir: &Path, filter: &Filter) -> Vec<Record> {
    let mut found = Vec::new();
    query(dir, filter, |record, _| {
        found.push(record.clone());
        ControlFlow::Continue(())
    })
    .unwrap();
    found
}

fn decisions(dir: &Path) -> Vec<Record> {
    records(dir, &Filter { kind: Some(Kind::Decision), ..Filter::default() })
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    segment::list(dir).unwrap().into_iter().map(|(_, path)| path).collect()
}

/// A disk that is full while the switch is on: it takes half of what it is given.
fn full_disk() -> (Append, Arc<AtomicBool>) {
    let full = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&full);
    let append = move |mut file: &fs::File, bytes: &[u8]| {
        if switch.load(Ordering::SeqCst) {
            file.write_all(bytes.get(..bytes.len() / 2).unwrap())?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        append_durably(file, bytes)
    };
    (Box::new(append), full)
}

async fn write_some(dir: &Path, count: u64) {
    let audit = Audit::open(dir, NOON).unwrap();
    for n in 0..count {
        audit.decision(n, false, NOON, || decided(NOON, "alice", &format!("d-{n}"))).await.unwrap();
    }
    audit.close(NOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_at_once_form_one_chain() {
    let dir = tempfile::tempdir().unwrap();
    let audit = Arc::new(Audit::open(dir.path(), NOON).unwrap());
    let tasks: Vec<_> = (0..200)
        .map(|n| {
            let audit = Arc::clone(&audit);
            tokio::spawn(
                async move { audit.decision(n, false, NOON, || decided(NOON, "alice", &format!("d-{n}"))).await },
            )
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    // What was answered is on disk before anything is closed.
    let verified = verify_folder(dir.path()).unwrap();
    assert_eq!(verified.lines, 202, "a segment line, a start line, and each decision once");
    assert_eq!(decisions(dir.path()).len(), 200);
    for path in segments(dir.path()) {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[tokio::test]
async fn the_same_facts_are_counted_and_the_count_stands_in_the_next_line() {
    let dir = tempfile::tempdir().unwrap();
    let audit = Audit::open(dir.path(), NOON).unwrap();
    let ask = async |now, id: &'static str| {
        let recorded = audit.decision(7, false, now, || decided(now, "alice", id)).await.unwrap();
        recorded.decision().map(ToString::to_string)
    };
    assert_eq!(ask(NOON, "d-1").await.as_deref(), Some("d-1"));
    for n in 1..=5 {
        assert_eq!(ask(minutes(n), "d-x").await.as_deref(), Some("d-1"), "names the line it was counted under");
    }
    assert_eq!(ask(minutes(15), "d-2").await.as_deref(), Some("d-2"));
    for _ in 0..2 {
        audit.decision(7, true, minutes(16), || decided(minutes(16), "alice", "d-every")).await.unwrap();
    }
    let found: Vec<_> =
        decisions(dir.path()).into_iter().map(|r| (r.entry.decision.unwrap(), r.entry.before)).collect();
    let expected = [("d-1", 0), ("d-2", 5), ("d-every", 0), ("d-every", 0)].map(|(id, n)| (id.into(), n));
    assert_eq!(found, expected);
    assert_eq!(audit.counters().deduped.get(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_with_one_fingerprint_writes_one_line_and_loses_no_count() {
    let dir = tempfile::tempdir().unwrap();
    let audit = Arc::new(Audit::open(dir.path(), NOON).unwrap());
    let tasks: Vec<_> = (0..200)
        .map(|_| {
            let audit = Arc::clone(&audit);
            tokio::spawn(
                async move { audit.decision(7, false, NOON, || decided(NOON, "alice", "d-1")).await.map(drop) },
            )
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(decisions(dir.path()).len(), 1);
    audit.decision(7, false, minutes(15), || decided(minutes(15), "alice", "d-2")).await.unwrap();
    assert_eq!(decisions(dir.path()).last().unwrap().entry.before, 199);
}

#[tokio::test]
async fn probing_from_one_network_cannot_fill_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let audit = Audit::open(dir.path(), NOON).unwrap();
    for n in 0..10_000u32 {
        let address = IpAddr::from([203, 0, 113, u8::try_from(n % 256).unwrap()]);
        let reason = if n % 2 == 0 { Reason::LoginNeeded } else { Reason::NoRoute };
        let entry = || Entry { path: Some(format!("/{n}").into()), ..Entry::new(NOON, Kind::Decision) };
        audit.refusal(Some(address), reason, NOON, entry).await.unwrap();
    }
    let lines = || records(dir.path(), &Filter { kind: Some(Kind::Refusals), ..Filter::default() });
    assert_eq!(lines().len(), 2, "one per reason");
    assert_eq!(lines()[0].entry.detail.as_deref(), Some("203.0.113.0/24"));
    audit.report_refusals(minutes(14)).await.unwrap();
    assert_eq!(lines().len(), 2, "the window is not over");
    audit.report_refusals(minutes(15)).await.unwrap();
    audit.report_refusals(minutes(16)).await.unwrap();
    assert_eq!(lines().len(), 4);
    assert_eq!(lines().iter().map(|r| r.entry.before).sum::<u64>(), 9_998, "every one is accounted for");
}

#[tokio::test]
async fn probing_from_everywhere_cannot_fill_the_disk_either() {
    let dir = tempfile::tempdir().unwrap();
    let quick: Append = Box::new(|mut file, bytes| file.write_all(bytes));
    let audit = Audit::open_with(dir.path(), Stream::default(), NOON, Limits::default(), quick).unwrap();
    for n in 0..30_000u32 {
        let [_, b, c, d] = (n << 8).to_be_bytes();
        let address = Some(IpAddr::from([20, b, c, d]));
        audit.refusal(address, Reason::NoRoute, NOON, || Entry::new(NOON, Kind::Decision)).await.unwrap();
    }
    let lines = records(dir.path(), &Filter { kind: Some(Kind::Refusals), ..Filter::default() });
    assert!(lines.len() <= dedupe::MOST_NETWORKS + 64, "{}", lines.len());
    assert!(lines.iter().any(|r| r.entry.detail.as_deref() == Some("0.0.0.0/0")));
}

#[tokio::test]
async fn a_full_disk_refuses_and_recovers_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let (append, full) = full_disk();
    let audit = Audit::open_with(dir.path(), Stream::default(), NOON, Limits::default(), append).unwrap();
    audit.decision(1, false, NOON, || decided(NOON, "alice", "d-1")).await.unwrap();
    full.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        let refused = audit.decision(2, false, NOON, || decided(NOON, "alice", "d-2")).await;
        assert!(refused.unwrap_err().to_string().starts_with("the audit log cannot be written: "));
    }
    assert!(audit.decision(1, false, NOON, || decided(NOON, "", "")).await.is_ok(), "counted under a line on disk");
    full.store(false, Ordering::SeqCst);
    audit.decision(2, false, NOON, || decided(NOON, "alice", "d-3")).await.unwrap();
    let verified = verify_folder(dir.path()).unwrap();
    assert_eq!((verified.lines, verified.segments, verified.unfinished_bytes), (4, 1, 0), "half-written lines are cut");
    let ids: Vec<_> = decisions(dir.path()).into_iter().filter_map(|r| r.entry.decision).collect();
    assert_eq!(ids, ["d-1".into(), "d-3".into()]);
    assert_eq!(audit.counters().failed.get(), 3);
}

#[tokio::test]
async fn a_folder_that_is_gone_refuses_nothing_forever_and_the_loss_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("audit");
    let audit = Audit::open(&folder, NOON).unwrap();
    audit.decision(1, false, NOON, || decided(NOON, "alice", "d-1")).await.unwrap();
    fs::remove_dir_all(&folder).unwrap();
    // A file in its place: the folder cannot be made again.
    fs::write(&folder, "").unwrap();
    assert!(audit.decision(2, false, NOON, || decided(NOON, "alice", "d-2")).await.is_err());
    fs::remove_file(&folder).unwrap();
    audit.decision(3, false, NOON, || decided(NOON, "alice", "d-3")).await.unwrap();
    assert_eq!(segments(&folder), [folder.join("00000002.jsonl")]);
    let verified = verify_folder(&folder).unwrap();
    assert!(verified.starts_in_the_middle && verified.first_sequence > 1, "the numbers tell that lines are missing");
}

#[tokio::test]
async fn a_log_that_was_moved_away_goes_on_in_a_new_segment() {
    let dir = tempfile::tempdir().unwrap();
    let audit = Audit::open(dir.path(), NOON).unwrap();
    let (first, moved) = (dir.path().join("00000001.jsonl"), dir.path().join("elsewhere"));
    fs::rename(&first, &moved).unwrap();
    audit.decision(1, false, NOON, || decided(NOON, "alice", "d-1")).await.unwrap();
    fs::rename(&moved, &first).unwrap();
    assert_eq!(verify_folder(dir.path()).unwrap().segments, 2, "put back, it is one chain again");
    // And one that somebody else appends to.
    fs::OpenOptions::new().append(true).open(dir.path().join("00000002.jsonl")).unwrap().write_all(b"{}\n").unwrap();
    audit.decision(2, false, NOON, || decided(NOON, "alice", "d-2")).await.unwrap();
    let broken = verify_folder(dir.path()).unwrap_err();
    assert!(matches!(broken, ReadError::Broken(path, at) if path.ends_with("00000002.jsonl") && at.line == 3));
}

#[tokio::test]
async fn segments_rotate_and_the_chain_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let open = || {
        Audit::open_with(dir.path(), Stream::default(), NOON, Limits { segment_bytes: 2048 }, Box::new(append_durably))
            .unwrap()
    };
    let groups: Arc<Groups> = Arc::new(["hr", "finance"].into_iter().collect());
    let audit = open();
    for n in 0..40 {
        let entry =
            Entry { groups: Some(Fact::Known(groups.reference())), ..decided(NOON, "alice", &format!("d-{n}")) };
        let note = Note { entry, groups: Some(groups.clone()) };
        audit.decision(n, false, NOON, || note).await.unwrap();
    }
    audit.close(NOON).await.unwrap();
    let audit = open();
    audit.close(NOON).await.unwrap();

    let count = segments(dir.path()).len();
    assert!(count > 5, "{count}");
    assert_eq!(verify_folder(dir.path()).unwrap().segments, count);
    for path in segments(dir.path()) {
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("{\"seq\":"), "{text}");
        let sets = text.matches("\"kind\":\"groups\"").count();
        let uses = text.matches(&groups.reference().to_string()).count();
        assert_eq!(sets, usize::from(uses > 0), "each segment can be read alone: {}", path.display());
    }
    let (missing, found) = (segments(dir.path())[2].clone(), segments(dir.path())[3].clone());
    fs::remove_file(missing).unwrap();
    assert!(matches!(verify_folder(dir.path()), Err(ReadError::Missing { missing: 3, found: f }) if f == found));
}

#[tokio::test]
async fn what_was_altered_removed_or_reordered_is_found() {
    type Change = fn(&mut Vec<String>);
    let rows: [(&str, Change, u64, Broken); 4] = [
        ("altered", |l| l[3] = l[3].replace("alice", "malle"), 4, Broken::Altered),
        ("removed", |l| drop(l.remove(3)), 4, Broken::NotNext { expected: 4, found: 5 }),
        ("reordered", |l| l.swap(3, 4), 4, Broken::NotNext { expected: 4, found: 5 }),
        ("the beginning cut off", |l| drop(l.drain(..2)), 1, Broken::NotTheStart),
    ];
    for (what, change, line, why) in rows {
        let dir = tempfile::tempdir().unwrap();
        write_some(dir.path(), 5).await;
        let path = dir.path().join("00000001.jsonl");
        let mut lines: Vec<String> = fs::read_to_string(&path).unwrap().lines().map(Into::into).collect();
        change(&mut lines);
        fs::write(&path, lines.join("\n") + "\n").unwrap();
        match verify_folder(dir.path()) {
            Err(ReadError::Broken(_, at)) => assert_eq!((at.line, at.why), (line, why), "{what}"),
            other => panic!("{what}: {other:?}"),
        }
        if what != "the beginning cut off" {
            let refused = Audit::open(dir.path(), NOON).err().unwrap();
            assert!(matches!(refused, OpenError::Altered(..)), "{what}: {refused}");
        }
    }
}

#[tokio::test]
async fn a_line_torn_by_a_power_failure_is_set_aside_and_noted() {
    for torn in [&b"{\"seq\":9,\"time\""[..], &[0; 300], b"\0\0\0\0\"}\n{\"seq\":9"] {
        let dir = tempfile::tempdir().unwrap();
        write_some(dir.path(), 3).await;
        let path = dir.path().join("00000001.jsonl");
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(torn).unwrap();
        write_some(dir.path(), 1).await;
        assert_eq!(verify_folder(dir.path()).unwrap().unfinished_bytes, 0);
        assert_eq!(fs::read(dir.path().join("00000001.torn")).unwrap(), torn, "nothing is thrown away");
        let starts = records(dir.path(), &Filter { kind: Some(Kind::Start), ..Filter::default() });
        let note = starts.last().unwrap().entry.detail.clone().unwrap();
        assert!(note.contains(&format!("{} bytes of a torn last line", torn.len())), "{note}");
    }
}

#[tokio::test]
async fn a_segment_that_never_got_a_line_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    write_some(dir.path(), 3).await;
    fs::write(dir.path().join("00000002.jsonl"), "{\"seq\":").unwrap();
    write_some(dir.path(), 1).await;
    assert_eq!(verify_folder(dir.path()).unwrap().segments, 1);
}

#[tokio::test]
async fn one_folder_has_one_writer() {
    let dir = tempfile::tempdir().unwrap();
    let audit = Audit::open(dir.path(), NOON).unwrap();
    assert!(matches!(Audit::open(dir.path(), NOON), Err(OpenError::Locked(_))));
    drop(audit);
    assert!(Audit::open(dir.path(), NOON).is_ok());
}

#[tokio::test]
async fn a_query_finds_what_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let audit = Audit::open(dir.path(), NOON).unwrap();
    audit.event(decided(NOON, "alice", "d-1")).await.unwrap();
    let refused = Entry {
        verdict: Some(VerdictKind::Deny),
        reason: Some(Reason::ZoneDenied),
        resource: Some("samba-hr".into()),
        ..decided(minutes(5), "dana", "d-2")
    };
    audit.event(refused).await.unwrap();
    let ids = |filter: Filter| -> Vec<String> {
        records(dir.path(), &filter).into_iter().filter_map(|r| Some(r.entry.decision?.to_string())).collect()
    };
    let any = Filter::default;
    assert_eq!(ids(any()), ["d-1", "d-2"]);
    assert_eq!(ids(Filter { user: Some("dana".into()), ..any() }), ["d-2"]);
    assert_eq!(ids(Filter { resource: Some("wiki".into()), ..any() }), ["d-1"]);
    assert_eq!(ids(Filter { verdict: Some(VerdictKind::Deny), ..any() }), ["d-2"]);
    assert_eq!(ids(Filter { reason: Some(Reason::Allowed), ..any() }), ["d-1"]);
    assert_eq!(ids(Filter { decision: Some("d-2".into()), ..any() }), ["d-2"]);
    assert_eq!(ids(Filter { since: Some(minutes(5)), ..any() }), ["d-2"]);
    assert_eq!(ids(Filter { until: Some(minutes(5)), ..any() }), ["d-1"]);
    assert!(ids(Filter { user: Some("dana".into()), reason: Some(Reason::Allowed), ..any() }).is_empty());
}

#[tokio::test]
async fn a_follower_sees_new_lines_over_the_border_of_segments() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { segment_bytes: 1024 };
    let audit = Audit::open_with(dir.path(), Stream::default(), NOON, limits, Box::new(append_durably)).unwrap();
    audit.event(decided(NOON, "alice", "d-0")).await.unwrap();
    let mut follow = Follow::open(dir.path(), 1).unwrap();
    let mut seen = Vec::new();
    for n in 1..=20 {
        audit.event(decided(NOON, "alice", &format!("d-{n}"))).await.unwrap();
        while let Some((record, _)) = follow.next_record().unwrap() {
            seen.extend(record.entry.decision.map(|d| d.to_string()));
        }
    }
    assert!(segments(dir.path()).len() > 2);
    assert_eq!(seen, (0..=20).map(|n| format!("d-{n}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_copy_kept_elsewhere_shows_what_was_cut_off_or_written_anew() {
    let elsewhere = tempfile::tempdir().unwrap();
    let copy = elsewhere.path().join("copy.jsonl");
    let compared = |dir: &Path| compare(dir, io::BufReader::new(fs::File::open(&copy).unwrap())).unwrap();
    let dir = tempfile::tempdir().unwrap();
    // Over a restart, and over the border of segments.
    for round in 0..2 {
        let (stream, end) = Stream::start("audit-copy", Target::File(copy.clone())).unwrap();
        let small = Limits { segment_bytes: 2048 };
        let audit = Audit::open_with(dir.path(), stream, NOON, small, Box::new(append_durably)).unwrap();
        for n in 0..10 {
            audit.decision(n, true, NOON, || decided(NOON, "alice", &format!("d-{round}-{n}"))).await.unwrap();
        }
        audit.close(NOON).await.unwrap();
        end.finish();
    }
    let all = verify_folder(dir.path()).unwrap();
    assert!(all.segments > 2, "{all:?}");
    assert_eq!(fs::read_to_string(&copy).unwrap().lines().count() as u64, all.lines, "every line, once");
    assert_eq!(compared(dir.path()), Compared { same: all.lines, older: 0, missing: None });
    // Between other lines of the same stream.
    let shared = fs::read_to_string(&copy).unwrap().replace('\n', "\n{\"method\":\"GET\"}\n");
    fs::write(&copy, shared).unwrap();
    assert_eq!(compared(dir.path()).same, all.lines);

    // What was archived is older, and no fault.
    let away = elsewhere.path().join("away");
    let later = NOON.plus(Duration::from_secs(1));
    assert_eq!(archive(dir.path(), NOON, &away).unwrap(), [] as [PathBuf; 0], "nothing is as old");
    let moved = archive(dir.path(), later, &away).unwrap();
    assert_eq!(moved.len(), all.segments - 1, "all but the one that is written");
    let here = verify_folder(dir.path()).unwrap();
    assert!(here.starts_in_the_middle && here.last_hash == all.last_hash);
    let expected = Compared { same: here.lines, older: all.lines - here.lines, missing: None };
    assert_eq!(compared(dir.path()), expected);
    // The process that writes goes on, and what was put away is put away once.
    write_some(dir.path(), 1).await;
    assert!(verify_folder(dir.path()).is_ok());
    fs::copy(&moved[0], dir.path().join(moved[0].file_name().unwrap())).unwrap();
    for path in &moved[1..] {
        fs::copy(path, dir.path().join(path.file_name().unwrap())).unwrap();
    }
    assert!(matches!(archive(dir.path(), later, &away), Err(ArchiveError::Taken(path)) if path == moved[0]));

    // The end is cut off: the chain still holds.
    let last = segments(dir.path()).pop().unwrap();
    let text = fs::read_to_string(&last).unwrap();
    let kept: Vec<&str> = text.lines().take(1).collect();
    fs::write(&last, kept.join("\n") + "\n").unwrap();
    let cut = verify_folder(dir.path()).unwrap();
    assert_eq!(compared(dir.path()).missing, Some(cut.last_sequence + 1));
    // All of it is another.
    let other = tempfile::tempdir().unwrap();
    write_some(other.path(), 3).await;
    assert!(verify_folder(other.path()).is_ok());
    assert!(compared(other.path()).missing.is_some());
}
