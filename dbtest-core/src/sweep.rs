//! Removes what is provably abandoned: no living process holds it, and nobody will ask for it.

use std::collections::{HashMap, HashSet};

use crate::engine::{Found, Places};
use crate::error::Result;
use crate::name::Name;

/// How many versions of one setup stay: this one, and the one of the other branch.
const VERSIONS: usize = 2;

/// Drops what [`plan`] finds. An error is not the test's: what stays is swept next time.
pub(crate) async fn abandoned(places: &dyn Places, found: &[Found], keep_max: usize) {
    for name in plan(found, places.copies(), places.drops_clones(), keep_max) {
        let is_half = found.iter().any(|place| place.name == name && place.description.is_none());
        let _ = if is_half { drop_half(places, &name).await } else { drop_free(places, &name).await };
    }
}

/// Drops the place under the lock on its name, if it is half-made still: who made it may have come
/// to the end between the moments at which a server tells what is there and what is locked.
async fn drop_half(places: &dyn Places, name: &Name) -> Result<bool> {
    let Some(hold) = places.hold(&name.to_string(), false).await? else { return Ok(false) };
    let found = places.survey().await;
    let is_half =
        |found: &[Found]| found.iter().any(|place| place.name == *name && place.description.is_none());
    let dropped = match found {
        Ok(found) if is_half(&found) => places.destroy(name).await,
        other => other.map(|_| false),
    };
    hold.release().await;
    dropped
}

/// Drops the place under the lock on its name. `false` if somebody holds it.
pub(crate) async fn drop_free(places: &dyn Places, name: &Name) -> Result<bool> {
    let Some(hold) = places.hold(&name.to_string(), false).await? else { return Ok(false) };
    let dropped = places.destroy(name).await;
    hold.release().await;
    dropped
}

/// What no living process holds: all of it that is not kept, and with `kept` that too.
pub(crate) fn free(found: &[Found], kept: bool) -> Vec<Name> {
    let free = found.iter().filter(|place| !place.held && !is_in_use(found, &place.name));
    let wanted = free.filter(|place| kept || !(place.is_kept() || matches!(place.name, Name::Stable { .. })));
    wanted.map(|place| place.name.clone()).collect()
}

/// Whether it is a template whose slots somebody holds: a MySQL slot is restored from it.
pub(crate) fn is_in_use(found: &[Found], name: &Name) -> bool {
    matches!(name, Name::Template { .. })
        && found.iter().any(|place| place.held && place.name.fingerprint() == name.fingerprint())
}

/// What nobody needs. `copies` and `drops_clones` as in [`Places`].
fn plan(found: &[Found], copies: bool, drops_clones: bool, keep_max: usize) -> Vec<Name> {
    let mut drop: Vec<Name> = kept_too_long(found, keep_max);
    let current = current_versions(found, copies);
    let in_use: HashSet<&str> =
        found.iter().filter(|place| place.held).map(|place| place.name.fingerprint()).collect();
    // A stable one is wanted until a person drops it.
    let ours = |place: &&Found| !matches!(place.name, Name::Stable { .. });
    for place in found.iter().filter(|place| !place.held).filter(ours) {
        let wanted = match (&place.name, &place.description) {
            // Half-made, and whoever made it is gone.
            (_, None) => false,
            (_, Some(description)) if description.kept.is_some() => true,
            (Name::Clone { .. }, Some(_)) if drops_clones => false,
            (name, Some(_)) => current.contains(name.fingerprint()) || in_use.contains(name.fingerprint()),
        };
        if !wanted {
            drop.push(place.name.clone());
        }
    }
    drop
}

