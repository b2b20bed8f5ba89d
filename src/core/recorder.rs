//! The flight recorder: the last requests with the time of each stage, in bounded memory, and what they say together.

use std::collections::VecDeque;

use serde::Serialize;

/// One request, without its payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Its number since the start, from 1.
    pub number: u64,
    /// When it ended, in milliseconds since 1970.
    pub ended_ms: u64,
    /// `infer` or `frame`.
    pub kind: &'static str,
    /// How it ended, as in the metrics.
    pub outcome: &'static str,
    /// Bytes of its body.
    pub body_bytes: u64,
    /// Entries of its batch; 0 where it was not read.
    pub batch: u64,
    /// Decoding a picture, in microseconds.
    pub decode_us: u64,
    /// Resizing and normalising it, in microseconds.
    pub preprocess_us: u64,
    /// Waiting for the engine, in microseconds.
    pub queue_us: u64,
    /// The model's run, in microseconds.
    pub inference_us: u64,
    /// From its head to its end, in microseconds.
    pub total_us: u64,
}

/// The last requests.
#[derive(Clone, Debug)]
pub struct Recorder {
    limit: usize,
    last: u64,
    entries: VecDeque<Entry>,
}

impl Recorder {
    /// A recorder of at most `limit` requests.
    pub fn new(limit: usize) -> Recorder {
        Recorder { limit: limit.max(1), last: 0, entries: VecDeque::new() }
    }

    /// Holds at most `limit` requests from now on.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit.max(1);
        let surplus = self.entries.len().saturating_sub(self.limit);
        self.entries.drain(..surplus);
    }

    /// Takes a request, whose number is given here; the oldest makes room.
    pub fn push(&mut self, entry: Entry) {
        if self.entries.len() >= self.limit {
            self.entries.pop_front();
        }
        self.last += 1;
        self.entries.push_back(Entry { number: self.last, ..entry });
    }

    /// The number of the last request; 0 before the first.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// What is held, oldest first.
    pub fn entries(&self) -> Vec<Entry> {
        self.entries.iter().copied().collect()
    }

    /// How the model did by the requests after number `seen`, as far as they are still held. Those that were refused or expired
    /// tell of the load, and not of the model.
    pub fn conduct(&self, seen: u64) -> Conduct {
        let mut runs: Vec<u64> = Vec::new();
        let mut failed = 0;
        for entry in self.entries.iter().rev().take_while(|entry| entry.number > seen) {
            match entry.outcome {
                "ok" => runs.push(entry.inference_us / entry.batch.max(1)),
                "failed" => failed += 1,
                _ => {}
            }
        }
        runs.sort_unstable();
        Conduct { answered: runs.len() as u64, failed, run_p95_ms: percentile(&runs, 95) }
    }

    /// What the requests after number `seen` say together, as far as they are still held.
    pub fn since(&self, seen: u64) -> Traffic {
        let fresh = self.entries.iter().rev().take_while(|entry| entry.number > seen);
        let mut answered: Vec<u64> = Vec::new();
        let mut failed = 0;
        for entry in fresh {
            match entry.outcome {
                "ok" => answered.push(entry.total_us),
                // A wrong request is its client's affair, and so is one that it gave up.
                "invalid" | "gone" => {}
                // Refused on purpose, while an alert fires: that must not keep it firing.
                "shed" => {}
                _ => failed += 1,
            }
        }
        answered.sort_unstable();
        Traffic {
            requests: self.last.saturating_sub(seen),
            failed,
            answered: answered.len() as u64,
            p50_ms: percentile(&answered, 50),
            p95_ms: percentile(&answered, 95),
            p99_ms: percentile(&answered, 99),
        }
    }
}

/// How the requests over some time went, as far as the model is concerned.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Conduct {
    /// Answered with a result.
    pub answered: u64,
    /// Failed, and neither refused nor expired.
    pub failed: u64,
    /// An entry of 95 of 100 runs took at most this, in milliseconds; none without answers.
    pub run_p95_ms: Option<f64>,
}

impl Conduct {
    /// The requests that count.
    pub fn counted(&self) -> u64 {
        self.answered + self.failed
    }

