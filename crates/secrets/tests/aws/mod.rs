//! An AWS API server of its own for a test: `aws.py`, run by the Python that `REAL_PYTHON` names.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// The key that is in all places.
pub(crate) const KEY: &str = "0123456789abcdef0123456789abcdef";

/// Ends when it is dropped: its input does.
pub(crate) struct Aws {
    child: Child,
    pub(crate) url: String,
    /// The name of a way, the variable and its value.
    pub(crate) ways: Vec<(String, String, String)>,
    /// Variables of a role that may ask, and of one that may not.
    pub(crate) allowed: BTreeMap<String, String>,
    pub(crate) denied: BTreeMap<String, String>,
}

impl Aws {
    pub(crate) fn start() -> Self {
        let python =
            std::env::var_os("REAL_PYTHON").expect("REAL_PYTHON is not set: cargo xtask test --only real");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/secrets/tests/aws/aws.py");
        let mut command = Command::new(python);
        command.arg(script).arg(KEY).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let told: Value = serde_json::from_str(&line).expect("the server says where it is");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let texts = |name: &str| {
            let map = told[name].as_object().unwrap();
            map.iter().map(|(key, value)| (key.clone(), text(value))).collect()
        };
        let ways = told["ways"].as_object().unwrap().iter();
        let ways = ways.map(|(name, way)| (name.clone(), text(&way[0]), text(&way[1]))).collect();
        Self { child, url: text(&told["url"]), ways, allowed: texts("allowed"), denied: texts("denied") }
    }

    /// What a function or an extension is told to have its key by a way, as one of the roles.
    pub(crate) fn variables<'a>(
        &'a self,
        role: &'a BTreeMap<String, String>,
        variable: &'a str,
        value: &'a str,
    ) -> Vec<(&'a str, &'a str)> {
        let mut all = vec![("AWS_ENDPOINT_URL", &*self.url), (variable, value)];
        all.extend(role.iter().map(|(name, value)| (&**name, &**value)));
        all
    }
}

impl Drop for Aws {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
