//! Who may make admin calls: whoever has the token, or this machine where there is none.

use std::fmt;
use std::path::Path;

use super::types::ServerConfig;

/// The longest token, in bytes.
const LONGEST: usize = 4096;
/// The shortest token, in bytes: less is guessed.
const SHORTEST: usize = 16;

/// Who may make admin calls.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Access {
    /// Peers on loopback.
    #[default]
    Loopback,
    /// Whoever has this token.
    Token(String),
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Access::Loopback => "Loopback",
            Access::Token(_) => "Token(…)",
        })
    }
}

impl Access {
    /// What `server.admin_token_file` says: its first line, without white space around it.
    ///
    /// # Errors
    /// One line: the file cannot be read, or holds no usable token.
    pub fn read(server: &ServerConfig) -> Result<Access, String> {
        server.admin_token_file.as_deref().map_or(Ok(Access::Loopback), |path| {
            token(path).map_err(|reason| format!("server.admin_token_file: {}: {reason}", path.display()))
        })
    }

    /// Whether a token is what counts.
    pub fn wants_token(&self) -> bool {
        matches!(self, Access::Token(_))
    }

    /// Whether a call may be made, by a peer on loopback or not, with this `Authorization`.
    pub fn allows(&self, loopback: bool, authorization: Option<&str>) -> bool {
        match self {
            Access::Loopback => loopback,
            Access::Token(token) => authorization
                .and_then(|value| value.split_once(' '))
                .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
                .is_some_and(|(_, given)| equal(given.trim().as_bytes(), token.as_bytes())),
        }
    }
}

fn token(path: &Path) -> Result<Access, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let token = text.lines().next().unwrap_or_default().trim();
    if !(SHORTEST..=LONGEST).contains(&token.len()) || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("its first line must be {SHORTEST} to {LONGEST} printable characters without spaces"));
    }
    Ok(Access::Token(token.to_owned()))
}

/// Takes as long for a token that is wrong in its first byte as for one that is wrong in its last.
fn equal(given: &[u8], wanted: &[u8]) -> bool {
    given.len() == wanted.len() && given.iter().zip(wanted).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_token_it_is_this_machine_and_with_one_it_is_who_has_it() {
        assert!(Access::Loopback.allows(true, None) && !Access::Loopback.allows(false, Some("Bearer x")));
        let token = Access::Token("0123456789abcdef".to_owned());
        assert!(token.allows(false, Some("Bearer 0123456789abcdef")));
        assert!(token.allows(true, Some("bearer  0123456789abcdef ")));
        for wrong in [None, Some("Bearer 0123456789abcdeg"), Some("Basic 0123456789abcdef"), Some("Bearer"), Some("")] {
            assert!(!token.allows(true, wrong), "{wrong:?}");
        }
        assert_eq!(format!("{token:?}"), "Token(…)");
    }

    #[test]
    fn a_file_without_a_usable_token_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Access::read(&ServerConfig { admin_token_file: Some(path.clone()), ..ServerConfig::default() })
        };
        assert_eq!(read("0123456789abcdef\n"), Ok(Access::Token("0123456789abcdef".to_owned())));
        for wrong in ["", "short\n", "with spaces in between\n"] {
            assert!(read(wrong).unwrap_err().contains("server.admin_token_file"), "{wrong}");
        }
        std::fs::remove_file(&path).unwrap();
        let missing = ServerConfig { admin_token_file: Some(path), ..ServerConfig::default() };
        assert!(Access::read(&missing).is_err());
    }
}
