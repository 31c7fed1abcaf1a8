//! A notification of SNS, as it gives it to a function: here by way of a queue, where it writes two names differently.
//! <https://docs.aws.amazon.com/lambda/latest/dg/with-sns.html>

use aws_sdk_sqs::types::Message;
use serde_json::{Map, Value, json};

/// `None` when the message is none, as with raw delivery.
pub(crate) fn event(message: &Message) -> Option<Value> {
    let Value::Object(body) = super::sqs::body(message)? else { return None };
    let topic = body.get("TopicArn")?.as_str()?.to_owned();
    let name = |name: String| match name.as_str() {
        "SigningCertURL" => "SigningCertUrl".to_owned(),
        "UnsubscribeURL" => "UnsubscribeUrl".to_owned(),
        _ => name,
    };
    let sns: Map<_, _> = body.into_iter().map(|(key, value)| (name(key), value)).collect();
    let subscription = subscription(&sns).unwrap_or(topic);
    let record = json!({"EventSource": "aws:sns", "EventVersion": "1.0", "EventSubscriptionArn": subscription, "Sns": sns});
    Some(json!({"Records": [record]}))
}

/// It is told by the link that ends it.
fn subscription(sns: &Map<String, Value>) -> Option<String> {
    let url = sns.get("UnsubscribeUrl")?.as_str()?;
    let (_, arn) = url.rsplit_once("SubscriptionArn=")?;
    Some(arn.split('&').next()?.replace("%3A", ":"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notifications_become_events() {
        let message = |body: Value| Message::builder().body(body.to_string()).build();
        let body = json!({
            "Type": "Notification", "TopicArn": "arn:t", "Message": "x", "SigningCertURL": "c",
            "UnsubscribeURL": "https://sns/?Action=Unsubscribe&SubscriptionArn=arn:t:9",
        });
        let sns = json!({
            "Type": "Notification", "TopicArn": "arn:t", "Message": "x", "SigningCertUrl": "c",
            "UnsubscribeUrl": "https://sns/?Action=Unsubscribe&SubscriptionArn=arn:t:9",
        });
        let record = json!({"EventSource": "aws:sns", "EventVersion": "1.0", "EventSubscriptionArn": "arn:t:9", "Sns": sns});
        assert_eq!(event(&message(body)), Some(json!({"Records": [record]})));
        assert_eq!(event(&message(json!({"a": 1}))), None);
        assert_eq!(event(&message(json!([]))), None);
    }
}
