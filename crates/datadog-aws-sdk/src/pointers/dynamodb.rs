//! DynamoDB: the items that a call writes. They go by their key attributes, which an item that is put does not
//! tell from the others: the names are set, or learnt from calls that name a key or describe a table.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use model::SpanLink;
use opentelemetry::Context;
use opentelemetry::trace::FutureExt;
use serde_json::{Map, Value};
use trigger::Direction;

use crate::json_text::Object;
use crate::resource::{json, table_name};

/// Tables to remember the keys of, at most.
const MAX_TABLES: usize = 1000;

/// The names of tables' key attributes. Shared by the clones of an interceptor.
#[derive(Clone, Debug, Default)]
pub(crate) struct TableKeys {
    set: BTreeMap<String, Vec<String>>,
    learnt: Arc<Mutex<HashMap<String, Vec<String>>>>,
    /// Where the user lets tables be described.
    describe: Option<Describe>,
}

/// The user's way to have a table described: by name or ARN, the names of its key attributes. Each table is asked for
/// once, whatever comes of it.
#[derive(Clone)]
struct Describe {
    ask: Arc<dyn Fn(String) -> Described + Send + Sync>,
    asked: Arc<Mutex<HashSet<String>>>,
}

pub(crate) type Described = Pin<Box<dyn Future<Output = Option<Vec<String>>> + Send>>;

impl fmt::Debug for Describe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Describe")
    }
}

/// What a call writes or tells, as far as its request says.
#[derive(Debug)]
pub(crate) enum Items {
    /// Pointers to items, if the call succeeds.
    Written(Vec<SpanLink>),
    /// The same, of which some may be given back.
    Batch(Vec<SpanLink>),
    /// The key attributes of a table, if the call succeeds.
    Key(String, Vec<String>),
    /// Both of them.
    WrittenByKey(SpanLink, String, Vec<String>),
    /// The response describes a table, under this name.
    Described(&'static str),
}

impl TableKeys {
    pub(crate) fn new(set: BTreeMap<String, Vec<String>>) -> Self {
        Self { set, ..Self::default() }
    }

    pub(crate) fn describe(&mut self, ask: Arc<dyn Fn(String) -> Described + Send + Sync>) {
        self.describe = Some(Describe { ask, asked: Arc::default() });
    }

    pub(crate) fn set(&mut self, table: String, keys: Vec<String>) {
        self.set.insert(table, keys);
    }

    fn of(&self, table: &str) -> Option<Vec<String>> {
        let learnt = || self.learnt.lock().unwrap_or_else(PoisonError::into_inner).get(table).cloned();
        self.set.get(table).cloned().or_else(learnt)
    }

    /// The same, and where they are not known has the table described, for the items that come later: nothing waits.
    fn of_or_ask(&self, table: &str) -> Option<Vec<String>> {
        let name = table_name(table);
        let known = self.of(name);
        if let Some(Describe { ask, asked }) = self.describe.as_ref().filter(|_| known.is_none())
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let mut asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
            if asked.len() < MAX_TABLES && asked.insert(name.to_owned()) {
                let (keys, name, described) = (self.clone(), name.to_owned(), ask(table.to_owned()));
                let learn = async move {
                    match described.await {
                        Some(names) => keys.learn(&name, names),
                        None => tracing::debug!("the table {name} is not described"),
                    }
                };
                // None of the user's calls.
                drop(runtime.spawn(learn.with_context(Context::new().with_telemetry_suppressed())));
            }
        }
        known
    }

    fn learn(&self, table: &str, keys: Vec<String>) {
        let mut learnt = self.learnt.lock().unwrap_or_else(PoisonError::into_inner);
        if (1..=2).contains(&keys.len()) && (learnt.len() < MAX_TABLES || learnt.contains_key(table)) {
            learnt.insert(table.to_owned(), keys);
        }
    }
}

