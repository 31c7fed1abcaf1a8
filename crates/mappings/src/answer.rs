//! What a function's answer says of its batch.
//! <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html>

use serde_json::Value;

pub(crate) enum Answer<B> {
    Response(B),
    /// The function failed, or was not invoked.
    Failed(String),
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// All is done but these, in the order of the batch.
    Done(Vec<String>),
    /// Nothing is done, and why.
    Failed(String),
}

impl<B: AsRef<[u8]>> Answer<B> {
    /// `ids` are those of the batch. Without `reports` an answer of whatever kind says that all is done.
    pub(crate) fn verdict(self, ids: &[String], reports: bool) -> Verdict {
        let response = match self {
            Self::Failed(why) => return Verdict::Failed(why),
            Self::Response(_) if !reports => return Verdict::Done(Vec::new()),
            Self::Response(response) => response,
        };
        let failures = serde_json::from_slice::<Value>(response.as_ref()).unwrap_or_default();
        let Some(failures) = failures.get("batchItemFailures").filter(|failures| !failures.is_null()) else {
            return Verdict::Done(Vec::new());
        };
        match failed(failures, ids) {
            Some(failed) => Verdict::Done(failed),
            // Lambda takes a name that it does not know for the failure of all.
            None => Verdict::Failed(format!(
                "what the function answers names no records of the batch: {failures}"
            )),
        }
    }
}

fn failed(failures: &Value, ids: &[String]) -> Option<Vec<String>> {
    let named: Option<Vec<&str>> =
        failures.as_array()?.iter().map(|one| one.get("itemIdentifier")?.as_str()).collect();
    let named = named?;
    let is_known = |name: &&str| ids.iter().any(|id| id == name);
    named
        .iter()
        .all(is_known)
        .then(|| ids.iter().filter(|id| named.contains(&id.as_str())).cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_answers_say() {
        let ids = ["a", "b", "c"].map(str::to_owned);
        let check = |answer: &str, expect: Option<&[&str]>| {
            let got = match Answer::Response(answer).verdict(&ids, true) {
                Verdict::Done(failed) => Some(failed),
                Verdict::Failed(_) => None,
            };
            let expect = expect.map(|all| all.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>());
            assert_eq!(got, expect, "{answer}");
        };
        for all_done in
            ["", "null", "{}", "7", r#"{"batchItemFailures":[]}"#, r#"{"batchItemFailures":null}"#]
        {
            check(all_done, Some(&[]));
        }
        check(r#"{"batchItemFailures":[{"itemIdentifier":"c"},{"itemIdentifier":"a"}]}"#, Some(&["a", "c"]));
        for none_done in [
            r#"{"batchItemFailures":[{"itemIdentifier":""}]}"#,
            r#"{"batchItemFailures":[{"itemIdentifier":null}]}"#,
            r#"{"batchItemFailures":[{"item":"a"}]}"#,
            r#"{"batchItemFailures":[{"itemIdentifier":"x"}]}"#,
            r#"{"batchItemFailures":"a"}"#,
        ] {
            check(none_done, None);
        }
        let ignored =
            Answer::Response(r#"{"batchItemFailures":[{"itemIdentifier":"a"}]}"#).verdict(&ids, false);
        assert_eq!(ignored, Verdict::Done(Vec::new()));
        assert_eq!(
            Answer::<&str>::Failed("x".to_owned()).verdict(&ids, false),
            Verdict::Failed("x".to_owned())
        );
    }
}
