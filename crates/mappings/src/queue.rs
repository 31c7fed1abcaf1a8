//! A queue: a batch is taken, what was worked on is deleted, and what was not comes again once its visibility timeout is
//! over. <https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html>

use std::convert::Infallible;
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{
    DeleteMessageBatchRequestEntry, Message, MessageSystemAttributeName, QueueAttributeName,
};
use aws_types::SdkConfig;
use tokio::time::Instant;

use crate::answer::Verdict;
use crate::{Backoff, Kind, Spec, Target, events, explain};

/// As many as one request gives or deletes.
const MOST: usize = 10;
/// How long a request waits for the first message.
const LONG_POLL: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub(crate) struct Queue {
    client: Client,
    url: String,
    arn: String,
}

impl Queue {
    pub(crate) async fn open(spec: &Spec, config: &SdkConfig) -> Result<Self, String> {
        let client = Client::new(config);
        let arn = QueueAttributeName::QueueArn;
        let told =
            client.get_queue_attributes().queue_url(&spec.source).attribute_names(arn.clone()).send().await;
        let told = told.map_err(explain)?;
        let arn = told.attributes().and_then(|all| all.get(&arn)).ok_or("the queue has no ARN")?.clone();
        Ok(Self { client, url: spec.source.clone(), arn })
    }

    pub(crate) async fn run(&self, to: &Target) -> Infallible {
        let mut backoff = Backoff::new();
        loop {
            match self.batch(&to.spec).await {
                Ok(messages) => {
                    backoff = Backoff::new();
                    for (event, messages) in self.events(to.spec.kind, &messages) {
                        if let Err(why) = self.deliver(to, &event, messages).await {
                            to.refused(why, &mut backoff).await;
                        }
                    }
                }
                Err(why) => to.refused(why, &mut backoff).await,
            }
        }
    }

    /// As many messages as there are until the batch is full or its window over; perhaps none.
    async fn batch(&self, spec: &Spec) -> Result<Vec<Message>, String> {
        let mut all = Vec::new();
        let mut ends = None;
        loop {
            let wait = ends.map_or(LONG_POLL, |ends: Instant| ends.saturating_duration_since(Instant::now()));
            let most = MOST.min(spec.batch_size - all.len());
            let received = self.receive(most, wait.min(LONG_POLL)).await;
            match received {
                Ok(more) => all.extend(more),
                // What was taken already is not lost for it.
                Err(why) if all.is_empty() => return Err(why),
                Err(_) => return Ok(all),
            }
            if all.is_empty() || all.len() >= spec.batch_size {
                return Ok(all);
            }
            let end = *ends.get_or_insert_with(|| Instant::now() + spec.window);
            if Instant::now() >= end {
                return Ok(all);
            }
        }
    }

    async fn receive(&self, most: usize, wait: Duration) -> Result<Vec<Message>, String> {
        let receive = self.client.receive_message().queue_url(&self.url);
        let receive = receive
            .max_number_of_messages(i32::try_from(most).unwrap_or(1))
            // Whole seconds: the window may take one longer, and nothing is asked in a hurry.
            .wait_time_seconds(wait.as_secs_f64().ceil() as i32)
            .message_system_attribute_names(MessageSystemAttributeName::All)
            .message_attribute_names("All");
        let got = receive.send().await.map_err(explain)?;
        Ok(got.messages.unwrap_or_default())
    }

    /// One event of all of them, or one of each.
    fn events<'a>(&self, kind: Kind, messages: &'a [Message]) -> Vec<(serde_json::Value, &'a [Message])> {
        match kind {
            _ if messages.is_empty() => Vec::new(),
            Kind::Sqs => vec![(events::sqs::event(messages, &self.arn), messages)],
            Kind::Sns => {
                messages.chunks(1).filter_map(|one| Some((events::sns::event(one.first()?)?, one))).collect()
            }
            _ => messages.chunks(1).filter_map(|one| Some((events::sqs::body(one.first()?)?, one))).collect(),
        }
    }

    async fn deliver(
        &self,
        to: &Target,
        event: &serde_json::Value,
        messages: &[Message],
    ) -> Result<(), String> {
        let id = |message: &Message| message.message_id().unwrap_or_default().to_owned();
        let ids: Vec<_> = messages.iter().map(id).collect();
        let Verdict::Done(failed) = to.deliver(event, &ids).await else { return Ok(()) };
        let done: Vec<_> = messages.iter().filter(|message| !failed.contains(&id(message))).collect();
        for some in done.chunks(MOST) {
            let entry = |(n, message): (usize, &&Message)| {
                let entry = DeleteMessageBatchRequestEntry::builder().id(n.to_string());
                entry.receipt_handle(message.receipt_handle()?).build().ok()
            };
            let entries: Vec<_> = some.iter().enumerate().filter_map(entry).collect();
            let delete = self.client.delete_message_batch().queue_url(&self.url).set_entries(Some(entries));
            let deleted = delete.send().await.map_err(explain)?;
            if let Some(failure) = deleted.failed().first() {
                return Err(format!(
                    "a message cannot be deleted: {}",
                    failure.message().unwrap_or(failure.code())
                ));
            }
        }
        Ok(())
    }
}
