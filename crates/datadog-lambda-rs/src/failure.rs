//! What went wrong in a handler, as a span's error tags say it: type, message, stack.

use std::any::{Any, type_name};
use std::error::Error;
use std::fmt::{Debug, Display};

use lambda_runtime::Diagnostic;
use model::Span;
use model::keys::trace;

use crate::convert::cut;
use crate::panics;

/// Causes listed after an error's own message.
const MAX_CAUSES: usize = 16;

#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Failure {
    pub(crate) kind: String,
    pub(crate) message: String,
    pub(crate) stack: String,
}

impl Failure {
    /// Of a handler's error whose `Debug` text and diagnostic are those that the runtime logs and sends.
    /// `causes` are those of [`causes`].
    pub(crate) fn of_handler(debug: &str, diagnostic: &Diagnostic, causes: &[String]) -> Self {
        let kind = error_kind(&diagnostic.error_type, debug);
        let stack = stack(debug, &diagnostic.error_message);
        Self { kind, message: with_causes(diagnostic.error_message.clone(), causes), stack }
    }

    /// Of an error that no runtime has seen yet.
    pub(crate) fn of_error<E: Display + Debug + 'static>(error: &E) -> Self {
        let debug = format!("{error:?}");
        let kind = error_kind(type_name::<E>(), &debug);
        let message = error.to_string();
        let stack = stack(&debug, &message);
        Self { kind, message: with_causes(message, &causes(error)), stack }
    }

    /// Of what a panic on this thread left.
    pub(crate) fn of_panic(payload: &dyn Any) -> Self {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
        let stack = panics::take_place().unwrap_or_default();
        Self { kind: "panic".to_owned(), message: text.unwrap_or_else(|| "panic".to_owned()), stack }
    }

    pub(crate) fn apply(self, span: &mut Span) {
        span.error = true;
        span.meta.insert(trace::ERROR_TYPE, cut(self.kind.into()));
        span.meta.insert(trace::ERROR_MESSAGE, cut(self.message.into()));
        if !self.stack.is_empty() {
            span.meta.insert(trace::ERROR_STACK, cut(self.stack.into()));
        }
    }
}

/// The messages of what caused an error, when its type lets us ask: the boxed errors that handlers mostly
/// return, and those of IO.
pub(crate) fn causes<E: 'static>(error: &E) -> Vec<String> {
    let error = error as &dyn Any;
    let boxed = error.downcast_ref::<Box<dyn Error + Send + Sync>>().map(|e| &**e as &dyn Error);
    let boxed = boxed.or_else(|| error.downcast_ref::<Box<dyn Error>>().map(|e| &**e));
    let boxed = boxed.or_else(|| error.downcast_ref::<std::io::Error>().map(|e| e as &dyn Error));
    let mut cause = boxed.and_then(Error::source);
    let mut all = Vec::new();
    while let (Some(error), true) = (cause, all.len() < MAX_CAUSES) {
        all.push(error.to_string());
        cause = error.source();
    }
    all
}

fn with_causes(mut message: String, causes: &[String]) -> String {
    for cause in causes {
        // Many errors repeat their cause in their own message.
        if !message.contains(cause.as_str()) {
            message.push_str(": ");
            message.push_str(cause);
        }
    }
    message
}

/// The `Debug` text of an error is the nearest there is to a stack, and holds one where the error has one. That
/// of a plain text is the text again.
fn stack(debug: &str, message: &str) -> String {
    if debug.trim_matches('"') == message { String::new() } else { debug.to_owned() }
}

/// The type that a person would name. A boxed error does not tell its type, but its `Debug` text mostly
/// begins with it.
fn error_kind(type_name: &str, debug: &str) -> String {
    let name = type_name.trim_start_matches('&');
    if !name.starts_with("alloc::boxed::Box<dyn ") {
        return name.to_owned();
    }
    let end = debug.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(debug.len());
    let word = debug.get(..end).unwrap_or_default();
    let is_name = word.starts_with(|c: char| c.is_uppercase());
    if is_name { word.to_owned() } else { "Error".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Unpaid(std::num::ParseIntError);

    impl Display for Unpaid {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("order not paid")
        }
    }

    impl Error for Unpaid {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    fn unpaid() -> Unpaid {
        Unpaid("x".parse::<u8>().unwrap_err())
    }

    /// As the wrapper makes it of a handler's error.
    fn handler_failure<E: Into<Diagnostic> + Debug + 'static>(error: E) -> (String, String) {
        let (debug, causes) = (format!("{error:?}"), causes(&error));
        let failure = Failure::of_handler(&debug, &error.into(), &causes);
        assert!(failure.stack == debug || failure.stack.is_empty(), "{}", failure.stack);
        (failure.kind, failure.message)
    }

    #[test]
    fn errors_of_handlers() {
        let check = |got: (String, String), kind: &str, message: &str| {
            assert_eq!((got.0.as_str(), got.1.as_str()), (kind, message));
        };
        let boxed: lambda_runtime::Error = Box::new(unpaid());
        check(handler_failure(boxed), "Unpaid", "order not paid: invalid digit found in string");
        check(handler_failure(lambda_runtime::Error::from("no stock")), "Error", "no stock");
        check(handler_failure("no stock"), "str", "no stock");
        check(handler_failure("no stock".to_owned()), "alloc::string::String", "no stock");
        check(handler_failure(std::io::Error::other("gone")), "std::io::error::Error", "gone");
        let cause = std::io::Error::other(unpaid());
        let told = "order not paid: invalid digit found in string";
        check(handler_failure(cause), "std::io::error::Error", told);
        let own = Diagnostic { error_type: "Unpaid".into(), error_message: "m".into() };
        check(handler_failure(own), "Unpaid", "m");
    }

    #[test]
    fn other_errors() {
        let failure = Failure::of_error(&unpaid());
        assert_eq!(failure.kind, type_name::<Unpaid>());
        assert_eq!(failure.message, "order not paid");
    }

    #[test]
    fn panics() {
        panics::watch();
        let payload = std::panic::catch_unwind(|| panic!("no {}", "stock")).unwrap_err();
        let failure = Failure::of_panic(&*payload);
        assert_eq!((failure.kind.as_str(), failure.message.as_str()), ("panic", "no stock"));
        assert!(
            failure.stack.starts_with("panicked at ") && failure.stack.contains("failure.rs"),
            "{}",
            failure.stack
        );
        let payload = std::panic::catch_unwind(|| std::panic::panic_any(7)).unwrap_err();
        assert_eq!(Failure::of_panic(&*payload).message, "panic");
    }
}
