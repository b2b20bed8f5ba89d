//! A box of the test's own making: the daemon reads its `/proc` and `/sys` instead of this machine's.

use crate::harness::{Daemon, Setup};

/// A box whose `/proc` is a folder of the test's own.
pub struct FakeBox(pub tempfile::TempDir);

impl FakeBox {
    pub fn new() -> FakeBox {
        let fake = FakeBox(tempfile::tempdir().unwrap());
        std::fs::create_dir_all(fake.0.path().join("proc/self")).unwrap();
        std::fs::create_dir_all(fake.0.path().join("sys")).unwrap();
        fake.write("proc/stat", "cpu  100 0 100 800 0 0 0 0 0 0\ncpu0 100 0 100 800 0 0 0 0 0 0\n");
        fake.write("proc/loadavg", "0.10 0.20 0.30 1/100 1\n");
        fake.memory(50);
        fake
    }

    pub fn write(&self, path: &str, text: &str) {
        // Whole or not at all: the daemon reads at any moment.
        let path = self.0.path().join(path);
        let next = path.with_extension("next");
        std::fs::write(&next, text).unwrap();
        std::fs::rename(next, path).unwrap();
    }

    pub fn memory(&self, used_percent: u64) {
        let available = (100 - used_percent) * 10_000;
        self.write(
            "proc/meminfo",
            &format!("MemTotal: 1000000 kB\nMemFree: {available} kB\nMemAvailable: {available} kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n"),
        );
    }

    pub fn setup(&self) -> Setup {
        Setup::digits()
            .env("EDGE_TEST_ROOT", self.0.path().to_str().unwrap())
            .set("monitor.interval_seconds", 0.1)
            .set("monitor.probe_timeout_seconds", 0.05)
            // The build machine's own load must not speak here.
            .set("alerts.rules.cpu.enabled", false)
            .set("alerts.rules.latency.enabled", false)
            .set("alerts.rules.restarts.enabled", false)
            .set("alerts.rules.not_ready.enabled", false)
    }
}

/// Waits until `count` more samples have been taken.
pub fn samples(daemon: &Daemon, count: u64) {
    let number = |daemon: &Daemon| {
        daemon.get("/api/v1/history").json()["samples"]
            .as_array()
            .unwrap()
            .last()
            .map_or(0, |s| s["number"].as_u64().unwrap())
    };
    let goal = number(daemon) + count;
    daemon.wait_until("more samples", |daemon| number(daemon) >= goal);
}
