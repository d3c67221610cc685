//! The token that a command sends.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

/// What has the token where no file is named: a command line is seen by everybody on the machine.
const VARIABLE: &str = "PUSHLOOP_TOKEN";

/// What a request says of its token, as a value of `Authorization`. It is read for each connection, so that
/// one that comes after the token's end has the next one.
pub fn authorization(file: Option<&PathBuf>) -> io::Result<Option<String>> {
    let Some(token) = token(file.map(PathBuf::as_path))? else { return Ok(None) };
    let token = token.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        let why = "the token is not one word of visible ASCII";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    Ok(Some(format!("Bearer {token}")))
}

fn token(file: Option<&Path>) -> io::Result<Option<String>> {
    let Some(path) = file else { return Ok(env::var(VARIABLE).ok()) };
    let wrong = |error: io::Error| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("{}: {error}", path.display()))
    };
    fs::read_to_string(path).map(Some).map_err(wrong)
}
