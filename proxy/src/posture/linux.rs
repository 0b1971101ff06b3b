//! What a Linux machine can say of itself. What cannot be read is not known, and is left out: for much of it one has to
//! be root.
use super::report::{DeviceReport, OsReport};
use super::{disk, firewall, software};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use torhaus_authz::{OsFamily, OsVersion, Timestamp};

/// Where its files are, and how its programs are asked.
pub struct Machine {
    root: PathBuf,
    run: Run,
}

/// Runs a program with arguments; what it printed, if it could be run and succeeded.
type Run = Box<dyn Fn(&str, &[&str]) -> Ran>;

/// How asking a program went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ran {
    Said(String),
    /// It is there, and says no: not allowed, not running.
    Failed(String),
    NotThere,
}

impl Machine {
    pub fn this() -> Self {
        Self { root: PathBuf::from("/"), run: Box::new(run) }
    }

    #[cfg(test)]
    pub(super) fn fake(root: &Path, run: impl Fn(&str, &[&str]) -> Ran + 'static) -> Self {
        Self { root: root.to_owned(), run: Box::new(run) }
    }

    pub fn report(&self, now: Timestamp) -> DeviceReport {
        DeviceReport {
            serial: self.text("sys/class/dmi/id/product_serial").filter(|text| torhaus_authz::serial(text).is_some()),
            disk_encrypted: disk::encrypted(self),
            firewall: firewall::closed(self),
            secure_boot: self.secure_boot(),
            edr: software::protection(self),
            patch_age_days: software::patch_age_days(self, now),
            os: Some(OsReport { family: OsFamily::Linux, version: self.version() }),
            ..DeviceReport::at(now)
        }
    }

    /// The last byte of the variable is 1 (UEFI specification, section 3.3). A machine that did not start by UEFI cannot
    /// have it.
    fn secure_boot(&self) -> Option<bool> {
        const VARIABLE: &str = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
        match fs::read(self.path(VARIABLE)) {
            Ok(bytes) => bytes.last().map(|last| *last == 1),
            Err(_) if self.exists("sys/firmware/efi") => None,
            // Where the firmware is not shown at all (a container) nothing can be told.
            Err(_) => self.exists("sys/class/dmi/id/bios_vendor").then_some(false),
        }
    }

    fn version(&self) -> Option<String> {
        let release = self.text("etc/os-release").or_else(|| self.text("usr/lib/os-release"))?;
        let value = release.lines().find_map(|line| line.strip_prefix("VERSION_ID="))?;
        let value = value.trim_matches(['"', '\'']);
        OsVersion::parse(value).is_some().then(|| value.to_owned())
    }

    pub(super) fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    pub(super) fn exists(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    /// A short text file, without the spaces around it.
    pub(super) fn text(&self, path: impl AsRef<Path>) -> Option<String> {
        fs::read_to_string(self.path(path)).ok().map(|text| text.trim().to_owned())
    }

    pub(super) fn ask(&self, program: &str, arguments: &[&str]) -> Ran {
        (self.run)(program, arguments)
    }
}

fn run(program: &str, arguments: &[&str]) -> Ran {
    // Administrators' programs are not in everybody's PATH, and somebody else's PATH is not to be believed.
    let folders = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    let Some(file) = folders.iter().map(|folder| Path::new(folder).join(program)).find(|file| file.exists()) else {
        return Ran::NotThere;
    };
    let output = Command::new(file).args(arguments).env_clear().env("LC_ALL", "C").output();
    match output {
        Ok(output) if output.status.success() => Ran::Said(String::from_utf8_lossy(&output.stdout).into_owned()),
        Ok(output) => Ran::Failed(String::from_utf8_lossy(&output.stdout).into_owned()),
        Err(_) => Ran::NotThere,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secure_boot_is_what_the_firmware_says() {
        let folder = tempfile::tempdir().unwrap();
        let machine = Machine::fake(folder.path(), |_, _| Ran::NotThere);
        let put = |path: &str, bytes: &[u8]| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        };
        assert_eq!(machine.secure_boot(), None, "a container");
        put("sys/class/dmi/id/bios_vendor", b"SeaBIOS\n");
        assert_eq!(machine.secure_boot(), Some(false), "started without UEFI");
        fs::create_dir_all(folder.path().join("sys/firmware/efi")).unwrap();
        assert_eq!(machine.secure_boot(), None, "variables that cannot be read");
        for (last, on) in [(0, false), (1, true)] {
            let name = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
            put(name, &[6, 0, 0, 0, last]);
            assert_eq!(machine.secure_boot(), Some(on));
        }
        put("etc/os-release", b"ID=debian\nVERSION_ID=\"12\"\n");
        put("sys/class/dmi/id/product_serial", b"To be filled by O.E.M.\n");
        let report = machine.report(Timestamp::from_seconds(1_795_900_000));
        assert_eq!((report.serial, report.os.unwrap().version.as_deref()), (None, Some("12")));
        put("sys/class/dmi/id/product_serial", b" C02 XK1 \n");
        let serial = machine.report(Timestamp::from_seconds(1_795_900_000)).serial;
        assert_eq!(serial.as_deref(), Some("C02 XK1"));
    }
}
