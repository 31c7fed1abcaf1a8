//! What a function and its extension are told so that they send to the local Datadog. Ports and the address of
//! the Invoke API are told by the sandbox.

use std::path::Path;

use intake::Intake;
use sandbox::FunctionConfig;

/// Any key is good at the local intake.
const API_KEY: &str = "0123456789abcdef0123456789abcdef";

/// The function beside the extension, which sends to the intake.
pub(crate) fn connect(function: FunctionConfig, extension: Option<&Path>, intake: &Intake) -> FunctionConfig {
    let (name, url) = (function.name.clone(), intake.url());
    let function = function
        .env("DD_API_KEY", API_KEY)
        .env("DD_DD_URL", &url)
        .env("DD_APM_DD_URL", &url)
        .env("DD_LOGS_CONFIG_LOGS_DD_URL", &url)
        .env("DD_SERVICE", name)
        .env("DD_ENV", "local");
    match extension {
        Some(path) => function.extension(path),
        None => function,
    }
}
