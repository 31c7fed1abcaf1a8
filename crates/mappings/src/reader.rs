//! Streams of both kinds, as shards with records: what is asked of AWS.

use aws_sdk_dynamodbstreams as dynamodb;
use aws_sdk_kinesis as kinesis;
use aws_types::SdkConfig;
use serde_json::Value;

use crate::{Kind, Spec, events, explain};

#[derive(Clone, Debug)]
pub(crate) enum Reader {
    Kinesis { client: kinesis::Client, name: String, arn: String },
    DynamoDb { client: dynamodb::Client, arn: String },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shard {
    pub(crate) id: String,
    pub(crate) parent: Option<String>,
    /// Nothing is added to it any more.
    pub(crate) closed: bool,
}

/// Where in a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Position {
    Latest,
    TrimHorizon,
    After(String),
}

/// A record as Lambda gives it to the function.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) sequence: String,
    pub(crate) json: Value,
}

/// The next records, and where those after them are: nowhere once a shard that is closed has been read to its end.
pub(crate) type Page = (Vec<Record>, Option<String>);

impl Reader {
    pub(crate) async fn open(spec: &Spec, config: &SdkConfig) -> Result<Self, String> {
        if spec.kind == Kind::Kinesis {
            let client = kinesis::Client::new(config);
            let name =
                spec.source.rsplit_once(":stream/").map_or(spec.source.as_str(), |(_, name)| name).to_owned();
            let told = client.describe_stream_summary().stream_name(&name).send().await.map_err(explain)?;
            let summary = told.stream_description_summary().ok_or("the stream is not described")?;
            let arn = summary.stream_arn().to_owned();
            return Ok(Self::Kinesis { client, name, arn });
        }
        let client = dynamodb::Client::new(config);
        let arn = match spec.source.contains(":table/") && spec.source.contains("/stream/") {
            true => spec.source.clone(),
            false => {
                let told = client.list_streams().table_name(&spec.source).send().await.map_err(explain)?;
                // The last is the one that is open, if there were others before.
                let last = told.streams().iter().filter_map(|stream| stream.stream_arn()).max();
                last.ok_or("the table has no stream")?.to_owned()
            }
        };
        let reader = Self::DynamoDb { client, arn };
        reader.shards().await.map(|_| reader)
    }

    pub(crate) async fn shards(&self) -> Result<Vec<Shard>, String> {
        let mut all = Vec::new();
        match self {
            Self::Kinesis { client, name, .. } => {
                let mut next = None;
                loop {
                    // A token stands for the stream.
                    let list = client.list_shards();
                    let list = match &next {
                        None => list.stream_name(name),
                        Some(token) => list.next_token(token),
                    };
                    let told = list.send().await.map_err(explain)?;
                    all.extend(told.shards().iter().map(|shard| {
                        Shard {
                            id: shard.shard_id().to_owned(),
                            parent: shard.parent_shard_id().map(str::to_owned),
                            closed: shard
                                .sequence_number_range()
                                .is_some_and(|all| all.ending_sequence_number().is_some()),
                        }
                    }));
                    next = told.next_token;
                    if next.is_none() {
                        return Ok(all);
                    }
                }
            }
            Self::DynamoDb { client, arn } => {
                let mut last = None;
                loop {
                    let describe =
                        client.describe_stream().stream_arn(arn).set_exclusive_start_shard_id(last);
                    let told = describe.send().await.map_err(explain)?;
                    let stream = told.stream_description().ok_or("the stream is not described")?;
                    all.extend(stream.shards().iter().map(|shard| {
                        Shard {
                            id: shard.shard_id().unwrap_or_default().to_owned(),
                            parent: shard.parent_shard_id().map(str::to_owned),
                            closed: shard
                                .sequence_number_range()
                                .is_some_and(|all| all.ending_sequence_number().is_some()),
                        }
                    }));
                    last = stream.last_evaluated_shard_id().map(str::to_owned);
                    if last.is_none() {
                        return Ok(all);
                    }
                }
            }
        }
    }

    /// What reads a shard from a position on.
    pub(crate) async fn iterator(&self, shard: &str, from: &Position) -> Result<String, String> {
        let iterator = match self {
            Self::Kinesis { client, name, .. } => {
                use kinesis::types::ShardIteratorType as Type;
                let (kind, after) = match from {
                    Position::Latest => (Type::Latest, None),
                    Position::TrimHorizon => (Type::TrimHorizon, None),
                    Position::After(sequence) => (Type::AfterSequenceNumber, Some(sequence.clone())),
                };
                let of =
                    client.get_shard_iterator().stream_name(name).shard_id(shard).shard_iterator_type(kind);
                of.set_starting_sequence_number(after).send().await.map_err(explain)?.shard_iterator
            }
            Self::DynamoDb { client, arn } => {
                use dynamodb::types::ShardIteratorType as Type;
                let (kind, after) = match from {
                    Position::Latest => (Type::Latest, None),
                    Position::TrimHorizon => (Type::TrimHorizon, None),
                    Position::After(sequence) => (Type::AfterSequenceNumber, Some(sequence.clone())),
                };
                let of =
                    client.get_shard_iterator().stream_arn(arn).shard_id(shard).shard_iterator_type(kind);
                of.set_sequence_number(after).send().await.map_err(explain)?.shard_iterator
            }
        };
        iterator.ok_or_else(|| "there is no iterator".to_owned())
    }

    pub(crate) async fn records(&self, shard: &str, iterator: &str, most: usize) -> Result<Page, String> {
        match self {
            Self::Kinesis { client, arn, .. } => {
                let most = i32::try_from(most).unwrap_or(1);
                let got = client
                    .get_records()
                    .shard_iterator(iterator)
                    .limit(most)
                    .send()
                    .await
                    .map_err(explain)?;
                let record = |record: &kinesis::types::Record| Record {
                    sequence: record.sequence_number().to_owned(),
                    json: events::kinesis::record(record, shard, arn),
                };
                Ok((got.records().iter().map(record).collect(), got.next_shard_iterator))
            }
            Self::DynamoDb { client, arn } => {
                // More it does not give at once.
                let most = i32::try_from(most.min(1000)).unwrap_or(1);
                let got = client
                    .get_records()
                    .shard_iterator(iterator)
                    .limit(most)
                    .send()
                    .await
                    .map_err(explain)?;
                let record = |record: &dynamodb::types::Record| {
                    let sequence = record.dynamodb().and_then(|change| change.sequence_number());
                    Record {
                        sequence: sequence.unwrap_or_default().to_owned(),
                        json: events::dynamodb::record(record, arn),
                    }
                };
                Ok((got.records().iter().map(record).collect(), got.next_shard_iterator))
            }
        }
    }

    pub(crate) fn is_dynamodb(&self) -> bool {
        matches!(self, Self::DynamoDb { .. })
    }
}
