//! Every requirement of docs/http.md that a specification or Triton states has a test that carries its number.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::harness::repository;

/// The numbers of the documentation's table with their tags.
fn requirements() -> BTreeMap<u32, String> {
    let text = std::fs::read_to_string(repository("docs/http.md")).unwrap();
    let (_, table) = text.split_once("## Requirements").unwrap();
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ");
        let number = cells.next()?.parse().ok()?;
        Some((number, cells.last()?.to_owned()))
    };
    table.lines().filter_map(row).collect()
}

/// The numbers in a test's name: `req_7_…`, `req_5_and_15_…`, `req_1_to_4_…`.
fn numbers(name: &str) -> BTreeSet<u32> {
    let mut words = name.split('_').peekable();
    let mut found = BTreeSet::new();
    let mut last = None;
    while let Some(word) = words.next() {
        match (word.parse::<u32>(), word) {
            (Ok(number), _) => {
                found.insert(number);
                last = Some(number);
            }
            (_, "to") => {
                let end = words.peek().and_then(|word| word.parse::<u32>().ok());
                if let (Some(start), Some(end)) = (last, end) {
                    found.extend(start..=end);
                }
            }
            (_, "and") => {}
            _ => break,
        }
    }
    found
}

fn tested(folder: &Path, found: &mut BTreeSet<u32>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tested(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let lines: Vec<&str> = text.lines().map(str::trim).collect();
            for (at, line) in lines.iter().enumerate() {
                if let Some(name) = line.strip_prefix("fn req_").and_then(|rest| rest.split('(').next()) {
                    let is_test = at
                        .checked_sub(1)
                        .and_then(|before| lines.get(before))
                        .is_some_and(|before| before.starts_with("#["));
                    assert!(is_test || text.contains("proptest!"), "{}: req_{name} is no test", path.display());
                    found.extend(numbers(name));
                }
            }
        }
    }
}

#[test]
fn every_tagged_requirement_has_a_test() {
    let requirements = requirements();
    let known: Vec<u32> = requirements.keys().copied().collect();
    assert_eq!(known, (1..=105).collect::<Vec<_>>(), "the table of docs/http.md has every number once");
    let mut found = BTreeSet::new();
    tested(&repository("src/http/protocol/tests"), &mut found);
    tested(&repository("tests/integration"), &mut found);
    // Our own decisions are tested like the rest; only gRPC, which is not served, has nothing to ask.
    let missing: Vec<_> =
        requirements.iter().filter(|(number, _)| !found.contains(number) && **number != 105).collect();
    assert!(missing.is_empty(), "without a test: {missing:?}");
    let unknown: Vec<_> = found.iter().filter(|number| !requirements.contains_key(number)).collect();
    assert!(unknown.is_empty(), "not in docs/http.md: {unknown:?}");
}

#[test]
fn a_tests_name_says_which_numbers_it_is_for() {
    assert_eq!(numbers("7_ready"), BTreeSet::from([7]));
    assert_eq!(numbers("5_and_15_the_2_names"), BTreeSet::from([5, 15]));
    assert_eq!(numbers("1_to_4_and_9_to_tell"), BTreeSet::from([1, 2, 3, 4, 9]));
}
