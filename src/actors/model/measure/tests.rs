//! Measuring with sessions that run nothing.

use std::sync::mpsc::Sender;

use super::*;
use crate::actors::model::fake::House;
use crate::core::standing::Standing;

const PATIENCE: Duration = Duration::from_secs(30);

fn teller(said: Sender<Outcome>) -> impl FnOnce(Outcome) + Send + 'static {
    move |outcome| said.send(outcome).unwrap()
}

fn niceness() -> libc::c_int {
    // SAFETY: the call takes numbers only; 0 is the calling thread.
    unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }
}

#[test]
fn it_is_measured_at_a_lower_priority_and_with_half_of_the_cores_at_most() {
    let mut house = House::new();
    house.config.threads = 0;
    let before = niceness();
    let (tell, told) = mpsc::channel();
    let loader = house.loader(move |_, threads, _| tell.send((niceness(), threads)).unwrap());
    let (said, heard) = mpsc::channel();
    let bench = Bench::default();
    bench.begin(&house.config, house.config.beside(), false, &loader, teller(said)).unwrap();
    heard.recv_timeout(PATIENCE).unwrap().result.unwrap();
    let cores = std::thread::available_parallelism().unwrap().get();
    for (nice, threads) in told.try_iter().take(2) {
        assert!(nice >= NICENESS, "{nice}");
        assert_eq!(threads, Some((cores / 2).max(1)));
    }
    assert_eq!(niceness(), before, "the priority is the measuring thread's alone");
    assert!(bench.join(Instant::now() + PATIENCE));
}

#[test]
fn one_that_is_begun_anew_waits_for_the_end_of_the_one_before() {
    let house = House::new();
    let (tell, told) = mpsc::channel();
    let loader = house.loader(move |_, _, cancel| {
        tell.send(cancel.reason()).unwrap();
        // The first is at work until it is ended; and it is the only one at work so long.
        while cancel.reason().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(50));
        tell.send(cancel.reason()).unwrap();
    });
    let bench = Bench::default();
    let (said, heard) = mpsc::channel();
    bench.begin(&house.config, house.config.beside(), false, &loader, teller(said.clone())).unwrap();
    assert_eq!(told.recv_timeout(PATIENCE), Ok(None), "the first has begun");
    bench.begin(&house.config, house.config.beside(), false, &loader, teller(said)).unwrap();
    let mut rest = vec![told.recv_timeout(PATIENCE).unwrap()];
    assert_eq!(rest, [Some(Reason::Stopping)], "it ends before the second begins");
    // The first may still have come to its other session, which ends at once.
    while rest.last().copied().flatten().is_some() {
        rest.push(told.recv_timeout(PATIENCE).unwrap());
    }
    assert!(heard.recv_timeout(PATIENCE).unwrap().result.is_err());
    assert!(bench.join(Instant::now() + PATIENCE));
    assert!(heard.recv_timeout(PATIENCE).unwrap().result.is_err());
}

#[test]
fn frames_that_change_while_it_is_measured_make_the_receipt_void() {
    let house = House::new();
    let frames = house.config.path.with_file_name("frames");
    std::fs::create_dir(&frames).unwrap();
    let new = frames.join("new.png");
    let loader = house.loader(move |_, _, _| {
        if !new.exists() {
            std::fs::write(&new, b"frame").unwrap();
        }
    });
    let measured = qualify(&house.config, &house.config.beside(), &loader, &Cancel::default());
    assert!(measured.unwrap_err().contains("changed while it was measured"));
    assert!(qualify(&house.config, &house.config.beside(), &loader, &Cancel::default()).is_ok());
}

#[test]
fn measuring_during_which_the_process_ended_twice_is_not_begun_again_unasked() {
    let house = House::new();
    let during = house.loader(|_, _, _| {});
    let copy = house.config.path.with_file_name("copy");
    let state = house.folder.path().join("state/measuring.json");
    let kept = copy.clone();
    let loader = house.loader(move |_, _, _| drop(std::fs::copy(&state, &kept)));
    for _ in 0..2 {
        assert_eq!(house.standing(&during), Standing::Measuring, "once may be anything");
        qualify(&house.config, &house.config.beside(), &loader, &Cancel::default()).unwrap();
        assert!(!matches!(house.standing(&during), Standing::Unmeasured { .. }), "it ended as it should");
        // As it was on the disk while it was measured, and no receipt came of it.
        std::fs::copy(&copy, house.folder.path().join("state/measuring.json")).unwrap();
        std::fs::remove_file(house.folder.path().join("state/qualification.json")).unwrap();
    }
    let next = house.loader(|_, _, _| {});
    let Standing::Unmeasured { reason } = house.standing(&next) else { panic!("{:?}", house.standing(&next)) };
    assert!(reason.contains("ended twice while") && reason.contains("/api/v1/qualify"), "{reason}");
    // Whoever asks has it measured.
    let (said, heard) = mpsc::channel();
    let bench = Bench::default();
    bench.begin(&house.config, house.config.beside(), true, &next, teller(said)).unwrap();
    heard.recv_timeout(PATIENCE).unwrap().result.unwrap();
    assert!(bench.join(Instant::now() + PATIENCE));
    assert!(house.standing(&next).receipt().is_some());
}
