//! A headless Chromium, driven through its own protocol over a WebSocket on loopback, as far as these tests need
//! it. It notes every request that the page makes and everything that goes wrong in it.
//! <https://chromedevtools.github.io/devtools-protocol/>

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// One browser with one page. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Chromium {
    process: Child,
    folder: PathBuf,
    socket: WebSocket<TcpStream>,
    session: String,
    last_id: u64,
    /// Addresses that the page asked for.
    pub(crate) requests: Vec<String>,
    /// Exceptions, errors on the console, and what the browser itself complains of.
    pub(crate) complaints: Vec<String>,
}

impl Chromium {
    pub(crate) fn start() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let program = std::env::var_os("CHROMIUM").unwrap_or_else(|| "chromium".into());
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("dd-lambda-browser-{}-{number}", std::process::id()));
        let mut process = Command::new(&program)
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
            .args(["--no-first-run", "--disable-background-networking", "--disable-component-update"])
            .args(["--disable-sync", "--disable-extensions", "--disable-default-apps", "--hide-scrollbars"])
            .args(["--window-size=1280,800", "--remote-debugging-port=0"])
            .arg(format!("--user-data-dir={}", folder.display()))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap_or_else(|why| panic!("{}: {why}; name it in CHROMIUM", program.display()));
        let address = address(&mut process);
        let stream = TcpStream::connect(address.strip_prefix("ws://").unwrap().split('/').next().unwrap());
        let stream = stream.unwrap();
        stream.set_read_timeout(Some(PATIENCE + PATIENCE)).unwrap();
        let (socket, _) = tungstenite::client(&address, stream).unwrap();
        let session = String::new();
        let (requests, complaints) = (Vec::new(), Vec::new());
        let mut browser = Self { process, folder, socket, session, last_id: 0, requests, complaints };
        browser.attach();
        browser
    }

    fn attach(&mut self) {
        let target = self.call("Target.createTarget", json!({ "url": "about:blank" }));
        let how = json!({ "targetId": target["targetId"], "flatten": true });
        let session = self.call("Target.attachToTarget", how);
        self.session = session["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            self.call(&format!("{domain}.enable"), json!({}));
        }
        self.window(1280, 800);
    }

    /// Calls the browser, and notes what happens until it answers.
    pub(crate) fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.try_call(method, parameters).unwrap_or_else(|why| panic!("{method}: {why}"))
    }

    fn try_call(&mut self, method: &str, parameters: Value) -> Result<Value, String> {
        self.last_id += 1;
        let id = self.last_id;
        let mut message = json!({ "id": id, "method": method, "params": parameters });
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        self.socket.send(Message::text(message.to_string())).unwrap();
        loop {
            let message = self.socket.read().unwrap_or_else(|why| panic!("no answer to {method}: {why}"));
            let Message::Text(text) = message else { continue };
            let mut heard: Value = serde_json::from_str(&text).unwrap();
            if heard["id"] != id {
                self.note(&heard);
            } else if heard["error"].is_null() {
                return Ok(heard["result"].take());
            } else {
                return Err(heard["error"]["message"].as_str().unwrap_or_default().to_owned());
            }
        }
    }

    fn note(&mut self, event: &Value) {
        let told = &event["params"];
        match event["method"].as_str().unwrap_or_default() {
            "Network.requestWillBeSent" => {
                self.requests.push(told["request"]["url"].as_str().unwrap().to_owned());
            }
            "Runtime.exceptionThrown" => self.complaints.push(told["exceptionDetails"].to_string()),
            "Runtime.consoleAPICalled"
                if ["error", "warning", "assert"].iter().any(|t| told["type"] == *t) =>
            {
                self.complaints.push(told["args"].to_string());
            }
            "Log.entryAdded" => self.complaints.push(told["entry"].to_string()),
            _ => {}
        }
    }

    /// The value of an expression in the page; of what it promises, if it promises something.
    pub(crate) fn eval(&mut self, expression: &str) -> Value {
        self.try_eval(expression).unwrap_or_else(|why| panic!("{expression}\n{why}"))
    }

    fn try_eval(&mut self, expression: &str) -> Result<Value, String> {
        let how = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let mut answer = self.try_call("Runtime.evaluate", how)?;
        match answer.get("exceptionDetails") {
            Some(why) => Err(why["exception"]["description"].as_str().unwrap_or("an exception").to_owned()),
            None => Ok(answer["result"]["value"].take()),
        }
    }

    /// Waits until an expression is true in the page, across navigations. Gives its value.
    pub(crate) fn until(&mut self, expression: &str) -> Value {
        let end = Instant::now() + PATIENCE;
        let wait = format!(
            "new Promise((found, never) => {{ const end = performance.now() + {}; const look = () => {{ \
             let value; try {{ value = ({expression}); }} catch {{ value = null; }} \
             if (value) found(value); else if (performance.now() > end) never(new Error('never so')); \
             else setTimeout(look, 10); }}; look(); }})",
            PATIENCE.as_millis()
        );
        loop {
            match self.try_eval(&wait) {
                Ok(value) => return value,
                // The page went away while we waited in it.
                Err(why)
                    if (why.contains("context") || why.contains("navigated")) && Instant::now() < end => {}
                Err(why) => {
                    let seen = self.eval("location.href + '\\n' + document.body.innerText.slice(0, 1500)");
                    panic!("{expression}: {why}; the page shows\n{}\n{:?}", text(&seen), self.complaints);
                }
            }
        }
    }

    pub(crate) fn open(&mut self, address: &str) {
        // Another part of the same page would not be loaded anew.
        self.call("Page.navigate", json!({ "url": "about:blank" }));
        self.call("Page.navigate", json!({ "url": address }));
        self.until("document.querySelector('#view')?.dataset.painted");
    }

    pub(crate) fn reload(&mut self) {
        self.eval("document.querySelector('#view').dataset.old = 'yes'");
        self.call("Page.reload", json!({}));
        self.until("document.querySelector('#view')?.dataset.painted && !document.querySelector('#view').dataset.old");
    }

    pub(crate) fn window(&mut self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", size);
    }

    /// Whether the system likes it dark.
    pub(crate) fn dark(&mut self, dark: bool) {
        let value = if dark { "dark" } else { "light" };
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": value }] });
        self.call("Emulation.setEmulatedMedia", features);
    }

    /// Clicks in the middle of what the expression finds, once that is there and in sight. Again, when it moved away
    /// meanwhile: what is shown may grow at any time.
    pub(crate) fn click(&mut self, element: &str) {
        let end = Instant::now() + PATIENCE;
        let note = format!(
            "document.addEventListener('click', (event) => {{ const one = {element}; \
             window.landed = Boolean(one?.contains(event.target)); }}, {{ once: true, capture: true }})"
        );
        loop {
            let place = self.until(&format!(
                "(() => {{ const one = {element}; if (!one) return null; one.scrollIntoView({{ block: 'nearest' }}); \
                 const box = one.getBoundingClientRect(); const [x, y] = [box.x + Math.min(box.width / 2, 60), box.y + box.height / 2]; \
                 return box.width && one.contains(document.elementFromPoint(x, y)) ? [x, y] : null; }})()"
            ));
            self.eval(&format!("window.landed = false; {note}"));
            for kind in ["mousePressed", "mouseReleased"] {
                let event =
                    json!({ "type": kind, "x": place[0], "y": place[1], "button": "left", "clickCount": 1 });
                self.call("Input.dispatchMouseEvent", event);
            }
            if self.eval("window.landed") == true {
                return;
            }
            assert!(Instant::now() < end, "{element}: no click gets there");
        }
    }

    /// Presses a key by the name that the page sees: `ArrowDown`, `Enter`, `f`.
    pub(crate) fn press(&mut self, key: &str) {
        let code = match key {
            "Enter" => 13,
            "Tab" => 9,
            "Escape" => 27,
            "ArrowLeft" => 37,
            "ArrowUp" => 38,
            "ArrowRight" => 39,
            "ArrowDown" => 40,
            "End" => 35,
            "Home" => 36,
            _ => 0,
        };
        let typed = match key {
            "Enter" => Some("\r"),
            one if one.chars().count() == 1 => Some(one),
            _ => None,
        };
        let mut event = json!({ "type": "keyDown", "key": key, "windowsVirtualKeyCode": code });
        if let Some(typed) = typed {
            event["text"] = json!(typed);
        } else {
            event["type"] = json!("rawKeyDown");
        }
        self.call("Input.dispatchKeyEvent", event);
        self.call(
            "Input.dispatchKeyEvent",
            json!({ "type": "keyUp", "key": key, "windowsVirtualKeyCode": code }),
        );
    }

    /// Writes what is seen as `target/screenshots/{name}.png`.
    pub(crate) fn picture(&mut self, name: &str) -> PathBuf {
        // What was changed last is on the screen after the next frame.
        self.eval(
            "document.fonts.ready.then(() => new Promise((seen) => \
             requestAnimationFrame(() => requestAnimationFrame(() => seen(true)))))",
        );
        let taken = self.call("Page.captureScreenshot", json!({ "format": "png" }));
        let picture = STANDARD.decode(taken["data"].as_str().unwrap()).unwrap();
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("screenshots");
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join(format!("{name}.png"));
        std::fs::write(&file, picture).unwrap();
        file
    }

    pub(crate) fn write(&mut self, words: &str) {
        self.call("Input.insertText", json!({ "text": words }));
    }

    /// Nothing went wrong, and nobody but `page` was asked.
    pub(crate) fn assert_quiet(&mut self, page: &str) {
        self.eval("1");
        assert_eq!(self.complaints, Vec::<String>::new());
        assert!(self.requests.iter().any(|url| url.starts_with(page)));
        let ours = |url: &String| url.starts_with(page) || url.starts_with("data:") || url == "about:blank";
        let others: Vec<_> = self.requests.iter().filter(|url| !ours(url)).collect();
        assert!(others.is_empty(), "{others:?}");
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // All of its processes: those that it leaves behind would go on writing into its folder.
        let group = format!("-{}", self.process.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Text as it is, anything else as JSON.
pub(crate) fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Where the browser listens, as it says on standard error; what it says after that is read and forgotten.
fn address(process: &mut Child) -> String {
    let stderr = process.stderr.take().unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if let Some((_, address)) = line.split_once("DevTools listening on ") {
                let _ = sender.send(address.trim().to_owned());
            }
        }
    });
    receiver.recv_timeout(PATIENCE).expect("the browser says where it listens")
}
