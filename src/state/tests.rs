//! The state directory on a real disk.

use super::*;

fn environment(variables: &[(&str, &str)]) -> Environment {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn at(path: &Path) -> StateDirectory {
    let mut config = Config::default();
    config.server.state_directory = Some(path.to_owned());
    StateDirectory::open(&config, &Environment::new())
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn the_folder_is_the_first_that_is_set() {
    let variables = [("STATE_DIRECTORY", "/a:/b"), ("XDG_STATE_HOME", "/x"), ("HOME", "/h")];
    let mut config = Config::default();
    let chosen = |config: &Config, from: usize| folder(config, &environment(&variables[from..]));
    assert_eq!(chosen(&config, 0), Some("/a".into()));
    assert_eq!(chosen(&config, 1), Some("/x/edge-service".into()));
    assert_eq!(chosen(&config, 2), Some("/h/.local/state/edge-service".into()));
    assert_eq!(chosen(&config, 3), None);
    config.server.state_directory = Some("own".into());
    assert_eq!(chosen(&config, 0), Some("own".into()));
}

#[test]
fn relative_and_empty_variables_are_passed_over() {
    let variables = environment(&[("STATE_DIRECTORY", ""), ("XDG_STATE_HOME", "x"), ("HOME", "/h")]);
    assert_eq!(folder(&Config::default(), &variables), Some("/h/.local/state/edge-service".into()));
}

#[test]
fn what_is_saved_is_there_after_a_restart() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("made/on/demand");
    at(&path).save("alerts.json", &vec![1, 2, 3], 1).unwrap();
    at(&path).save("alerts.json", &vec![4], 1).unwrap();
    assert_eq!(at(&path).load("alerts.json", 1), Recovered { value: Some(vec![4]), notice: None, is_left: false });
    assert_eq!(names(&path), ["alerts.json"]);
    assert_eq!(at(&path).load::<u8>("other.json", 1), Recovered { value: None, notice: None, is_left: false });
}

#[test]
fn an_unreadable_file_is_set_aside_and_named() {
    let root = tempfile::tempdir().unwrap();
    let state = at(root.path());
    let whole = br#"{"version":2,"data":[1]}"#;
    let cases: [(&[u8], &str); 6] = [
        (b"", "not a whole state file"),
        (&whole[..15], "not a whole state file"),
        (&[0; 64], "not a whole state file"),
        (b"\xff\xfe", "not a whole state file"),
        (br#"{"version":1,"data":[1]}"#, "its form has version 1, and this one reads 2"),
        (br#"{"version":2,"data":"text"}"#, "invalid type"),
    ];
    for (round, (bytes, why)) in cases.into_iter().enumerate() {
        fs::write(root.path().join("s.json"), bytes).unwrap();
        let recovered = state.load::<Vec<u8>>("s.json", 2);
        let notice = recovered.notice.unwrap();
        let aside = format!("s.json.unreadable-{}", (round + 1).min(5));
        assert!(recovered.value.is_none() && notice.contains(why) && notice.contains(&aside), "{notice}");
        assert_eq!(fs::read(root.path().join(aside)).unwrap(), bytes);
    }
    assert_eq!(names(root.path()).len(), 5);
    state.save("s.json", &[1], 2).unwrap();
    assert_eq!(state.load::<Vec<u8>>("s.json", 2).value, Some(vec![1]));
}

#[test]
fn a_file_that_the_system_does_not_give_is_left_and_said_so() {
    let root = tempfile::tempdir().unwrap();
    let state = at(root.path());
    // A link to itself: the system reads it no more than a disk that fails.
    std::os::unix::fs::symlink(root.path().join("s.json"), root.path().join("s.json")).unwrap();
    let recovered = state.load::<u8>("s.json", 1);
    assert!(recovered.value.is_none() && recovered.is_left, "{recovered:?}");
    assert!(recovered.notice.unwrap().contains("cannot be read now"));
    assert_eq!(names(root.path()), ["s.json"]);
}

#[test]
fn a_folder_in_the_place_of_a_file_is_set_aside() {
    let root = tempfile::tempdir().unwrap();
    let state = at(root.path());
    fs::create_dir(root.path().join("s.json")).unwrap();
    assert!(state.load::<u8>("s.json", 1).notice.unwrap().contains("it is no plain file"));
    state.save("s.json", &7, 1).unwrap();
    assert_eq!(state.load("s.json", 1).value, Some(7));
}

#[test]
fn a_save_that_fails_leaves_the_old_file_and_no_other() {
    let root = tempfile::tempdir().unwrap();
    at(root.path()).save("s.json", &1, 1).unwrap();
    let full = replace(root.path(), "s.json", |file| {
        file.write_all(b"half of")?;
        Err(io::Error::from(ErrorKind::StorageFull))
    });
    assert_eq!(full.unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(at(root.path()).load("s.json", 1).value, Some(1));
    assert_eq!(names(root.path()), ["s.json"]);
}

#[test]
fn a_save_that_the_disk_refuses_is_an_error_that_names_the_file() {
    let root = tempfile::tempdir().unwrap();
    let state = at(root.path());
    fs::create_dir_all(root.path().join("s.json/within")).unwrap();
    let error = state.save("s.json", &1, 1).unwrap_err().to_string();
    assert!(error.contains("s.json cannot be written"), "{error}");
    assert_eq!(names(root.path()), ["s.json"]);
}

#[test]
fn without_a_folder_everything_works_in_memory() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("file"), "").unwrap();
    let state = at(&root.path().join("file/below"));
    assert!(state.memory_reason().unwrap().contains("file/below cannot be written"));
    assert_eq!(state.path(), None);
    state.save("s.json", "kept", 1).unwrap();
    assert_eq!(state.load("s.json", 1).value, Some("kept".to_owned()));
    assert!(state.load::<String>("s.json", 2).notice.is_some());
    let homeless = StateDirectory::open(&Config::default(), &Environment::new());
    assert!(homeless.memory_reason().unwrap().contains("set server.state_directory"));
}

#[test]
fn names_stay_within_the_folder() {
    let root = tempfile::tempdir().unwrap();
    let state = at(root.path());
    for name in ["", "../s", "a/b", ".s", "s.json.unreadable-1", "S", "a\0b"] {
        assert!(matches!(state.save(name, &1, 1), Err(StateError::Name(_))), "{name:?}");
        assert!(state.load::<u8>(name, 1).notice.is_some(), "{name:?}");
    }
    assert!(names(root.path()).is_empty());
}

#[test]
fn what_a_killed_process_left_half_written_is_removed() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join(".s.json.4294967295.tmp"), "half").unwrap();
    fs::write(root.path().join(".s.json.1.tmp"), "of a living one").unwrap();
    fs::write(root.path().join("own.tmp"), "of the user").unwrap();
    at(root.path());
    assert_eq!(names(root.path()), [".s.json.1.tmp", "own.tmp"]);
}

#[test]
fn the_folder_and_its_files_are_for_the_user_alone() {
    use std::os::unix::fs::PermissionsExt;
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("state");
    at(&path).save("s.json", &1, 1).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(&path.join("s.json"))), (0o700, 0o600));
}
