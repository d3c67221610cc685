//! The applications that the options name.

use std::path::PathBuf;

use ring::hmac;

/// Applications of a server, and bytes of the id of one: each channel's topic has it.
const APPS_MAX: usize = 64;
const ID_BYTES_MAX: usize = 32;
/// Bytes of a secret.
const SECRET_BYTES_MIN: usize = 16;

/// An application as an option has it: `ID:KEY:FILE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppFile {
    pub id: String,
    pub key: String,
    pub secret: PathBuf,
}

impl AppFile {
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = text.splitn(3, ':');
        let (Some(id), Some(key), Some(file)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(format!("'{text}' is not ID:KEY:FILE"));
        };
        let is_word = |word: &str| {
            let is_part = |it: u8| it.is_ascii_alphanumeric() || b"-_".contains(&it);
            !word.is_empty() && word.bytes().all(is_part)
        };
        if !is_word(id) || !is_word(key) || file.is_empty() {
            return Err(format!("'{text}': an id and a key are of letters, digits, - and _"));
        }
        if id.len() > ID_BYTES_MAX {
            return Err(format!(
                "'{id}' is longer than pusher_app_id_bytes_max = {ID_BYTES_MAX} bytes"
            ));
        }
        Ok(Self { id: id.to_owned(), key: key.to_owned(), secret: file.into() })
    }

    /// Adds it to others, of which none has its id or key.
    pub fn add_to(self, apps: &mut Vec<Self>) -> Result<(), String> {
        if apps.iter().any(|it| it.id == self.id || it.key == self.key) {
            return Err(format!(
                "two applications have the id {} or the key {}",
                self.id, self.key
            ));
        }
        if apps.len() >= APPS_MAX {
            return Err(format!("more applications than pusher_apps_max = {APPS_MAX}"));
        }
        apps.push(self);
        Ok(())
    }
}

/// An application.
#[derive(Clone, Debug)]
pub struct App {
    pub id: Box<str>,
    pub key: Box<str>,
    pub(super) secret: hmac::Key,
    /// What the names of its topics end with: nothing, for the first one.
    pub(super) suffix: String,
}

impl App {
    /// The `nth` application, with the bytes of its secret's file.
    pub fn new(nth: usize, file: &AppFile, secret: &[u8]) -> Result<Self, String> {
        let secret = secret.strip_suffix(b"\n").unwrap_or(secret);
        let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
        if secret.len() < SECRET_BYTES_MIN {
            return Err(format!(
                "the secret of an application has at least pusher_secret_bytes_min = {SECRET_BYTES_MIN} bytes, \
                 and this one {}",
                secret.len()
            ));
        }
        let suffix = if nth == 0 { String::new() } else { format!(":{}", file.id) };
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret);
        Ok(Self { id: (&*file.id).into(), key: (&*file.key).into(), secret, suffix })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_application_is_an_id_a_key_and_a_file() {
        let app = AppFile::parse("1:key-1:/etc/a:b").unwrap();
        assert_eq!((&*app.id, &*app.key, app.secret), ("1", "key-1", "/etc/a:b".into()));
        for wrong in ["", "1", "1:key", "1:key:", ":key:f", "1::f", "1:k y:f", "1/2:key:f", "é:k:f"]
        {
            assert!(AppFile::parse(wrong).is_err(), "{wrong}");
        }
        let id = |len: usize| AppFile::parse(&format!("{}:key:f", "1".repeat(len)));
        assert!(id(32).is_ok());
        assert!(id(33).unwrap_err().contains("pusher_app_id_bytes_max = 32"));
    }

    #[test]
    fn there_are_so_many_applications_and_none_is_there_twice() {
        let app = |nth: usize| AppFile::parse(&format!("{nth}:key{nth}:f")).unwrap();
        let mut apps = Vec::new();
        (0..64).for_each(|nth| app(nth).add_to(&mut apps).unwrap());
        assert!(app(64).add_to(&mut apps).unwrap_err().contains("pusher_apps_max = 64"));
        apps.truncate(1);
        for twice in ["0:other:f", "1:key0:f"] {
            assert!(AppFile::parse(twice).unwrap().add_to(&mut apps).is_err(), "{twice}");
        }
    }

    #[test]
    fn a_secret_has_so_many_bytes_without_its_line_end() {
        let app = |secret: &[u8]| App::new(0, &AppFile::parse("1:key:f").unwrap(), secret);
        assert!(app(b"0123456789abcdef\r\n").is_ok());
        assert!(app(b"0123456789abcde\n").unwrap_err().contains("pusher_secret_bytes_min = 16"));
    }
}
