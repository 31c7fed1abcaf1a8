//! What Datadog's own trace agent for serverless platforms does in another way, and why. Every difference that there is
//! has to be one of these, and each of these has to be there.

/// One difference, or several alike. `*` stands for any value, `-` for none.
pub(crate) struct Difference {
    /// The case; or [`EVERY`], or another "every".
    pub(crate) case: &'static str,
    /// The span in it; 0 for any.
    pub(crate) span: u64,
    /// Fields, divided by spaces; `*` for all.
    pub(crate) fields: &'static str,
    pub(crate) theirs: &'static str,
    pub(crate) ours: &'static str,
    pub(crate) why: &'static str,
}

pub(crate) const EVERY: &str = "every span";

pub(crate) const fn row(
    case: &'static str,
    span: u64,
    fields: &'static str,
    theirs: &'static str,
    ours: &'static str,
    why: &'static str,
) -> Difference {
    Difference { case, span, fields, theirs, ours, why }
}

const FUNCTION: &str = "the function's tags; that agent is for other platforms";
const BYTES: &str = "its copy of the bytes goes wrong; ours is what the agent of hosts makes";
const HIDDEN: &str =
    "hidden unless told otherwise, as by the agent of hosts; it hides SQL and Redis resources alone";
const REFUSED: &str = "it refuses the whole request (500); a mistake in one value costs nothing here";

/// Requests that it refuses.
pub(crate) const REFUSED_CASES: [&str; 3] =
    ["other numbers as fractions", "an error as a fraction", "text that is not UTF-8"];

pub(crate) const DIFFERENCES: [Difference; 27] = [
    row(
        EVERY,
        0,
        "meta.account_id meta.aws_account meta.architecture meta.dd_extension_version meta.function_arn \
         meta.init_type meta.memorysize meta.region meta.resource",
        "-",
        "*",
        FUNCTION,
    ),
    row(
        EVERY,
        0,
        "meta.functionname meta.origin meta._dd.origin",
        "-",
        "*",
        "it tells them of a trace's first span alone",
    ),
    row(EVERY, 0, "chunk.origin", "\"\"", "lambda", "the same"),
    row(EVERY, 0, "payload.tags", "\"\"", "_dd.tags.function", FUNCTION),
    row(
        EVERY,
        0,
        "meta._dd.compute_stats",
        "-",
        "1",
        "statistics are left to the backend unless they are to be made here; it was told to make them",
    ),
    row(
        "names of the function's tags",
        1,
        "meta.region",
        "mars",
        "eu-west-1",
        "the function's tags are true",
    ),
    row("names", 3, "name", "GET_/orders_! {x", "GET_orders_x", BYTES),
    row("names", 5, "name", "a_ab_bc.cd", "a_b_c..d", BYTES),
    row("names", 7, "name", "gr_\u{fffd}ße.übung", "gr_e.bung", BYTES),
    row("durations as fractions", 1, "duration", "0", "5", "Node tells fractions"),
    row("durations as fractions", 2, "duration", "0", "12", "Node tells fractions"),
    row("parents", 5, "parent", "5", "0", "a span above itself hangs nowhere"),
    row("parents", 5, "metrics._top_level", "-", "1", "so it is the first of its service"),
    row("a span twice", 2, "*", "*", "-", "what a tracer sends again after it was frozen is the same span"),
    row(
        "links and events",
        3,
        "meta.events",
        "*",
        "-",
        "events that older tracers write as text are sent as events",
    ),
    row("links and events", 3, "events.0", "-", "*", "the same"),
    row("SQL", 1, "meta.db.statement", "SELECT 1", "SELECT ?", "it is a statement, too"),
    row(
        "SQL",
        5,
        "meta.sql.query",
        "web.request",
        "-",
        "there is no statement: it takes the span's name for one",
    ),
    row("Redis", 1, "meta.redis.raw_command", "SET key secret EX 10", "SET key ?", HIDDEN),
    row("Redis", 2, "meta.redis.raw_command", "AUTH password", "AUTH ?", HIDDEN),
    row("MongoDB", 0, "meta.mongodb.query", "*", "*", HIDDEN),
    row("memcached", 1, "meta.memcached.command", "*", "set key 0 0 5", HIDDEN),
    row("Elasticsearch", 1, "meta.elasticsearch.body", "*", "*", HIDDEN),
    row("HTTP", 2, "meta.card meta.number", "*", "?", "card numbers are hidden, as by the agent of hosts"),
    row(REFUSED_CASES[0], 0, "*", "-", "*", REFUSED),
    row(REFUSED_CASES[1], 0, "*", "-", "*", REFUSED),
    row(REFUSED_CASES[2], 0, "*", "-", "*", REFUSED),
];

impl Difference {
    pub(crate) fn is(&self, (case, span, field): &(String, u64, String), theirs: &str, ours: &str) -> bool {
        let one = |wanted: &str, found: &str| wanted == "*" || wanted == found;
        (self.case.starts_with("every ") || self.case == case)
            && (self.span == 0 || self.span == *span)
            && self.fields.split(' ').any(|wanted| one(wanted, field))
            && one(self.theirs, theirs)
            && one(self.ours, ours)
    }
}

/// The table for the docs.
pub(crate) fn table(all: &[Difference]) -> String {
    let mut table = "| Request | Field | Datadog's agent | Here | Why |\n|---|---|---|---|---|\n".to_owned();
    let shown = |value: &str| match value {
        "*" => "a value".to_owned(),
        "-" => "none".to_owned(),
        "\"\"" => "empty".to_owned(),
        value => format!("`{value}`"),
    };
    for Difference { case, fields, theirs, ours, why, .. } in all {
        let fields: Vec<String> = match *fields {
            "*" => vec!["all".to_owned()],
            fields => fields.split(' ').map(|field| format!("`{field}`")).collect(),
        };
        let (theirs, ours) = (shown(theirs), shown(ours));
        table.push_str(&format!("| {case} | {} | {theirs} | {ours} | {why} |\n", fields.join(", ")));
    }
    table
}
