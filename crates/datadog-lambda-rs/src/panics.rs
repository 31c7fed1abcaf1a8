//! Panics, as they happen: where they come from, which their payload does not tell; and, in a function built
//! with `panic = "abort"`, the last words of its invocation.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::RefCell;
use std::sync::{Arc, Once};

use crate::datadog::Datadog;
use crate::failure::Failure;
use crate::invocation::Invocation;
use crate::{ids, start};

thread_local! {
    /// Where the last panic of this thread came from.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Adds to what is done on a panic. What was done before is done first.
pub(crate) fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            before(panic);
            let mut place = panic.location().map(|at| format!("panicked at {at}")).unwrap_or_default();
            let backtrace = Backtrace::capture();
            if backtrace.status() == BacktraceStatus::Captured {
                place.push_str(&format!("\n{backtrace}"));
            }
            // A panic while this thread ends finds the cell gone: nothing to note then.
            let _ = PLACE.try_with(|last| last.replace(Some(place)));
            let invocation = Invocation::current();
            match invocation {
                Some(invocation) if cfg!(panic = "abort") => {
                    last_words(&invocation, Failure::of_panic(panic.payload()));
                }
                // Nobody catches what panics in `main` before the runtime is there.
                None if std::thread::current().name() == Some("main") => {
                    start::panicked(|| Failure::of_panic(panic.payload()));
                }
                _ => {}
            }
        }));
    });
}

pub(crate) fn take_place() -> Option<String> {
    PLACE.try_with(RefCell::take).ok().flatten()
}

/// Sends what there is of an invocation whose process is about to end: nothing will unwind, nothing be polled.
pub(crate) fn last_words(invocation: &Arc<Invocation>, failure: Failure) {
    invocation.failed(ids::now(), failure);
    Datadog::flush_now(invocation);
}