impl Items {
    pub(crate) fn of(operation: &str, request: &HttpRequest, keys: &TableKeys) -> Option<Self> {
        match operation {
            "DescribeTable" => return Some(Self::Described("Table")),
            "CreateTable" => return Some(Self::Described("TableDescription")),
            "PutItem" | "UpdateItem" | "DeleteItem" | "GetItem" | "BatchWriteItem" | "TransactWriteItems" => {
            }
            _ => return None,
        }
        let body = json(request)?;
        match operation {
            "PutItem" => Some(Self::Written(vec![put(&body, &body.string("TableName")?, keys)?])),
            "BatchWriteItem" => Some(Self::Batch(batch(&body.object("RequestItems")?, keys)?)),
            "TransactWriteItems" => Some(Self::Written(transaction(&body, keys)?)),
            _ => {
                let (table, key) = (table(&body)?, key(&body)?);
                let names = key.keys().cloned().collect();
                match operation {
                    "GetItem" => keys.of(&table).is_none().then_some(Self::Key(table, names)),
                    _ => Some(Self::WrittenByKey(pointer(&table, &key)?, table, names)),
                }
            }
        }
    }

    pub(crate) fn links(self, response: &HttpResponse, keys: &TableKeys) -> Vec<SpanLink> {
        match self {
            Self::Written(links) => links,
            Self::Batch(links) => without_given_back(links, response, keys).unwrap_or_default(),
            Self::Key(table, names) => {
                keys.learn(&table, names);
                Vec::new()
            }
            Self::WrittenByKey(link, table, names) => {
                keys.learn(&table, names);
                vec![link]
            }
            Self::Described(name) => {
                if let Some((table, names)) = described(response, name) {
                    keys.learn(&table, names);
                }
                Vec::new()
            }
        }
    }
}

/// Every item of the call: all of them are known, or none is told.
fn batch(tables: &Object<'_>, keys: &TableKeys) -> Option<Vec<SpanLink>> {
    let mut links = Vec::new();
    for (table, _) in tables.iter() {
        for request in tables.list(table)? {
            let request = Object::parse(request)?;
            links.push(match request.object("PutRequest") {
                Some(request) => put(&request, table, keys)?,
                None => pointer(table_name(table), &key(&request.object("DeleteRequest")?)?)?,
            });
        }
    }
    Some(links)
}

fn transaction(body: &Object<'_>, keys: &TableKeys) -> Option<Vec<SpanLink>> {
    let mut links = Vec::new();
    for item in body.list("TransactItems")? {
        let item = Object::parse(item)?;
        for (action, _) in item.iter() {
            let request = item.object(action)?;
            match action {
                "Put" => links.push(put(&request, &request.string("TableName")?, keys)?),
                "Update" | "Delete" => links.push(pointer(&table(&request)?, &key(&request)?)?),
                // It writes nothing.
                "ConditionCheck" => {}
                _ => return None,
            }
        }
    }
    Some(links)
}

/// The response names what was not written, as the request did.
fn without_given_back(
    mut links: Vec<SpanLink>,
    response: &HttpResponse,
    keys: &TableKeys,
) -> Option<Vec<SpanLink>> {
    let body = Object::parse(std::str::from_utf8(response.body().bytes()?).ok()?)?;
    let Some(back) = body.object("UnprocessedItems") else { return Some(links) };
    let back = batch(&back, keys)?;
    links.retain(|link| !back.contains(link));
    Some(links)
}

/// The item of a `PutItem`, by those of its attributes that are the table's key.
fn put(request: &Object<'_>, table: &str, keys: &TableKeys) -> Option<SpanLink> {
    let item = request.object("Item")?;
    let names = keys.of_or_ask(table)?;
    let attribute =
        |name: &String| Some((name.clone(), serde_json::from_str::<Value>(item.get(name)?).ok()?));
    let key: Option<Map<_, _>> = names.iter().map(attribute).collect();
    pointer(table_name(table), &key?)
}

fn pointer(table: &str, key: &Map<String, Value>) -> Option<SpanLink> {
    trigger::dynamodb_item_pointer(table, key, Direction::Downstream)
}

fn key(request: &Object<'_>) -> Option<Map<String, Value>> {
    serde_json::from_str(request.get("Key")?).ok()
}

fn table(request: &Object<'_>) -> Option<String> {
    request.string("TableName").map(|table| table_name(&table).to_owned())
}

fn described(response: &HttpResponse, name: &str) -> Option<(String, Vec<String>)> {
    let body: Value = serde_json::from_slice(response.body().bytes()?).ok()?;
    let table = body.get(name)?;
    let keys = table.get("KeySchema")?.as_array()?;
    let keys: Option<_> =
        keys.iter().map(|key| key.get("AttributeName")?.as_str().map(str::to_owned)).collect();
    Some((table.get("TableName")?.as_str()?.to_owned(), keys?))
}

#[cfg(test)]
mod tests {
    use aws_smithy_runtime_api::http::StatusCode;
    use aws_smithy_types::body::SdkBody;

