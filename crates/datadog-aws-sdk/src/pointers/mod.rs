//! Span pointers of calls that write an S3 object or DynamoDB items: what a function that is invoked by the
//! object or the item computes as well, so that Datadog shows the one beside the other.

use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use model::SpanLink;

pub(crate) mod dynamodb;
pub(crate) mod s3;

use dynamodb::{Items, TableKeys};
use s3::Object;

/// What a call is about to write or tells of, as far as its request says.
#[derive(Debug)]
pub(crate) enum Writes {
    Object(Object),
    Items(Items),
}

impl Writes {
    /// Of a request that is serialised and does not have its endpoint yet.
    pub(crate) fn of(
        service: &str,
        operation: &str,
        request: &HttpRequest,
        keys: &TableKeys,
    ) -> Option<Self> {
        match service {
            "S3" => Object::of(operation, request).map(Self::Object),
            "DynamoDB" => Items::of(operation, request, keys).map(Self::Items),
            _ => None,
        }
    }

    /// Once the call has succeeded: what it wrote.
    pub(crate) fn links(
        self,
        bucket: Option<&str>,
        response: &HttpResponse,
        keys: &TableKeys,
    ) -> Vec<SpanLink> {
        match self {
            Self::Object(object) => object.link(bucket, response).into_iter().collect(),
            Self::Items(items) => items.links(response, keys),
        }
    }
}
