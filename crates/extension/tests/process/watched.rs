//! The local Datadog of these tests, asked at its end whether anything came that the real one would refuse, drop or
//! change, or that was sent for nothing. A test that has others send such things on purpose says which rules they break.

use std::io;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Mutex;

use intake::Settings;

/// Dropping it ends it, and fails the test when a rule was broken that [`Intake::excepts`] does not name, or when one that
/// it names was not.
pub(crate) struct Intake {
    intake: intake::Intake,
    excepted: Mutex<Vec<&'static str>>,
}

impl Intake {
    pub(crate) async fn start() -> io::Result<Self> {
        intake::Intake::start().await.map(Self::of)
    }

    pub(crate) async fn start_with(address: SocketAddr, settings: Settings) -> io::Result<Self> {
        intake::Intake::start_with(address, settings).await.map(Self::of)
    }

    fn of(intake: intake::Intake) -> Self {
        Self { intake, excepted: Mutex::default() }
    }

    /// What is sent here breaks these rules, as the test wants it.
    pub(crate) fn excepts(&self, rules: &[&'static str]) {
        self.excepted.lock().unwrap().extend(rules);
    }
}

impl Deref for Intake {
    type Target = intake::Intake;

    fn deref(&self) -> &intake::Intake {
        &self.intake
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let (found, excepted) = (self.store().read(|s| s.violations(None)), self.excepted.lock().unwrap());
        let is_excepted = |rule: &'static str| excepted.contains(&rule);
        let wrong: Vec<_> = found
            .iter()
            .filter(|one| !is_excepted(one.rule))
            .map(|one| format!("{}: {one}", one.rule))
            .collect();
        assert!(wrong.is_empty(), "Datadog would not take this as it is:\n{}", wrong.join("\n"));
        let unseen: Vec<_> =
            excepted.iter().filter(|rule| !found.iter().any(|one| one.rule == **rule)).collect();
        assert!(unseen.is_empty(), "rules that nothing broke: {unseen:?}");
    }
}
