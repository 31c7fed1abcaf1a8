//! What Datadog calls a span: its operation, resource and type, by OpenTelemetry's attributes, as in the agent.
//! <https://docs.datadoghq.com/opentelemetry/mapping/semantic_mapping/>
//! <https://github.com/DataDog/datadog-agent/blob/main/pkg/trace/traceutil/otel_util.go>

use std::borrow::Cow;

use super::value::Attributes;

pub(super) const UNSPECIFIED: u64 = 0;
pub(super) const SERVER: u64 = 2;
pub(super) const CLIENT: u64 = 3;
pub(super) const PRODUCER: u64 = 4;
pub(super) const CONSUMER: u64 = 5;

/// `span.kind`, by the number of the kind.
pub(super) fn kind(number: u64) -> &'static str {
    const KINDS: [&str; 6] = ["unspecified", "internal", "server", "client", "producer", "consumer"];
    KINDS.get(usize::try_from(number).unwrap_or(usize::MAX)).copied().unwrap_or("unspecified")
}

/// What names are derived from.
#[derive(Clone, Copy)]
pub(super) struct Named<'a> {
    pub(super) name: &'a str,
    pub(super) kind: u64,
    pub(super) scope: &'a str,
    pub(super) span: &'a Attributes,
    pub(super) resource: &'a Attributes,
    /// The older rules, by which the resource's attributes go first.
    pub(super) first_rules: bool,
}

impl Named<'_> {
    pub(super) fn text(&self, keys: &[&str]) -> Option<Cow<'_, str>> {
        let (first, second) = match self.first_rules {
            true => (self.resource, self.span),
            false => (self.span, self.resource),
        };
        first.text(keys).or_else(|| second.text(keys))
    }

    fn lower(&self, keys: &[&str]) -> Option<String> {
        self.text(keys).map(|text| text.to_lowercase())
    }

    /// Made by an instrumentation of the function's handler.
    pub(super) fn is_invocation(&self) -> bool {
        const SCOPES: [&str; 3] = [
            "opentelemetry.instrumentation.aws_lambda",
            "@opentelemetry/instrumentation-aws-lambda",
            "io.opentelemetry.aws-lambda",
        ];
        matches!(self.kind, SERVER | CONSUMER) && SCOPES.iter().any(|scope| self.scope.starts_with(scope))
    }

    /// The operation.
    pub(super) fn operation(&self) -> String {
        if let Some(name) = self.text(&["operation.name"]) {
            return name.into_owned();
        }
        if self.is_invocation() {
            return model::keys::spans::INVOCATION.to_owned();
        }
        self.by_protocol().or_else(|| self.by_call()).unwrap_or_else(|| {
            let side = match self.kind {
                SERVER => "server",
                CLIENT => "client",
                other => return capitalised(if other == UNSPECIFIED { "internal" } else { kind(other) }),
            };
            match self.lower(&["network.protocol.name"]) {
                Some(protocol) => format!("{protocol}.{side}.request"),
                None => format!("{side}.request"),
            }
        })
    }

    fn by_protocol(&self) -> Option<String> {
        let side = match self.kind {
            SERVER => Some("server"),
            CLIENT => Some("client"),
            _ => None,
        };
        if let (Some(side), true) = (side, self.method().is_some()) {
            return Some(format!("http.{side}.request"));
        }
        if let (CLIENT, Some(system)) = (self.kind, self.lower(DB_SYSTEM)) {
            return Some(format!("{system}.query"));
        }
        let system = self.lower(&["messaging.system"]);
        let operation = self.lower(MESSAGING_OPERATION);
        match (system, operation) {
            (Some(system), Some(operation)) if matches!(self.kind, SERVER | CLIENT | PRODUCER | CONSUMER) => {
                Some(format!("{system}.{operation}"))
            }
            _ => None,
        }
    }

    fn by_call(&self) -> Option<String> {
        if let (Some(system), CLIENT | SERVER) = (self.lower(&["rpc.system"]), self.kind) {
            return Some(match (system.as_str(), self.kind) {
                ("aws-api", CLIENT) => match self.lower(&["rpc.service"]) {
                    Some(service) => format!("aws.{service}.request"),
                    None => "aws.client.request".to_owned(),
                },
                (system, CLIENT) => format!("{system}.client.request"),
                (system, _) => format!("{system}.server.request"),
            });
        }
        let invoked = self.lower(&["faas.invoked_provider"]).zip(self.lower(&["faas.invoked_name"]));
        if let (CLIENT, Some((provider, name))) = (self.kind, invoked) {
            return Some(format!("{provider}.{name}.invoke"));
        }
        if let (SERVER, Some(trigger)) = (self.kind, self.lower(&["faas.trigger"])) {
            return Some(format!("{trigger}.invoke"));
        }
        self.text(&["graphql.operation.type"]).map(|_| "graphql.server.request".to_owned())
    }

    /// The operation by the older rules.
    pub(super) fn first_operation(&self, is_span_name: bool) -> String {
        match self.text(&["operation.name"]) {
            Some(name) => name.into_owned(),
            None if is_span_name => self.name.to_owned(),
            None if self.scope.is_empty() => format!("opentelemetry.{}", kind(self.kind)),
            None => format!("{}.{}", self.scope, kind(self.kind)),
        }
    }

    /// The resource: a route, a queue, a statement.
    pub(super) fn resource(&self) -> String {
        let with = |first: Cow<'_, str>, keys: &[&str]| match self.text(keys) {
            Some(second) => format!("{first} {second}"),
            None => first.into_owned(),
        };
        if let Some(resource) = self.text(&["resource.name"]) {
            return resource.into_owned();
        }
        if let Some(method) = self.method() {
            let method = if method == "_OTHER" { Cow::Borrowed("HTTP") } else { method };
            return match self.first_rules || self.kind == SERVER {
                true => with(method, &["http.route"]),
                false => method.into_owned(),
            };
        }
        if let Some(operation) = self.text(MESSAGING_OPERATION) {
            return with(operation, &["messaging.destination", "messaging.destination.name"]);
        }
        if let Some(method) = self.text(&["rpc.method"]) {
            return with(method, &["rpc.service"]);
        }
        if let Some(operation) = self.text(&["graphql.operation.type"]) {
            return with(operation, &["graphql.operation.name"]);
        }
        let is_database = !self.first_rules && self.text(DB_SYSTEM).is_some();
        // Statements are obfuscated in the resource.
        let statement = self.text(&["db.statement", "db.query.text"]).filter(|_| is_database);
        statement.map_or_else(|| self.name.to_owned(), Cow::into_owned)
    }

    fn method(&self) -> Option<Cow<'_, str>> {
        self.text(&["http.request.method", "http.method"])
    }

    /// The span's type.
    pub(super) fn kind_of_span(&self) -> String {
        if let Some(kind) = self.text(&["span.type"]) {
            return kind.into_owned();
        }
        match self.kind {
            _ if self.is_invocation() => model::keys::spans::SERVERLESS.to_owned(),
            SERVER => "web".to_owned(),
            CLIENT => self.lower(DB_SYSTEM).map_or("http", |system| database(&system)).to_owned(),
            _ => "custom".to_owned(),
        }
    }
}