    /// Failed ones among them, in percent; 0 without any.
    pub fn failed_percent(&self) -> f64 {
        100.0 * self.failed as f64 / self.counted().max(1) as f64
    }
}

/// What came between two samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Traffic {
    /// Requests.
    pub requests: u64,
    /// Of those still held: answered with a result.
    pub answered: u64,
    /// Of those still held: refused, expired or failed.
    pub failed: u64,
    /// Half of the answers took at most this, in milliseconds; none without answers.
    pub p50_ms: Option<f64>,
    /// 95 of 100 did.
    pub p95_ms: Option<f64>,
    /// 99 of 100 did.
    pub p99_ms: Option<f64>,
}

impl Traffic {
    /// Failed requests among those that count, in percent; none without any.
    pub fn errors_percent(&self) -> Option<f64> {
        let all = self.answered + self.failed;
        (all > 0).then(|| 100.0 * self.failed as f64 / all as f64)
    }
}

/// The nearest-rank percentile of sorted microseconds, in milliseconds.
fn percentile(sorted: &[u64], percent: usize) -> Option<f64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).map(|micros| *micros as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(outcome: &'static str, total_us: u64) -> Entry {
        Entry { outcome, total_us, ..Entry::default() }
    }

    #[test]
    fn it_holds_the_last_ones_only_and_numbers_them() {
        let mut recorder = Recorder::new(3);
        (1..=5).for_each(|total| recorder.push(request("ok", total)));
        let held: Vec<(u64, u64)> = recorder.entries().iter().map(|entry| (entry.number, entry.total_us)).collect();
        assert_eq!(held, [(3, 3), (4, 4), (5, 5)]);
    }

    #[test]
    fn percentiles_and_errors_are_those_since_the_last_sample() {
        let mut recorder = Recorder::new(1000);
        (0..50).for_each(|_| recorder.push(request("failed", 1)));
        let seen = recorder.last();
        (1..=100).for_each(|number| recorder.push(request("ok", number * 1000)));
        let traffic = recorder.since(seen);
        assert_eq!((traffic.p50_ms, traffic.p95_ms, traffic.p99_ms), (Some(50.0), Some(95.0), Some(99.0)));
        assert_eq!((traffic.requests, traffic.errors_percent()), (100, Some(0.0)));
        assert_eq!(recorder.since(recorder.last()), Traffic::default());
    }

    #[test]
    fn conduct_goes_by_the_models_own_time() {
        let mut recorder = Recorder::new(1000);
        recorder.push(request("failed", 1));
        let seen = recorder.last();
        let run = |inference_us| Entry { inference_us, ..request("ok", 1_000_000) };
        (1..=100).for_each(|number| recorder.push(run(number * 1000)));
        recorder.push(request("failed", 5));
        let conduct = recorder.conduct(seen);
        assert_eq!((conduct.answered, conduct.failed, conduct.run_p95_ms), (100, 1, Some(95.0)));
        assert_eq!((conduct.counted(), recorder.conduct(recorder.last())), (101, Conduct::default()));
    }

    #[test]
    fn conduct_tells_of_the_model_and_not_of_the_load() {
        let mut recorder = Recorder::new(1000);
        let run = |batch, inference_us| Entry { batch, inference_us, ..request("ok", 1_000_000) };
        ["refused", "shed", "expired", "gone", "invalid"].iter().for_each(|outcome| recorder.push(request(outcome, 5)));
        assert_eq!(recorder.conduct(0), Conduct::default());
        // Larger batches take longer, and an entry of them does not; a picture is one entry.
        recorder.push(run(1, 8_000));
        recorder.push(run(0, 8_000));
        recorder.push(run(8, 64_000));
        assert_eq!(recorder.conduct(0), Conduct { answered: 3, failed: 0, run_p95_ms: Some(8.0) });
    }

    #[test]
    fn a_clients_own_mistakes_are_no_errors() {
        let mut recorder = Recorder::new(10);
        ["ok", "ok", "ok", "invalid", "gone", "expired"].iter().for_each(|outcome| recorder.push(request(outcome, 5)));
        assert_eq!(recorder.since(0).errors_percent(), Some(25.0));
        assert_eq!(Recorder::new(1).since(0).errors_percent(), None);
    }
}
