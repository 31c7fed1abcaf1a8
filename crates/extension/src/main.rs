//! `datadog-agent`: the extension's process, as Lambda starts it from `/opt/extensions`.

use std::process::ExitCode;
use std::time::Duration;

use extension::{App, Config, log};
use tokio::runtime::{Builder, LocalOptions};

/// musl's own allocator gives memory back to the kernel at every turn, which is half of what a flood of spans costs.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    let config = Config::from_env();
    log::set_level(config.log_level);
    for problem in &config.problems {
        log::warn(format_args!("{problem}"));
    }
    // One thread does everything; others exist only for the moment in which a host name is looked up or a large
    // batch is packed.
    let runtime = Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(2)
        .thread_keep_alive(Duration::from_millis(1))
        .build_local(LocalOptions::default());
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            log::error(format_args!("cannot start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(async { App::bind(config).run().await });
    // Not waiting for a name lookup that hangs.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(fatal) => {
            log::error(format_args!("cannot run: {fatal}"));
            ExitCode::FAILURE
        }
    }
}
