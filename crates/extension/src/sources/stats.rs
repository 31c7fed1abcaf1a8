//! Statistics that a tracer computed itself: what it leaves to the agent is filled in, the rest is not read.

use model::{ClientStats, TracerInfo};

use crate::config::Config;

/// What holds for all tracers of the function.
#[derive(Debug)]
pub(crate) struct Defaults {
    env: String,
    service: String,
    version: String,
}

/// What the intake is told where no environment is set, as by the agent.
const UNKNOWN_ENV: &str = "unknown-env";

impl Defaults {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            env: config.env.clone().unwrap_or_else(|| UNKNOWN_ENV.to_owned()),
            service: config.service.clone().unwrap_or_default().to_lowercase(),
            version: config.version.clone().unwrap_or_default(),
        }
    }

    /// `None`: there is nothing in it. An error says what is wrong with the body.
    pub(crate) fn complete(&self, tracer: &TracerInfo, body: &[u8]) -> Result<Option<ClientStats>, String> {
        let known = wire::stats::Known {
            env: &self.env,
            service: &self.service,
            version: &self.version,
            language: &tracer.language,
            tracer_version: &tracer.tracer_version,
            container_id: &tracer.container_id,
        };
        let body = wire::stats::complete(body, known).map_err(|error| error.to_string())?;
        Ok(body.map(ClientStats::Sent))
    }
}
