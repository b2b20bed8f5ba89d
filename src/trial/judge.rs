//! What the end of a trial means. Pure.

use std::time::Duration;

/// The child's exit code for a model that loads and runs.
pub const EXIT_PASSED: u8 = 0;
/// The child's exit code for a file that no model can be made of.
pub const EXIT_UNUSABLE: u8 = 65;
/// The child's exit code for a file that is not there.
pub const EXIT_MISSING: u8 = 66;
/// What stands before the child's one line.
pub const REASON: &str = "reason: ";

/// The most of the runtime's last words that is passed on, in characters.
const LAST_WORDS: usize = 200;

/// How the child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// By itself.
    Exited(i32),
    /// By a signal.
    Signalled(i32),
    /// It did not, within its time.
    Late,
    /// It was ended because the daemon leaves, or wants it no more.
    Dismissed,
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It may be loaded.
    Passed,
    /// It is not there.
    Missing(String),
    /// It must not be loaded.
    Unusable(String),
    /// Nothing is known of it.
    NotTried(String),
}

/// The verdict on a child that ended so and said this, within the limit that it had.
pub(super) fn judge(ended: &Ended, said: &str, limit: Duration) -> Verdict {
    let reason = || said.lines().rev().find_map(|line| line.strip_prefix(REASON)).map(str::to_owned);
    let late = || {
        format!(
            "loading it and its warm-up do not end within {} s; see model.load_timeout_seconds",
            limit.as_secs_f64()
        )
    };
    match *ended {
        Ended::Exited(code) if code == i32::from(EXIT_PASSED) => Verdict::Passed,
        Ended::Exited(code) => match (u8::try_from(code), reason()) {
            (Ok(EXIT_MISSING), Some(reason)) => Verdict::Missing(reason),
            (Ok(EXIT_UNUSABLE), Some(reason)) => Verdict::Unusable(reason),
            (_, Some(reason)) => Verdict::NotTried(reason),
            (_, None) => Verdict::Unusable(format!(
                "loading it ends the process with exit code {code}: export it anew{}",
                last_words(said)
            )),
        },
        Ended::Late | Ended::Signalled(libc::SIGXCPU) => Verdict::Unusable(late()),
        Ended::Signalled(libc::SIGKILL) => Verdict::Unusable(
            "the system ended its trial (signal 9): it probably needs more memory than there is here".to_owned(),
        ),
        Ended::Signalled(signal @ (libc::SIGTERM | libc::SIGINT | libc::SIGHUP)) => {
            Verdict::NotTried(format!("its trial was ended from outside (signal {signal})"))
        }
        Ended::Signalled(signal) => Verdict::Unusable(format!(
            "loading it crashes ONNX Runtime (signal {signal}): the file is damaged or made to harm, export it anew{}",
            last_words(said)
        )),
        Ended::Dismissed => Verdict::Unusable("its trial was ended before it was over".to_owned()),
    }
}

/// The last line of what the runtime said, for the end of a sentence.
fn last_words(said: &str) -> String {
    let printable = |line: &str| line.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LAST_WORDS).collect();
    let last = said.lines().rev().map(str::trim).find(|line| !line.is_empty());
    last.map(|line| -> String { printable(line) }).map(|line| format!(" ({line})")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(1500);

    fn unusable(ended: Ended, said: &str) -> String {
        match judge(&ended, said, LIMIT) {
            Verdict::Unusable(reason) => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_child_that_ends_well_has_passed_whatever_it_said() {
        assert_eq!(judge(&Ended::Exited(0), "a warning\nreason: none", LIMIT), Verdict::Passed);
    }

    #[test]
    fn the_childs_own_words_are_passed_on() {
        let said = "noise of the runtime\nreason: it is not an ONNX model\n";
        assert_eq!(unusable(Ended::Exited(65), said), "it is not an ONNX model");
        assert_eq!(judge(&Ended::Exited(66), "reason: gone", LIMIT), Verdict::Missing("gone".to_owned()));
    }

    #[test]
    fn a_crash_names_its_signal_and_the_last_words() {
        let reason = unusable(Ended::Signalled(8), "");
        assert!(reason.starts_with("loading it crashes ONNX Runtime (signal 8): "), "{reason}");
        let reason = unusable(Ended::Signalled(6), "terminate called\n  what():  std::bad_alloc\n\n");
        assert!(reason.ends_with("(what():  std::bad_alloc)"), "{reason}");
        let reason = unusable(Ended::Signalled(6), &"\u{1b}x".repeat(5000));
        assert!(reason.len() < 500 && !reason.contains('\u{1b}'), "{reason}");
    }

    #[test]
    fn a_file_that_takes_too_long_is_told_the_limit() {
        for ended in [Ended::Late, Ended::Signalled(libc::SIGXCPU)] {
            let reason = unusable(ended, "");
            assert!(reason.contains("1.5 s") && reason.contains("model.load_timeout_seconds"), "{reason}");
        }
    }

    #[test]
    fn a_kill_is_taken_for_a_lack_of_memory() {
        assert!(unusable(Ended::Signalled(9), "").contains("memory"));
    }

    #[test]
    fn what_says_nothing_about_the_file_is_no_verdict_on_it() {
        assert!(matches!(judge(&Ended::Signalled(libc::SIGTERM), "", LIMIT), Verdict::NotTried(_)));
        assert!(matches!(judge(&Ended::Exited(69), "reason: no library", LIMIT), Verdict::NotTried(_)));
    }

    #[test]
    fn an_end_without_a_word_is_a_fault_of_the_file() {
        assert!(unusable(Ended::Exited(101), "thread panicked at x").contains("exit code 101"));
        assert!(unusable(Ended::Exited(65), "").contains("exit code 65"));
        assert!(unusable(Ended::Dismissed, "").contains("was ended before it was over"));
    }
}