    use super::*;

    const ONE: &str = "7f1aee721472bcb48701d45c7c7f7821";
    const TWO: &str = "7aa1b80b0e49bd2078a5453399f4dd67";

    fn hashes(
        operation: &str,
        request: &'static str,
        response: &'static str,
        keys: &TableKeys,
    ) -> Vec<String> {
        let mut http = HttpRequest::new(SdkBody::from(request));
        http.headers_mut().insert("content-type", "application/x-amz-json-1.0");
        let response = HttpResponse::new(StatusCode::try_from(200).unwrap(), SdkBody::from(response));
        let links = Items::of(operation, &http, keys).map(|items| items.links(&response, keys));
        let hash = |link: SpanLink| link.attributes.get("ptr.hash").unwrap().to_string();
        links.into_iter().flatten().map(hash).collect()
    }

    fn keys() -> TableKeys {
        let one = ("some-table".to_owned(), vec!["some-key".to_owned()]);
        TableKeys::new([one].into())
    }

    #[test]
    fn items_of_keys() {
        let key = r#"{"TableName":"some-table","Key":{"some-key":{"S":"some-value"}}}"#;
        for operation in ["UpdateItem", "DeleteItem"] {
            assert_eq!(hashes(operation, key, "{}", &TableKeys::default()), [ONE]);
        }
        let arn = r#"{"TableName":"arn:aws:dynamodb:eu-west-1:1:table/some-table","Key":{"some-key":{"S":"some-value"}}}"#;
        assert_eq!(hashes("UpdateItem", arn, "{}", &TableKeys::default()), [ONE]);
        let two =
            r#"{"TableName":"some-table","Key":{"some-key":{"S":"some-value"},"other-key":{"N":"123"}}}"#;
        assert_eq!(hashes("DeleteItem", two, "{}", &TableKeys::default()), [TWO]);
        assert_eq!(hashes("GetItem", key, "{}", &TableKeys::default()), [""; 0]);
    }

    #[test]
    fn an_item_that_is_put_needs_the_tables_keys() {
        let put = r#"{"TableName":"some-table","Item":{"a":{"L":[]},"some-key":{"S":"some-value"}}}"#;
        assert_eq!(hashes("PutItem", put, "{}", &TableKeys::default()), [""; 0]);
        assert_eq!(hashes("PutItem", put, "{}", &keys()), [ONE]);
        let other = r#"{"TableName":"some-table","Item":{"a":{"S":"x"}}}"#;
        assert_eq!(hashes("PutItem", other, "{}", &keys()), [""; 0]);
    }