/// The fingerprints of the newest versions of each setup.
fn current_versions(found: &[Found], copies: bool) -> HashSet<&str> {
    let mut newest: HashMap<&str, HashMap<&str, u64>> = HashMap::new();
    for place in found {
        let Some(description) = &place.description else { continue };
        if matches!(place.name, Name::Stable { .. }) {
            continue;
        }
        // Where templates are, they say which versions there are; else the slots do.
        if copies == matches!(place.name, Name::Template { .. }) {
            let made =
                newest.entry(&description.identity).or_default().entry(place.name.fingerprint()).or_default();
            *made = description.made.max(*made);
        }
    }
    newest
        .into_values()
        .flat_map(|versions| {
            let mut versions: Vec<_> = versions.into_iter().collect();
            versions.sort_by_key(|(_, made)| std::cmp::Reverse(*made));
            versions.into_iter().take(VERSIONS).map(|(fingerprint, _)| fingerprint)
        })
        .collect()
}

/// Kept places beyond the latest failure of each test and a handful in all. Those that a person
/// asked to keep are not counted.
pub(crate) fn kept_too_long(found: &[Found], keep_max: usize) -> Vec<Name> {
    let mut kept: Vec<_> = found
        .iter()
        .filter_map(|place| {
            let description = place.description.as_ref()?;
            Some((place, &description.label, description.kept.as_ref()?))
        })
        .collect();
    kept.retain(|(.., kept)| !kept.pinned);
    kept.sort_by_key(|(.., kept)| std::cmp::Reverse(kept.at));
    let mut tests = HashSet::new();
    let mut stay = 0;
    kept.into_iter()
        .filter(|(place, label, kept)| {
            // Two crates may have tests of one name.
            let latest = tests.insert((*label, &kept.test)) && stay < keep_max;
            stay += usize::from(latest);
            // One that is held was kept at this moment: it counts, and is not ours to drop.
            !latest && !place.held
        })
        .map(|(place, ..)| place.name.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::description::{Description, Kept};

    fn described(name: &str, identity: &str, made: u64) -> Found {
        let mut description = Description::new("app", identity);
        description.made = made;
        Found { name: Name::parse(name).expect("a name"), description: Some(description), held: false }
    }

    fn kept(name: &str, test: &str, at: u64) -> Found {
        let mut place = described(name, "i", 0);
        if let Some(description) = &mut place.description {
            description.kept = Some(Kept {
                test: test.into(),
                strategy: "truncate".into(),
                at,
                passed: false,
                pinned: false,
            });
        }
        place
    }

    fn names(plan: Vec<Name>) -> Vec<String> {
        plan.into_iter().map(|name| name.to_string()).collect()
    }

    const A: &str = "dbtest_t_aaaaaaaaaaaa";
    const B: &str = "dbtest_t_bbbbbbbbbbbb";
    const C: &str = "dbtest_t_cccccccccccc";
    const SLOT_A: &str = "dbtest_s_aaaaaaaaaaaa_0_000000000000";
    const CLONE_A: &str = "dbtest_c_aaaaaaaaaaaa_000000000001";

    #[test]
    fn the_third_oldest_version_goes_with_its_slots() {
        let found =
            [described(A, "i", 1), described(B, "i", 2), described(C, "i", 3), described(SLOT_A, "i", 1)];
        assert_eq!(names(plan(&found, true, true, 5)), [A, SLOT_A]);
    }

    #[test]
    fn a_version_in_use_stays() {
        let mut found =
            [described(A, "i", 1), described(B, "i", 2), described(C, "i", 3), described(SLOT_A, "i", 1)];
        found[3].held = true;
        assert!(plan(&found, true, true, 5).is_empty());
    }

    #[test]
    fn a_stable_one_stays_whatever_there_is() {
        let mut found = vec![described(A, "i", 1), described(B, "i", 2), described(C, "i", 3)];
        found.push(described("dbtest_stable_shop", "i", 0));
        for copies in [true, false] {
            assert!(!names(plan(&found, copies, true, 5)).contains(&"dbtest_stable_shop".to_owned()));
        }
        found[3].description = None;
        assert_eq!(names(plan(&found, true, true, 5)), [A]);
    }

    #[test]
    fn versions_of_other_setups_do_not_count() {
        let found = [described(A, "i", 1), described(B, "j", 2), described(C, "k", 3)];
        assert!(plan(&found, true, true, 5).is_empty());
    }

    #[test]
    fn what_is_half_made_goes_unless_its_maker_lives() {
        let mut half = described(A, "i", 1);
        half.description = None;
        assert_eq!(names(plan(std::slice::from_ref(&half), true, true, 5)), [A]);
        half.held = true;
        assert!(plan(&[half], true, true, 5).is_empty());
    }

    #[test]
    fn a_clone_without_a_holder_goes_where_clones_are_dropped() {
        let found = [described(A, "i", 1), described(CLONE_A, "i", 1)];
        assert_eq!(names(plan(&found, true, true, 5)), [CLONE_A]);
        assert!(plan(&found, true, false, 5).is_empty());
    }

    #[test]
    fn the_latest_failure_of_each_test_is_kept_and_a_handful_in_all() {
        let found = [
            kept("dbtest_s_aaaaaaaaaaaa_0_000000000001", "t1", 1),
            kept("dbtest_s_aaaaaaaaaaaa_0_000000000002", "t1", 2),
            kept("dbtest_s_aaaaaaaaaaaa_0_000000000003", "t2", 3),
            kept("dbtest_s_aaaaaaaaaaaa_0_000000000004", "t3", 4),
        ];
        assert_eq!(
            names(plan(&found, true, true, 2)),
            ["dbtest_s_aaaaaaaaaaaa_0_000000000002", "dbtest_s_aaaaaaaaaaaa_0_000000000001"]
        );
    }

    #[test]
    fn what_a_person_keeps_stays_and_takes_no_room() {
        let mut found = [
            kept("dbtest_s_aaaaaaaaaaaa_0_000000000001", "t1", 1),
            kept("dbtest_s_aaaaaaaaaaaa_0_000000000002", "t1", 2),
            kept("dbtest_s_aaaaaaaaaaaa_0_000000000003", "t2", 3),
        ];
        assert_eq!(names(plan(&found, true, true, 1)).len(), 2);
        if let Some(note) = found[0].description.as_mut().and_then(|description| description.kept.as_mut()) {
            note.pinned = true;
        }
        assert_eq!(names(plan(&found, true, true, 1)), ["dbtest_s_aaaaaaaaaaaa_0_000000000002"]);
    }

    #[test]
    fn tests_of_one_name_in_two_crates_are_two() {
        let mut found = [
            kept("dbtest_s_aaaaaaaaaaaa_0_000000000001", "t1", 1),
            kept("dbtest_s_aaaaaaaaaaaa_0_000000000002", "t1", 2),
        ];
        if let Some(description) = &mut found[1].description {
            description.label = "another".into();
        }
        assert!(plan(&found, true, true, 5).is_empty());
    }

    #[test]
    fn free_is_what_nobody_holds_and_nobody_kept() {
        let mut found = [
            described(A, "i", 1),
            described(SLOT_A, "i", 1),
            described(B, "i", 2),
            described("dbtest_s_bbbbbbbbbbbb_0_000000000000", "i", 2),
            kept("dbtest_s_cccccccccccc_0_000000000001", "t1", 1),
            described("dbtest_stable_shop", "i", 2),
        ];
        found[1].held = true;
        // The template of a slot that is held stays, too.
        assert_eq!(names(free(&found, false)), [B, "dbtest_s_bbbbbbbbbbbb_0_000000000000"]);
        assert_eq!(names(free(&found, true)).len(), 4);
    }

    #[test]
    fn without_templates_the_slots_tell_the_versions() {
        let slot = |word: char, made| {
            described(&format!("dbtest_s_{}_0_000000000000", word.to_string().repeat(12)), "i", made)
        };
        let found = [slot('a', 1), slot('b', 2), slot('c', 3)];
        assert_eq!(names(plan(&found, false, true, 5)), ["dbtest_s_aaaaaaaaaaaa_0_000000000000"]);
    }
}
