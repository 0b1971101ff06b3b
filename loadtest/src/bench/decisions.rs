//! One decision without a network: criterion's own benchmark of `authz`, run here so that it stands in the same report.

use std::path::Path;
use std::process::Stdio;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tokio::process::Command;

use super::child::pinned;
use crate::error::{Doing, Error, Result};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Decision {
    /// As criterion names it, e.g. `decide/10000`.
    pub name: String,
    pub median_ns: f64,
}

/// Runs `authz/benches/decide.rs` on one core and reads what criterion wrote.
pub async fn measure(core: u32, target_dir: &Path, quick: bool) -> Result<Vec<Decision>> {
    let results = target_dir.join("criterion");
    let before = newest(&results);
    let mut command = Command::from(pinned(core, Path::new("cargo")));
    command.args(["bench", "--quiet", "-p", "torhaus-authz", "--bench", "decide", "--"]);
    if quick {
        command.arg("--quick");
    }
    command.env("CARGO_TARGET_DIR", target_dir).stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.doing("cargo bench -p torhaus-authz")?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(Error::new(format!("cargo bench -p torhaus-authz --bench decide failed:\n{errors}")));
    }
    let mut found = Vec::new();
    collect(&results, before, &mut found)?;
    if found.is_empty() {
        return Err(Error::new(format!("criterion left no new estimates in `{}`", results.display())));
    }
    found.sort_by(|a, b| natural(&a.name).cmp(&natural(&b.name)));
    Ok(found)
}

#[derive(Deserialize)]
struct Benchmark {
    full_id: String,
}

#[derive(Deserialize)]
struct Estimates {
    median: Estimate,
}

#[derive(Deserialize)]
struct Estimate {
    point_estimate: f64,
}

/// Every `new/` folder below that was written after `before`: older ones belong to benchmarks that no longer exist.
fn collect(folder: &Path, before: Option<SystemTime>, found: &mut Vec<Decision>) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Ok(());
    };
    for entry in entries.filter_map(std::result::Result::ok) {
        let path = entry.path();
        if !path.is_dir() {
            continue;
        }
        let estimates = path.join("estimates.json");
        if path.ends_with("new") && modified(&estimates) > before {
            let Benchmark { full_id } = read(&path.join("benchmark.json"))?;
            let Estimates { median } = read(&estimates)?;
            found.push(Decision { name: full_id, median_ns: median.point_estimate });
        } else {
            collect(&path, before, found)?;
        }
    }
    Ok(())
}

fn read<T: serde::de::DeserializeOwned>(file: &Path) -> Result<T> {
    let shown = file.display();
    let text = std::fs::read(file).doing(format!("file `{shown}`"))?;
    serde_json::from_slice(&text).doing(format!("file `{shown}`"))
}

fn newest(folder: &Path) -> Option<SystemTime> {
    let entries = std::fs::read_dir(folder).ok()?;
    let times = entries.filter_map(|entry| {
        let path = entry.ok()?.path();
        if path.is_dir() { newest(&path) } else { modified(&path) }
    });
    times.max()
}

fn modified(file: &Path) -> Option<SystemTime> {
    std::fs::metadata(file).ok()?.modified().ok()
}

/// Orders `decide/10` before `decide/1000`: text first, then the number at the end.
fn natural(name: &str) -> (&str, u64) {
    let text = name.trim_end_matches(|c: char| c.is_ascii_digit());
    (text, name.strip_prefix(text).and_then(|digits| digits.parse().ok()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_estimates_of_this_run_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, nanoseconds: f64| {
            let new = folder.path().join(name).join("new");
            std::fs::create_dir_all(&new).unwrap();
            std::fs::write(new.join("benchmark.json"), format!(r#"{{"full_id":"{name}"}}"#)).unwrap();
            let estimates = format!(r#"{{"median":{{"point_estimate":{nanoseconds}}}}}"#);
            std::fs::write(new.join("estimates.json"), estimates).unwrap();
        };
        write("decide/old", 1.0);
        let before = newest(folder.path());
        std::thread::sleep(std::time::Duration::from_millis(20)); // beyond the file system's clock tick
        write("decide/10000", 900.0);
        write("decide/10", 800.0);
        let mut found = Vec::new();
        collect(folder.path(), before, &mut found).unwrap();
        found.sort_by(|a, b| natural(&a.name).cmp(&natural(&b.name)));
        let names: Vec<_> = found.iter().map(|decision| decision.name.as_str()).collect();
        assert_eq!(names, ["decide/10", "decide/10000"]);
        assert_eq!(found[0].median_ns, 800.0);
    }
}
