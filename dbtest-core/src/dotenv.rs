//! A `.env` file, found and read as sqlx does: in this folder or the next above it that has one.
//! Nothing of it reaches the environment of the process.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// What stands in a `.env` file.
#[derive(Debug)]
pub(crate) struct DotEnv {
    pub(crate) path: PathBuf,
    values: Vec<(String, String)>,
}

impl DotEnv {
    /// The file in this folder or the nearest above it, if there is one.
    ///
    /// # Errors
    /// It can't be read, or a line of it is none.
    pub(crate) fn find(folder: &Path) -> Result<Option<Self>> {
        let Some(path) = folder.ancestors().map(|folder| folder.join(".env")).find(|path| path.is_file())
        else {
            return Ok(None);
        };
        let text = std::fs::read_to_string(&path)
            .map_err(|error| Error::dotenv(&path.display().to_string(), &error.to_string()))?;
        Self::parse(path, &text).map(Some)
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// A line is none. The message does not show it: it may hold a password.
    pub(crate) fn parse(path: PathBuf, text: &str) -> Result<Self> {
        let text = text.trim_start_matches('\u{feff}');
        match dotenvy::from_read_iter(text.as_bytes()).collect() {
            Ok(values) => Ok(Self { path, values }),
            Err(dotenvy::Error::LineParse(line, _)) => {
                let place = match number(text, &line) {
                    Some(number) => format!("{}, line {number}", path.display()),
                    None => path.display().to_string(),
                };
                Err(Error::dotenv(&place, "it is no line of the form NAME=value"))
            }
            Err(other) => Err(Error::dotenv(&path.display().to_string(), &other.to_string())),
        }
    }

    /// The first that is given for the name, as dotenvy has it.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.values.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Which line of the text begins with this one, from 1. dotenvy cuts off what ends a line.
fn number(text: &str, line: &str) -> Option<usize> {
    let whole = |at: usize| {
        let begins = text[..at].is_empty() || text[..at].ends_with('\n');
        begins && matches!(text[at + line.len()..].chars().next(), None | Some('\n' | '\r' | '#'))
    };
    let at = text.match_indices(line).map(|(at, _)| at).find(|at| whole(*at))?;
    Some(text[..at].matches('\n').count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_file_above_is_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let deep = folder.path().join("a/b");
        std::fs::create_dir_all(&deep).expect("folders");
        std::fs::write(folder.path().join(".env"), "A=far").expect("a file");
        std::fs::write(folder.path().join("a/.env"), "# near\nexport A='n e a r'\nA=second\n")
            .expect("a file");
        let found = DotEnv::find(&deep).expect("readable").expect("a file");
        assert_eq!(found.path, folder.path().join("a/.env"));
        assert_eq!((found.get("A"), found.get("B")), (Some("n e a r"), None));
    }

    #[test]
    fn a_line_that_is_none_is_named_by_its_number_and_not_shown() {
        for text in [
            "\u{feff}# first\n\nSEC=1\nSEC ret\nB=2\n",
            "A=1\r\n\r\n\r\nSEC ret\r\n",
            "A='1\n2'\n\nSEC ret # so\n",
            "A=1\n\n\nDATABASE_URL=\"postgres://SEC ret@h/d\nB=2\n",
        ] {
            let error = DotEnv::parse("/app/.env".into(), text).expect_err("refused").to_string();
            assert!(error.contains("/app/.env, line 4: "), "{error}");
            assert!(!error.contains("SEC"), "{error}");
        }
    }
}