    #[test]
    fn keys_are_learnt() {
        let put = r#"{"TableName":"some-table","Item":{"a":{"N":"1"},"some-key":{"S":"some-value"}}}"#;
        let key = r#"{"TableName":"some-table","Key":{"some-key":{"S":"x"}}}"#;
        let schema = r#"{"Table":{"TableName":"some-table","KeySchema":[{"AttributeName":"some-key","KeyType":"HASH"}]}}"#;
        let created = r#"{"TableDescription":{"TableName":"some-table","KeySchema":[{"AttributeName":"some-key","KeyType":"HASH"}]}}"#;
        for (operation, request, response) in [
            ("GetItem", key, "{}"),
            ("UpdateItem", key, "{}"),
            ("DeleteItem", key, "{}"),
            ("DescribeTable", "{}", schema),
            ("CreateTable", "{}", created),
        ] {
            let learning = TableKeys::default();
            hashes(operation, request, response, &learning);
            assert_eq!(hashes("PutItem", put, "{}", &learning.clone()), [ONE], "{operation}");
        }
        let learning = TableKeys::default();
        hashes("DescribeTable", "{}", "{\"Table\":7}", &learning);
        hashes("GetItem", r#"{"TableName":"some-table","Key":{}}"#, "{}", &learning);
        assert_eq!(learning.of("some-table"), None);
    }

    const PUT: &str = r#"{"TableName":"some-table","Item":{"a":{"N":"1"},"some-key":{"S":"some-value"}}}"#;

    /// A way to describe tables that counts how often it is asked, and lets wait until it has been.
    fn described(
        keys: &mut TableKeys,
        names: Option<Vec<String>>,
    ) -> tokio::sync::mpsc::UnboundedReceiver<String> {
        let (asked, wait) = tokio::sync::mpsc::unbounded_channel();
        keys.describe(Arc::new(move |table| {
            asked.send(table).unwrap();
            let names = names.clone();
            Box::pin(async move { names })
        }));
        wait
    }

    #[tokio::test]
    async fn tables_are_described_once() {
        let mut keys = TableKeys::default();
        let mut asked = described(&mut keys, Some(vec!["some-key".to_owned()]));
        let arn = r#"{"TableName":"arn:aws:dynamodb:eu-west-1:1:table/some-table","Item":{"some-key":{"S":"some-value"}}}"#;
        assert_eq!(hashes("PutItem", arn, "{}", &keys.clone()), [""; 0]);
        // On this runtime of one thread the background has had no turn yet.
        assert_eq!(hashes("PutItem", PUT, "{}", &keys), [""; 0]);
        while keys.of("some-table").is_none() {
            tokio::task::yield_now().await;
        }
        assert_eq!(hashes("PutItem", PUT, "{}", &keys), [ONE]);
        assert_eq!(asked.try_recv().as_deref(), Ok("arn:aws:dynamodb:eu-west-1:1:table/some-table"));
        assert!(asked.try_recv().is_err());
    }

    #[tokio::test]
    async fn a_table_that_is_not_described_is_not_asked_for_again() {
        let mut keys = TableKeys::default();
        let mut asked = described(&mut keys, None);
        for _ in 0..3 {
            assert_eq!(hashes("PutItem", PUT, "{}", &keys), [""; 0]);
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
        }
        assert_eq!((asked.try_recv().is_ok(), asked.try_recv().is_ok()), (true, false));
        // What tells a key does all the same.
        let key = r#"{"TableName":"some-table","Key":{"some-key":{"S":"x"}}}"#;
        hashes("GetItem", key, "{}", &keys);
        assert_eq!(hashes("PutItem", PUT, "{}", &keys), [ONE]);
    }

    /// Nobody is there to do it.
    #[test]
    fn without_a_runtime_no_table_is_described() {
        let mut keys = TableKeys::default();
        let mut asked = described(&mut keys, None);
        assert_eq!(hashes("PutItem", PUT, "{}", &keys), [""; 0]);
        assert!(asked.try_recv().is_err());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let keys = TableKeys::default();
        for n in 0..MAX_TABLES + 5 {
            keys.learn(&format!("t{n}"), vec!["k".to_owned()]);
        }
        assert_eq!(keys.learnt.lock().unwrap().len(), MAX_TABLES);
        keys.learn("t0", vec!["other".to_owned()]);
        assert_eq!(keys.of("t0"), Some(vec!["other".to_owned()]));
    }

    #[test]
    fn batches() {
        let request = r#"{"RequestItems":{"some-table":[{"PutRequest":{"Item":{"some-key":{"S":"some-value"}}}},{"DeleteRequest":{"Key":{"some-key":{"S":"other"}}}}]}}"#;
        let other = "UnprocessedItems";
        let all = hashes("BatchWriteItem", request, "{}", &keys());
        assert_eq!((all.len(), all[0].as_str()), (2, ONE));
        let back =
            r#"{"UnprocessedItems":{"some-table":[{"DeleteRequest":{"Key":{"some-key":{"S":"other"}}}}]}}"#;
        assert!(back.contains(other));
        assert_eq!(hashes("BatchWriteItem", request, back, &keys()), [ONE]);
        assert_eq!(hashes("BatchWriteItem", request, r#"{"UnprocessedItems":{}}"#, &keys()).len(), 2);
        assert_eq!(hashes("BatchWriteItem", request, "{}", &TableKeys::default()), [""; 0]);
        assert_eq!(hashes("BatchWriteItem", request, "no JSON", &keys()), [""; 0]);
    }

    #[test]
    fn transactions() {
        let request = r#"{"TransactItems":[{"Put":{"TableName":"some-table","Item":{"some-key":{"S":"some-value"}}}},{"ConditionCheck":{"TableName":"some-table","Key":{"some-key":{"S":"x"}}}},{"Delete":{"TableName":"some-table","Key":{"some-key":{"S":"some-value"},"other-key":{"N":"123"}}}}]}"#;
        assert_eq!(hashes("TransactWriteItems", request, "{}", &keys()), [ONE, TWO]);
        assert_eq!(hashes("TransactWriteItems", request, "{}", &TableKeys::default()), [""; 0]);
    }
}
