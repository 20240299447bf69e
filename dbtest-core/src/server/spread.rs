//! Several servers: each test goes to the one on which this process has the fewest tests, and one
//! that can't be reached is left out. Each has its own templates; nothing else knows that there are
//! others.

use std::collections::{HashMap, HashSet};
use std::sync::{LazyLock, Mutex, PoisonError};

use super::{Kind, Server};
use crate::config::{ServerChoice, config, url_for};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::progress;

/// How many tests of this process are on each server.
static LOADS: LazyLock<Mutex<HashMap<Server, usize>>> = LazyLock::new(Mutex::default);

/// Servers that could not be reached.
static LEFT_OUT: LazyLock<Mutex<HashSet<Server>>> = LazyLock::new(Mutex::default);

/// A test on a server, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Load(Server);

impl Load {
    pub(crate) fn on(server: &Server) -> Self {
        *LOADS.lock().unwrap_or_else(PoisonError::into_inner).entry(server.clone()).or_default() += 1;
        Self(server.clone())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        if let Some(load) = LOADS.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&self.0) {
            *load -= 1;
        }
    }
}

/// The URLs in a setting: one, or several with white space or commas between. A comma within a URL
/// is one that no URL follows.
pub(super) fn urls(text: &str) -> impl Iterator<Item = &str> {
    text.split_whitespace().flat_map(split_at_commas).filter(|url| !url.is_empty())
}

fn split_at_commas(word: &str) -> Vec<&str> {
    let begins_url = |rest: &str| {
        let scheme = rest.split_once("://").map(|(scheme, _)| scheme);
        scheme.is_some_and(|scheme| scheme.chars().all(|c| c.is_ascii_alphabetic()))
    };
    let mut parts = Vec::new();
    let mut from = 0;
    for (at, _) in word.match_indices(',') {
        if word[at + 1..].is_empty() || begins_url(&word[at + 1..]) {
            parts.push(&word[from..at]);
            from = at + 1;
        }
    }
    parts.push(&word[from..]);
    parts
}

/// The servers that the setting means, the one for the next test first.
pub(crate) fn servers(server: &Server, engine: Engine) -> Result<Vec<Server>> {
    let config = config()?;
    let all: Vec<Server> = match &server.0 {
        Kind::Urls(urls) => urls.iter().map(|url| Server::url(url.as_str())).collect(),
        Kind::Auto if matches!(config.server, ServerChoice::Auto | ServerChoice::Url) => {
            let Some((variable, text)) = url_for(engine)? else { return Ok(vec![server.clone()]) };
            if urls(&text).nth(1).is_none() {
                return Ok(vec![server.clone()]);
            }
            urls(&text).map(|url| Server(Kind::Listed(variable.clone(), url.to_owned()))).collect()
        }
        _ => return Ok(vec![server.clone()]),
    };
    let loads = LOADS.lock().unwrap_or_else(PoisonError::into_inner);
    let left_out = LEFT_OUT.lock().unwrap_or_else(PoisonError::into_inner);
    let load = |at: usize| loads.get(&all[at]).copied().unwrap_or(0);
    let is_out = |at: usize| left_out.contains(&all[at]);
    // What the tests of other processes weigh is not known here.
    let order = order(all.len(), config.first_server as usize, load, is_out);
    Ok(order.into_iter().map(|at| all[at].clone()).collect())
}

/// Those that are left out are not asked while there are others.
fn order(
    count: usize,
    first: usize,
    load: impl Fn(usize) -> usize,
    is_out: impl Fn(usize) -> bool,
) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).filter(|at| !is_out(*at)).collect();
    if order.is_empty() {
        order = (0..count).collect();
    }
    order.sort_by_key(|at| (load(*at), (at + count - first % count) % count));
    order
}

/// The server could not be reached: this process uses the others from here on.
pub(crate) fn leave_out(server: &Server, error: &Error) {
    if LEFT_OUT.lock().unwrap_or_else(PoisonError::into_inner).insert(server.clone()) {
        progress::say(&format!("{server:?} is left out from here on: {}", error.what()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_loaded_is_first_and_processes_begin_at_different_ones() {
        assert_eq!(order(3, 0, |at| [2, 0, 1][at], |_| false), [1, 2, 0]);
        assert_eq!(order(3, 4, |_| 0, |_| false), [1, 2, 0]);
    }

    #[test]
    fn one_that_is_left_out_is_asked_when_there_is_no_other() {
        assert_eq!(order(3, 0, |_| 0, |at| at == 0), [1, 2]);
        assert_eq!(order(2, 1, |_| 0, |_| true), [1, 0]);
    }

    #[test]
    fn a_list_of_urls_is_separated_by_white_space_or_commas() {
        let two = ["postgres://a/x", "postgres://b/x"];
        for text in [
            "postgres://a/x\n  postgres://b/x ",
            "postgres://a/x,postgres://b/x",
            "postgres://a/x, postgres://b/x,",
        ] {
            assert_eq!(urls(text).collect::<Vec<_>>(), two, "{text:?}");
        }
        for one in ["postgres://a,b/x", "mysql://u:a,b@c/x", "postgres:///x?host=/a,/b"] {
            assert_eq!(urls(one).collect::<Vec<_>>(), [one]);
        }
    }
}
