//! Malware protection and updates of a Linux machine.
use super::linux::{Machine, Ran};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use torhaus_authz::{Edr, Timestamp};

/// Unit of the service manager, and its process as the kernel names it (15 characters).
const PRODUCTS: [(&str, &str); 9] = [
    ("falcon-sensor", "falcon-sensor"),
    ("mdatp", "wdavdaemon"),
    ("sentinelone", "s1-agent"),
    ("wazuh-agent", "wazuh-agentd"),
    ("ElasticEndpoint", "elastic-endpoin"),
    ("cbagentd", "cbagentd"),
    ("ds_agent", "ds_agent"),
    ("eea", "eea"),
    ("clamav-daemon", "clamd"),
];
const UNITS: [&str; 3] = ["usr/lib/systemd/system", "lib/systemd/system", "etc/systemd/system"];
const DAY: i64 = 86_400;

/// Running, installed but not running, or none that we know.
pub(super) fn protection(machine: &Machine) -> Option<Edr> {
    // Where other people's processes are hidden, none of them would look absent.
    machine.text("proc/1/comm")?;
    let running: Vec<String> = fs::read_dir(machine.path("proc"))
        .ok()?
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().bytes().all(|b| b.is_ascii_digit()))
        .filter_map(|entry| fs::read_to_string(entry.path().join("comm")).ok())
        .map(|name| name.trim().to_owned())
        .collect();
    let installed = |unit: &str| UNITS.iter().any(|folder| machine.exists(&format!("{folder}/{unit}.service")));
    let mut found = Edr::Absent;
    for (unit, process) in PRODUCTS {
        if running.iter().any(|name| name == process) {
            // Defender says itself whether it is well.
            let sick = unit == "mdatp"
                && matches!(machine.ask("mdatp", &["health", "--field", "healthy"]), Ran::Said(text) if text.trim() != "true");
            if !sick {
                return Some(Edr::Healthy);
            }
            found = Edr::Unhealthy;
        } else if installed(unit) {
            found = Edr::Unhealthy;
        }
    }
    Some(found)
}

/// Days since packages were last brought up to date; an update that waits for a restart did nothing since the start.
pub(super) fn patch_age_days(machine: &Machine, now: Timestamp) -> Option<u32> {
    let updated = [dpkg(machine), unattended(machine), rpm(machine), pacman(machine)].into_iter().flatten().max()?;
    let counts = match machine.exists("run/reboot-required") {
        true => updated.min(started(machine)?),
        false => updated,
    };
    u32::try_from((now.seconds() - counts).max(0) / DAY).ok()
}

/// The last line of dpkg.log that says `upgrade`: `2026-11-20 10:00:00 upgrade libc6:amd64 2.36-9 2.36-10`.
fn dpkg(machine: &Machine) -> Option<i64> {
    let logs = ["var/log/dpkg.log", "var/log/dpkg.log.1"].into_iter().filter_map(|log| machine.text(log));
    logs.filter_map(|log| {
        let line = log.lines().rfind(|line| line.get(19..).is_some_and(|rest| rest.starts_with(" upgrade ")))?;
        moment(line.get(..10)?, line.get(11..19)?)
    })
    .max()
}

/// Its last run that found nothing left to do, or did it.
fn unattended(machine: &Machine) -> Option<i64> {
    let meta = fs::metadata(machine.path("var/lib/apt/periodic/unattended-upgrades-stamp")).ok()?;
    Some(meta.mtime())
}

fn rpm(machine: &Machine) -> Option<i64> {
    if !machine.exists("usr/lib/sysimage/rpm") && !machine.exists("var/lib/rpm/rpmdb.sqlite") {
        return None;
    }
    let Ran::Said(times) = machine.ask("rpm", &["-qa", "--queryformat", "%{INSTALLTIME}\\n"]) else { return None };
    times.lines().filter_map(|line| line.trim().parse().ok()).max()
}

/// `[2026-11-20T10:00:00+0000] [ALPM] upgraded glibc (2.39-1 -> 2.40-1)`.
fn pacman(machine: &Machine) -> Option<i64> {
    let log = machine.text("var/log/pacman.log")?;
    let line = log.lines().rfind(|line| line.contains("] [ALPM] upgraded "))?;
    moment(line.get(1..11)?, line.get(12..20)?)
}

/// Logs are in local time, which a day does not notice.
fn moment(date: &str, clock: &str) -> Option<i64> {
    Timestamp::parse(&format!("{date}T{clock}Z")).map(Timestamp::seconds)
}

/// When the kernel started.
fn started(machine: &Machine) -> Option<i64> {
    let stat = machine.text("proc/stat")?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(root: &std::path::Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn protection_that_is_installed_and_does_not_run_is_not_healthy() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let healthy = |says: &'static str| protection(&Machine::fake(root, move |_, _| Ran::Said(says.to_owned())));
        assert_eq!(healthy(""), None, "processes are hidden");
        put(root, "proc/1/comm", "systemd\n");
        assert_eq!(healthy(""), Some(Edr::Absent));
        put(root, "usr/lib/systemd/system/mdatp.service", "");
        assert_eq!(healthy(""), Some(Edr::Unhealthy));
        put(root, "proc/77/comm", "wdavdaemon\n");
        assert_eq!((healthy("true\n"), healthy("false\n")), (Some(Edr::Healthy), Some(Edr::Unhealthy)));
        put(root, "proc/78/comm", "falcon-sensor\n");
        assert_eq!(healthy("false\n"), Some(Edr::Healthy));
    }

    #[test]
    fn updates_are_as_old_as_the_last_upgrade_or_the_start_that_did_not_take_it_up() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let now = Timestamp::parse("2026-11-28T12:00:00Z").unwrap();
        let age = || patch_age_days(&Machine::fake(root, |_, _| Ran::NotThere), now);
        assert_eq!(age(), None);
        put(root, "var/log/dpkg.log", "2026-11-27 10:00:00 install tree:amd64 <none> 2.1\n");
        assert_eq!(age(), None, "something new is no update");
        put(root, "var/log/dpkg.log.1", "2026-11-08 10:00:00 upgrade libc6:amd64 2.36-9 2.36-10\n");
        assert_eq!(age(), Some(20));
        put(root, "var/log/pacman.log", "[2026-11-18T10:00:00+0000] [ALPM] upgraded glibc (2.39-1 -> 2.40-1)\n");
        assert_eq!(age(), Some(10));
        put(root, "run/reboot-required", "");
        assert_eq!(age(), None, "nobody knows when it started");
        let start = Timestamp::parse("2026-10-29T12:00:00Z").unwrap().seconds();
        put(root, "proc/stat", &format!("cpu 1\nbtime {start}\n"));
        assert_eq!(age(), Some(30));
    }
}
