//! The table of settings in the documentation is what the code reads.

use std::path::Path;

const BEGIN: &str = "<!-- library:begin -->\n";
const END: &str = "<!-- library:end -->\n";

const HEADING: &str = "
## The library

`datadog-lambda-rs` reads its settings from the environment of the function, or from its `builder`, which goes before it.
It reads them once, and reports each value that it cannot use in one line of the function's log.

";

#[test]
fn the_table_of_settings_is_fresh() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    // The published crate comes without it.
    let Ok(before) = std::fs::read_to_string(&path) else { return };
    let mut table = "| Variable | Default | Meaning |\n|---|---|---|\n".to_owned();
    for setting in crate::settings() {
        let default =
            if setting.default.is_empty() { "none".to_owned() } else { format!("`{}`", setting.default) };
        let doc = setting.doc.replace('|', "\\|");
        table.push_str(&format!("| `{}` | {default} | {doc} |\n", setting.key));
    }
    let parts = before.split_once(BEGIN).and_then(|(head, rest)| Some((head, rest.split_once(END)?.1)));
    let after = match parts {
        Some((head, tail)) => format!("{head}{BEGIN}{table}{END}{tail}"),
        None => format!("{}\n{HEADING}{BEGIN}{table}{END}", before.trim_end()),
    };
    if before != after {
        assert!(
            std::env::var_os("UPDATE_DOCS").is_some(),
            "stale: UPDATE_DOCS=1 cargo test -p datadog-lambda-rs"
        );
        std::fs::write(&path, after).unwrap();
    }
}
