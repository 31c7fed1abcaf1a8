//! The files of the page, each part of the program. A debug build reads them from a folder instead while
//! `DD_LAMBDA_PAGE` names one, so that the page can be worked on without a build.

use std::borrow::Cow;

/// One file.
#[derive(Clone, Debug)]
pub(crate) struct File {
    pub(crate) kind: &'static str,
    pub(crate) text: Cow<'static, str>,
}

macro_rules! files {
    ($($name:literal)*) => {
        const FILES: &[(&str, &str)] = &[$(($name, include_str!($name))),*];
    };
}

files! {
    "index.html"
    "base.css"
    "views.css"
    "main.js"
    "dom.js"
    "units.js"
    "place.js"
    "data.js"
    "filter.js"
    "list.js"
    "invocations.js"
    "traces.js"
    "layout.js"
    "waterfall.js"
    "flame.js"
    "span.js"
    "logs.js"
    "metrics.js"
    "sandboxes.js"
    "requests.js"
    "help.js"
    "empty.js"
    "vendor/uPlot.iife.min.js"
    "vendor/uPlot.min.css"
}

pub(crate) fn find(name: &str) -> Option<File> {
    let (name, text) = FILES.iter().find(|(known, _)| *known == name)?;
    let kind = match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        _ => "text/javascript; charset=utf-8",
    };
    Some(File { kind, text: on_disk(name).map_or(Cow::Borrowed(*text), Cow::Owned) })
}

#[cfg(debug_assertions)]
fn on_disk(name: &str) -> Option<String> {
    let folder = std::env::var_os("DD_LAMBDA_PAGE")?;
    std::fs::read_to_string(std::path::Path::new(&folder).join(name)).ok()
}

#[cfg(not(debug_assertions))]
fn on_disk(_: &str) -> Option<String> {
    None
}

#[cfg(test)]
mod tests {
    use super::{FILES, find};

    #[test]
    fn every_file_in_the_folder_is_served_and_has_its_kind() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/page");
        for (inner, prefix) in [(folder.clone(), ""), (folder.join("vendor"), "vendor/")] {
            for entry in std::fs::read_dir(inner).unwrap() {
                let name = format!("{prefix}{}", entry.unwrap().file_name().to_string_lossy());
                let web = [".js", ".css", ".html"].iter().any(|kind| name.ends_with(kind));
                assert_eq!(find(&name).is_some(), web, "{name}");
            }
        }
        assert!(find("index.html").unwrap().kind.starts_with("text/html"));
        assert!(find("../page.rs").is_none());
    }

    #[test]
    fn the_page_asks_nobody_else_and_makes_no_markup_of_data() {
        for (name, text) in FILES.iter().filter(|(name, _)| !name.starts_with("vendor/")) {
            let text = text.replace("http://www.w3.org/2000/svg", "");
            for elsewhere in ["http:", "https:", "//cdn", "@import", "url("] {
                assert!(!text.contains(elsewhere), "{name}: {elsewhere}");
            }
            for markup in
                ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "DOMParser"]
            {
                assert!(!text.contains(markup), "{name}: {markup}");
            }
        }
    }

    #[test]
    fn no_file_of_ours_is_too_long_to_read() {
        for (name, text) in FILES.iter().filter(|(name, _)| !name.starts_with("vendor/")) {
            assert!(text.lines().count() <= 500, "{name}");
        }
    }
}