/// The older name and the one that replaces it.
const DB_SYSTEM: &[&str] = &["db.system", "db.system.name"];
const MESSAGING_OPERATION: &[&str] = &["messaging.operation", "messaging.operation.type"];

/// As OpenTelemetry's own name of a kind, which the agent takes.
fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// The span type of a database, by `db.system`.
fn database(system: &str) -> &'static str {
    const SQL: [&str; 41] = [
        "other_sql",
        "mssql",
        "microsoft.sql_server",
        "mysql",
        "oracle",
        "oracle.db",
        "db2",
        "ibm.db2",
        "postgresql",
        "redshift",
        "aws.redshift",
        "cloudscape",
        "hsqldb",
        "maxdb",
        "sap.maxdb",
        "ingres",
        "firstsql",
        "edb",
        "cache",
        "intersystems_cache",
        "firebird",
        "firebirdsql",
        "derby",
        "informix",
        "ibm.informix",
        "mariadb",
        "sqlite",
        "sybase",
        "teradata",
        "vertica",
        "h2",
        "h2database",
        "coldfusion",
        "cockroachdb",
        "progress",
        "hanadb",
        "sap.hana",
        "adabas",
        "netezza",
        "trino",
        "clickhouse",
    ];
    const OWN: [&str; 6] = ["cassandra", "redis", "memcached", "mongodb", "elasticsearch", "opensearch"];
    match OWN.iter().find(|own| **own == system) {
        Some(own) => own,
        None if SQL.contains(&system) => "sql",
        None => "db",
    }
}
