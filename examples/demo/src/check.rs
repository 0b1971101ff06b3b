//! Runs what the demo prints, and says whether each command does what its line promises.
use crate::run_folder::Failure;
use crate::stories::Story;
use std::fmt::Write;
use std::process::{Output, Stdio};
use std::time::Duration;
use tokio::process::Command;
use tokio::time::timeout;

const WITHIN: Duration = Duration::from_secs(30);

/// The output of the command and whether it was as promised.
pub async fn run(story: &Story) -> Result<(), Failure> {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(&story.command).stdin(Stdio::null()).kill_on_drop(true);
    let output = match timeout(WITHIN, shell.output()).await {
        Ok(output) => output?,
        Err(_) => return Err(format!("`{}` did not end within {WITHIN:?}", story.command).into()),
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let wrong = wrong(story, &output, &text);
    if wrong.is_empty() { Ok(()) } else { Err(format!("{wrong}{}\n--- output\n{text}", story.command).into()) }
}

fn wrong(story: &Story, output: &Output, text: &str) -> String {
    let mut wrong = String::new();
    if output.status.success() == story.fails {
        let should = if story.fails { "should have failed" } else { "failed" };
        let _ = writeln!(wrong, "the command {should} ({})", output.status);
    }
    for missing in story.says.iter().filter(|said| !text.contains(said.as_str())) {
        let _ = writeln!(wrong, "the output lacks `{missing}`");
    }
    for found in story.never_says.iter().filter(|said| text.contains(said.as_str())) {
        let _ = writeln!(wrong, "the output must not hold `{found}`");
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn outcome(command: &str, says: &[&str], never_says: &[&str], fails: bool) -> Result<(), String> {
        let own = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        let story = Story {
            title: String::new(),
            command: command.to_owned(),
            says: own(says),
            never_says: own(never_says),
            fails,
        };
        run(&story).await.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_command_that_does_not_do_what_it_says_is_found() {
        assert_eq!(outcome("echo allow", &["allow"], &["deny"], false).await, Ok(()));
        assert_eq!(outcome("echo closed >&2; exit 56", &["closed"], &[], true).await, Ok(()));
        assert!(outcome("echo allow", &["deny"], &[], false).await.unwrap_err().contains("lacks `deny`"));
        assert!(outcome("echo allow", &[], &["allow"], false).await.unwrap_err().contains("must not hold"));
        assert!(outcome("exit 1", &[], &[], false).await.unwrap_err().contains("failed"));
        assert!(outcome("true", &[], &[], true).await.unwrap_err().contains("should have failed"));
    }
}
