//! Amazon Cognito: triggers of user pools, and of identity pools that synchronise.
//! <https://docs.aws.amazon.com/cognito/latest/developerguide/cognito-user-pools-working-with-lambda-triggers.html>

use model::{Arn, Tags, Text};
use serde_json::Value;

use super::{Surroundings, put_arn};
use crate::json;

pub(super) use super::{no_carrier as carrier, no_spans as inferred};

pub(super) fn matches(event: &Value) -> bool {
    json::has(event, "triggerSource") && json::text(event, "userPoolId").is_some()
        || json::is(event, "eventType", "SyncTrigger") && json::has(event, "identityPoolId")
}

pub(super) fn tags(event: &Value, around: &Surroundings<'_>, tags: &mut Tags<Text>) {
    let region = json::text(event, "region").unwrap_or(&around.function.region);
    let (partition, account) = (Arn::partition_of(region), &around.function.account);
    let pool = json::text(event, "userPoolId")
        .map(|id| format!("arn:{partition}:cognito-idp:{region}:{account}:userpool/{id}"));
    let identities = json::text(event, "identityPoolId")
        .map(|id| format!("arn:{partition}:cognito-identity:{region}:{account}:identitypool/{id}"));
    put_arn(tags, pool.or(identities));
}
