//! `--or-original`: the work is done by a child process, so that neither a crash of the runtime nor want of memory keeps
//! a file that serves from being there.

use std::io::{ErrorKind, Read};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use super::super::{Settings, complain};
use super::{same_place, signals};
use crate::actors::model::load;
use crate::engine::LoadError;
use crate::onnx::file;

/// The longest text of the child that is kept, in bytes: its end, where it says why it failed.
const LONGEST_TEXT: usize = 64 << 10;
const EX_USAGE: u8 = 64;
const EX_NOINPUT: u8 = 66;
const EX_OSERR: u8 = 71;
const EX_IOERR: u8 = 74;

/// Runs the same command without the option; whatever comes of it, the output is a model, unless the original cannot be read or
/// the output not be written.
pub(super) fn run(settings: Settings, output: &Path) -> ExitCode {
    let running: Arc<Mutex<Option<Child>>> = Arc::default();
    let at_signal = Arc::clone(&running);
    let waiting = signals::wait(move |signal| {
        if let Some(mut child) = at_signal.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // The child leaves by itself when it is told; a number of a process cannot be one of another before it was waited for.
            if let Ok(id) = libc::pid_t::try_from(child.id()) {
                // SAFETY: it only sends a signal.
                unsafe { libc::kill(id, signal) };
            }
            let _ = child.wait();
        }
        complain(&format!("interrupted by signal {signal}"));
        // SAFETY: it ends the process, without running anything of it.
        unsafe { libc::_exit(128 + signal) }
    });
    if let Err(error) = waiting {
        complain(&format!("signals cannot be waited for: {error}"));
        return ExitCode::from(EX_OSERR);
    }
    let reason = match child(&running) {
        End::Done => return ExitCode::SUCCESS,
        End::Interrupted(code) => return ExitCode::from(code),
        End::Failed(reason) => reason,
    };
    let survey = settings.survey();
    let model = &survey.loaded.config.model.path;
    if same_place(model, output) {
        complain(&format!("{reason}; nothing was written"));
        return ExitCode::from(EX_USAGE);
    }
    // Held while it writes: a signal waits for that.
    let _whole = running.lock().unwrap_or_else(PoisonError::into_inner);
    match put_original(model, output) {
        Ok(()) => {
            complain(&format!("{} is the original, not quantised: {reason}", output.display()));
            ExitCode::SUCCESS
        }
        Err((code, error)) => {
            complain(&format!("{error}; it was not quantised either: {reason}"));
            ExitCode::from(code)
        }
    }
}

/// What became of the child.
enum End {
    /// It made the file; what it said was passed on.
    Done,
    /// It was told to leave, with this exit code: nobody wants a file any more.
    Interrupted(u8),
    /// Why it has no file, on one line.
    Failed(String),
}

fn child(running: &Mutex<Option<Child>>) -> End {
    let arguments = std::env::args_os().skip(1).filter(|argument| argument != "--or-original");
    let child = std::env::current_exe().and_then(|executable| {
        Command::new(executable).args(arguments).stdin(Stdio::null()).stderr(Stdio::piped()).spawn()
    });
    let mut child = match child {
        Ok(child) => child,
        Err(error) => return End::Failed(format!("no process for it could be started: {error}")),
    };
    let errors = child.stderr.take();
    *running.lock().unwrap_or_else(PoisonError::into_inner) = Some(child);
    // All of it is read: a child whose text is not would wait for ever.
    let text = errors.map(last_of).unwrap_or_default();
    // Its end of the pipe is closed: it has left, or is about to.
    let taken = running.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(mut child) = taken else {
        // The thread that heard the signal has it, and ends this process: nothing may begin meanwhile.
        loop {
            std::thread::park();
        }
    };
    let status = match child.wait() {
        Ok(status) => status,
        Err(error) => return End::Failed(error.to_string()),
    };
    let text = String::from_utf8_lossy(&text);
    let mut lines = text.lines().map(|line| line.strip_prefix("edge-service: ").unwrap_or(line));
    if status.success() {
        lines.for_each(|line| complain(&line));
        return End::Done;
    }
    if let Some(code) = status.code().filter(|code| signals::CODES.contains(code)) {
        return End::Interrupted(u8::try_from(code).unwrap_or(1));
    }
    let last = lines.rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
    End::Failed(match status.code() {
        Some(_) => last.to_owned(),
        None => format!("the process that did it died ({status}); its last words: {last}"),
    })
}

/// The end of what can be read, in whole lines where it is cut off.
fn last_of(mut source: impl Read) -> Vec<u8> {
    let (mut kept, mut piece) = (Vec::new(), [0; 8 << 10]);
    loop {
        match source.read(&mut piece) {
            Ok(0) => return kept,
            Ok(length) => kept.extend_from_slice(&piece[..length]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return kept,
        }
        if kept.len() > 2 * LONGEST_TEXT {
            let from = kept.len() - LONGEST_TEXT;
            let line = kept[from..].iter().position(|byte| *byte == b'\n').map_or(from, |end| from + end + 1);
            kept.drain(..line);
        }
    }
}

/// The original's bytes in the output's place; contents that lie beside it are brought in.
fn put_original(model: &Path, output: &Path) -> Result<(), (u8, String)> {
    load::hash(model).map_err(|error| match error {
        LoadError::Missing { .. } => (EX_NOINPUT, error.to_string()),
        LoadError::Unusable { .. } => (EX_IOERR, error.to_string()),
    })?;
    let missing = |error: std::io::Error| (EX_NOINPUT, format!("model file {}: {error}", model.display()));
    let bytes = bytes::Bytes::from(std::fs::read(model).map_err(missing)?);
    // What this program cannot decode the runtime may: its bytes are the original as they are.
    let parted = file::decode(bytes.clone()).is_ok_and(|mut model| file::is_parted(&mut model));
    let written = match parted {
        true => file::write(output, &file::read(model).map_err(|error| (EX_NOINPUT, error.to_string()))?),
        false => file::write_bytes(output, &bytes),
    };
    written.map_err(|error| (EX_IOERR, error.to_string()))
}
