//! Where a password comes from: never from the command line, which every process of the machine can read.

use crate::cli::{Refusal, Streams};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use std::io::{BufRead, IsTerminal, Read};
use std::path::Path;

/// Longest password, in bytes; MQTT carries 65,535.
const BYTES_MAX: u64 = 4096;

pub(super) fn read(file: Option<&Path>, name: &str, streams: &mut Streams<'_>) -> Result<String, Refusal> {
    let password = match file {
        Some(file) => {
            let failed = |error| Refusal::failed(format_args!("{} cannot be read: {error}", file.display()));
            first_line(std::fs::File::open(file).map_err(failed)?)?
        }
        None if std::io::stdin().is_terminal() => {
            let password = ask(&format!("Password for {name}: "), streams)?;
            if ask("Again: ", streams)? != password {
                return Err(Refusal::failed("these are two different passwords; nothing was changed"));
            }
            password
        }
        None => first_line(std::io::stdin())?,
    };
    if password.is_empty() {
        return Err(Refusal::failed("an empty password is none; nothing was changed"));
    }
    Ok(password)
}

fn first_line(from: impl Read) -> Result<String, Refusal> {
    let mut line = String::new();
    let read = std::io::BufReader::new(from.take(BYTES_MAX + 1)).read_line(&mut line);
    read.map_err(|error| Refusal::failed(format_args!("the password cannot be read: {error}")))?;
    if line.len() as u64 > BYTES_MAX {
        return Err(Refusal::failed(format_args!("a password has at most {BYTES_MAX} bytes")));
    }
    line.truncate(line.trim_end_matches(['\r', '\n']).len());
    Ok(line)
}

/// Asks at the terminal, which does not show what is typed.
fn ask(question: &str, streams: &mut Streams<'_>) -> Result<String, Refusal> {
    let stdin = std::io::stdin();
    let failed = |error: std::io::Error| Refusal::failed(format_args!("the terminal cannot be asked: {error}"));
    let before = tcgetattr(&stdin).map_err(|error| failed(error.into()))?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    silent.local_modes.insert(LocalModes::ECHONL);
    let _restored = Restored(before);
    tcsetattr(&stdin, OptionalActions::Flush, &silent).map_err(|error| failed(error.into()))?;
    // Not standard output: that may be a file.
    write!(streams.err, "{question}").and_then(|()| streams.err.flush()).map_err(failed)?;
    let mut line = String::new();
    stdin.lock().take(BYTES_MAX).read_line(&mut line).map_err(failed)?;
    line.truncate(line.trim_end_matches(['\r', '\n']).len());
    Ok(line)
}

/// Puts the terminal back as it was, whatever happens.
struct Restored(Termios);

impl Drop for Restored {
    fn drop(&mut self) {
        // There is nobody left to tell.
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &self.0).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_the_password_whatever_ends_it() {
        for text in ["secret", "secret\n", "secret\r\n", "secret\nmore\n"] {
            assert_eq!(first_line(text.as_bytes()).unwrap(), "secret");
        }
        assert_eq!(first_line(" with spaces ".as_bytes()).unwrap(), " with spaces ");
        assert!(first_line("x".repeat(5000).as_bytes()).is_err());
    }
}
