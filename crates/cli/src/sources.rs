//! The queues and streams that drive functions in `dd-lambda dev`: opened before anything is built, polled while it runs.

use std::convert::Infallible;
use std::sync::Arc;

use anyhow::{Context, bail};
use mappings::{Happened, Mapping, Spec};
use sandbox::Lambda;
use serde_json::json;
use tokio::task::JoinSet;

use crate::dev::Told;
use crate::function;
use crate::run::say;
use crate::terminal::Paint;

/// Finds all of them, or says which is not there.
pub(crate) async fn open(specs: &[Spec], functions: &[function::Spec]) -> anyhow::Result<Vec<Mapping>> {
    if specs.is_empty() {
        return Ok(Vec::new());
    }
    for spec in specs {
        let names: Vec<_> = functions.iter().map(|function| function.name.as_str()).collect();
        if !names.contains(&spec.function.as_str()) {
            bail!("--source {spec}: there is no function {}; there is {}", spec.function, names.join(", "));
        }
    }
    let config = mappings::config().await;
    let mut all = Vec::new();
    for spec in specs {
        all.push(Mapping::open(spec.clone(), &config).await.with_context(|| format!("--source {spec}"))?);
    }
    Ok(all)
}

/// Polls for as long as it is polled itself.
pub(crate) async fn drive(mappings: Vec<Mapping>, lambda: &Arc<Lambda>, told: Told) -> Infallible {
    let mut all = JoinSet::new();
    for mapping in mappings {
        let spec = mapping.spec().clone();
        all.spawn(mapping.run(lambda.clone(), move |happened| tell(&spec, &happened, told)));
    }
    // None of them ends.
    while all.join_next().await.is_some() {}
    std::future::pending().await
}

fn tell(spec: &Spec, happened: &Happened, told: Told) {
    let paint = Paint::stderr();
    let of = spec.to_string();
    match happened {
        Happened::Delivered { records, failed } => {
            let line = json!({"source": of, "records": records, "failed": failed});
            told.line("delivered", &line);
            let text = format!("{of}  {records} delivered");
            match failed {
                0 => say("source", &text),
                _ => say("source", &paint.red(&format!("{text}, {failed} of them failed and come again"))),
            }
        }
        Happened::Failed { records, why } => {
            told.line("delivered", &json!({"source": of, "records": records, "failed": records, "why": why}));
            say("source", &paint.red(&format!("{of}  {records} failed and come again: {why}")));
        }
        Happened::GivenUp { records } => {
            say("source", &paint.red(&format!("{of}  {records} failed too often, and are passed over")));
        }
        Happened::Refused { why } => say("source", &paint.red(&format!("{of}  {why}; asked again"))),
    }
}
