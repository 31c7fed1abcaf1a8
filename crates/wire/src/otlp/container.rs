//! What a resource says of its container, as Datadog's tags.
//! <https://docs.datadoghq.com/opentelemetry/mapping/semantic_mapping/>

use std::fmt::Write as _;

use model::Text;

use super::value::Attributes;

/// Says of a tag what it is called here.
const OWN: &str = "datadog.container.tag.";

/// OpenTelemetry's names of what only something in a container has, and Datadog's.
const OF_CONTAINERS: [(&str, &str); 20] = [
    ("container.id", "container_id"),
    ("container.name", "container_name"),
    ("container.image.name", "image_name"),
    ("container.image.tag", "image_tag"),
    ("container.runtime", "runtime"),
    ("aws.ecs.task.family", "task_family"),
    ("aws.ecs.task.arn", "task_arn"),
    ("aws.ecs.cluster.arn", "ecs_cluster_name"),
    ("aws.ecs.task.revision", "task_version"),
    ("aws.ecs.container.arn", "ecs_container_name"),
    ("k8s.container.name", "kube_container_name"),
    ("k8s.cluster.name", "kube_cluster_name"),
    ("k8s.deployment.name", "kube_deployment"),
    ("k8s.replicaset.name", "kube_replica_set"),
    ("k8s.statefulset.name", "kube_stateful_set"),
    ("k8s.daemonset.name", "kube_daemon_set"),
    ("k8s.job.name", "kube_job"),
    ("k8s.cronjob.name", "kube_cronjob"),
    ("k8s.namespace.name", "kube_namespace"),
    ("k8s.pod.name", "pod_name"),
];

/// Of where a container is. Every function says so too, and is none for that: they count beside others only.
const OF_PLACES: [(&str, &str); 3] =
    [("cloud.provider", "cloud_provider"), ("cloud.region", "region"), ("cloud.availability_zone", "zone")];

/// `key:value` with commas between; empty for what is in no container.
pub(super) fn tags(resource: &Attributes) -> Text {
    let mut tags = String::new();
    let mut add = |key: &str, value: &str| {
        let comma = if tags.is_empty() { "" } else { "," };
        let _ = write!(tags, "{comma}{key}:{value}");
    };
    let mapped = |table: &'static [(&str, &'static str)]| {
        let told = |(from, to): &(&str, &'static str)| Some((*to, resource.text(&[from])?));
        table.iter().filter_map(told)
    };
    let known: Vec<_> = mapped(&OF_CONTAINERS).chain(mapped(&OF_PLACES)).collect();
    let own = resource.iter().filter_map(|(key, value)| Some((key.strip_prefix(OWN)?, value.to_text())));
    // What is said in OpenTelemetry's words counts for more.
    let own: Vec<_> = own
        .filter(|(key, value)| {
            !key.is_empty() && !value.is_empty() && !known.iter().any(|(known, _)| known == key)
        })
        .collect();
    let places = mapped(&OF_PLACES).count();
    if own.is_empty() && known.len() == places {
        return Text::default();
    }
    known.iter().for_each(|(key, value)| add(key, value));
    own.iter().for_each(|(key, value)| add(key, value));
    tags.into()
}
