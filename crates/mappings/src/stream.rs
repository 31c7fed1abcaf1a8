//! A stream: each shard is read from one end to the other, and a batch that failed is tried again before what comes after
//! it. A shard that others came of is read to its end before them.
//! <https://docs.aws.amazon.com/lambda/latest/dg/services-kinesis-batchfailurereporting.html>

use std::collections::{HashSet, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use aws_types::SdkConfig;
use serde_json::json;
use tokio::task::JoinSet;

use crate::answer::Verdict;
use crate::reader::{Position, Reader, Record, Shard};
use crate::{Backoff, Happened, Spec, Start, Target};

/// How long a shard without records is left alone: as long as Lambda does.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_millis(250));
/// How often is looked for new shards when none ends.
const LOOK: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct Stream {
    reader: Reader,
    /// Iterators of the shards that were there when it was opened, for those who want what comes from then on.
    first: Vec<(Shard, Option<String>)>,
}

impl Stream {
    pub(crate) async fn open(spec: &Spec, config: &SdkConfig) -> Result<Self, String> {
        let reader = Reader::open(spec, config).await?;
        let mut first = Vec::new();
        for shard in reader.shards().await? {
            let iterator = match spec.start {
                Start::Latest if !shard.closed => Some(reader.iterator(&shard.id, &Position::Latest).await?),
                _ => None,
            };
            first.push((shard, iterator));
        }
        Ok(Self { reader, first })
    }

    pub(crate) async fn run(self, to: Arc<Target>) -> Infallible {
        let Self { reader, first } = self;
        let mut working = JoinSet::new();
        let mut progress = Progress::default();
        let is_latest = to.spec.start == Start::Latest;
        let mut shards: Vec<Shard> = Vec::new();
        for (shard, iterator) in first {
            if is_latest {
                progress.begun.insert(shard.id.clone());
                match iterator {
                    Some(iterator) => {
                        working.spawn(read(reader.clone(), to.clone(), shard.id.clone(), Some(iterator)));
                    }
                    None => drop(progress.ended.insert(shard.id.clone())),
                }
            }
            shards.push(shard);
        }
        let mut backoff = Backoff::new();
        loop {
            for shard in progress.due(&shards) {
                working.spawn(read(reader.clone(), to.clone(), shard, None));
            }
            tokio::select! {
                Some(ended) = working.join_next() => progress.ended.extend(ended.ok()),
                () = tokio::time::sleep(LOOK) => {}
            }
            match reader.shards().await {
                Ok(now) => {
                    backoff = Backoff::new();
                    shards = now;
                }
                Err(why) => to.refused(why, &mut backoff).await,
            }
        }
    }
}

#[derive(Debug, Default)]
struct Progress {
    begun: HashSet<String>,
    ended: HashSet<String>,
}

impl Progress {
    /// The shards to begin with now.
    fn due(&mut self, shards: &[Shard]) -> Vec<String> {
        let waits =
            |parent: &String| shards.iter().any(|shard| shard.id == *parent) && !self.ended.contains(parent);
        let due = shards.iter().filter(|shard| !self.begun.contains(&shard.id));
        let due: Vec<_> = due
            .filter(|shard| !shard.parent.as_ref().is_some_and(waits))
            .map(|shard| shard.id.clone())
            .collect();
        self.begun.extend(due.iter().cloned());
        due
    }
}

/// Reads a shard to its end, and gives its id.
async fn read(reader: Reader, to: Arc<Target>, shard: String, mut iterator: Option<String>) -> String {
    let pause = if reader.is_dynamodb() { PAUSES.1 } else { PAUSES.0 };
    let mut position = if iterator.is_some() { Position::Latest } else { Position::TrimHorizon };
    let mut backoff = Backoff::new();
    loop {
        let page = async {
            let at = match iterator.take() {
                Some(at) => at,
                None => reader.iterator(&shard, &position).await?,
            };
            reader.records(&shard, &at, to.spec.batch_size).await
        };
        let (records, next) = match page.await {
            Ok(page) => page,
            // An iterator that is too old, say: another is asked for.
            Err(why) => {
                to.refused(why, &mut backoff).await;
                continue;
            }
        };
        backoff = Backoff::new();
        let is_empty = records.is_empty();
        if let Some(last) = records.last() {
            position = Position::After(last.sequence.clone());
            deliver(&to, records).await;
        }
        match next {
            Some(_) if is_empty => tokio::time::sleep(pause).await,
            Some(_) => {}
            None => return shard,
        }
        iterator = next;
    }
}

/// Gives a batch to the function until it is taken, or given up.
async fn deliver(to: &Target, records: Vec<Record>) {
    let mut batches = VecDeque::from([records]);
    let (mut tries, mut backoff) = (0, Backoff::new());
    while let Some(batch) = batches.pop_front() {
        let ids: Vec<_> = batch.iter().map(|record| record.sequence.clone()).collect();
        let event = json!({"Records": batch.iter().map(|record| &record.json).collect::<Vec<_>>()});
        let left = match to.deliver(&event, &ids).await {
            Verdict::Done(failed) => match failed.first() {
                None => {
                    tries = 0;
                    continue;
                }
                // All from there on.
                Some(first) => batch.into_iter().skip_while(|record| record.sequence != *first).collect(),
            },
            Verdict::Failed(_) => batch,
        };
        if to.spec.bisect && left.len() > 1 {
            let mut left = left;
            let rest = left.split_off(left.len() / 2);
            batches.push_front(rest);
            batches.push_front(left);
        } else if to.spec.retries.is_some_and(|most| tries >= most) {
            (to.tell)(Happened::GivenUp { records: left.len() });
            tries = 0;
            continue;
        } else {
            tries += 1;
            batches.push_front(left);
        }
        backoff.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_come_before_their_children() {
        let shard = |id: &str, parent: Option<&str>| Shard {
            id: id.to_owned(),
            parent: parent.map(str::to_owned),
            closed: parent.is_none(),
        };
        // The parent of the first is not held any more.
        let shards =
            [shard("a", Some("gone")), shard("b", Some("a")), shard("c", Some("a")), shard("d", Some("b"))];
        let mut progress = Progress::default();
        assert_eq!(progress.due(&shards), ["a"]);
        assert_eq!(progress.due(&shards), [""; 0]);
        progress.ended.insert("a".to_owned());
        assert_eq!(progress.due(&shards), ["b", "c"]);
        progress.ended.insert("c".to_owned());
        assert_eq!(progress.due(&shards), [""; 0]);
        progress.ended.insert("b".to_owned());
        assert_eq!(progress.due(&shards), ["d"]);
    }
}
