//! Cuts a large request of an exporter into small ones while it comes in, so that it is never held as a whole. Every
//! piece is a request of its own, with the resource and the scope that its elements are of. One reader for all three
//! signals: each is resources, in which are scopes, in which are spans, metrics or log records, under the same numbers.
//! What is in an element is not looked at.
//! <https://github.com/open-telemetry/opentelemetry-proto/tree/main/opentelemetry/proto>

use std::collections::VecDeque;
use std::mem;

use super::DecodeError;

/// Bytes of a piece, from which on it ends with the next element: more than exporters put into one request, since spans
/// of one trace that are told in two requests know less of each other.
const PIECE: usize = if cfg!(test) { 4 << 10 } else { 1 << 20 };
/// Bytes of one element, and of all that is said of a resource or of a scope.
const MAX_FIELD: usize = if cfg!(test) { 16 << 10 } else { 8 << 20 };

/// Of a resource in a request, and of a scope in a resource.
const RESOURCE: u64 = 1;
const SCOPE: u64 = 2;
const ELEMENT: u64 = 2;

/// A request on its way in. Give it what comes with [`Cutter::push`], then take the pieces that are ready.
///
/// ```
/// use wire::otlp::Cutter;
///
/// let mut cutter = Cutter::default();
/// cutter.push(b"\x0a\x04\x12\x02\x12").unwrap();
/// cutter.push(b"\x00").unwrap();
/// assert_eq!(cutter.finish().unwrap(), Some(b"\x0a\x04\x12\x02\x12\x00".to_vec()));
/// ```
#[derive(Debug, Default)]
pub struct Cutter {
    /// What came and is not read, from `at` on.
    held: Vec<u8>,
    at: usize,
    /// Bytes left of the messages that are open: of a resource, and of a scope in it.
    open: Vec<usize>,
    /// What is said of them: for the pieces to come as well.
    resource: Vec<u8>,
    scope: Vec<u8>,
    /// The next piece: elements of the open scope, scopes of the open resource, resources.
    elements: Vec<u8>,
    scopes: Vec<u8>,
    resources: Vec<u8>,
    pieces: VecDeque<Vec<u8>>,
}

impl Cutter {
    /// Takes what has come.
    ///
    /// # Errors
    /// It is no such request, or an element of it is too large. What came before is in pieces.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), DecodeError> {
        self.held.drain(..self.at.min(self.held.len()));
        self.at = 0;
        self.held.extend_from_slice(bytes);
        while self.step()? {}
        Ok(())
    }

    /// A piece that is ready.
    pub fn piece(&mut self) -> Option<Vec<u8>> {
        self.pieces.pop_front()
    }

    /// Bytes that it has taken and not given.
    pub fn held(&self) -> usize {
        let pieces: usize = self.pieces.iter().map(Vec::len).sum();
        let unread = self.held.len().saturating_sub(self.at);
        unread + self.resource.len() + self.scope.len() + self.weight() + pieces
    }

    /// The last piece, once all has come and [`Cutter::piece`] gives no more; `None` when nothing is left.
    ///
    /// # Errors
    /// The end is missing.
    pub fn finish(&mut self) -> Result<Option<Vec<u8>>, DecodeError> {
        if !self.open.is_empty() || self.at < self.held.len() {
            return Err(DecodeError::Protobuf(protobuf::Error::Truncated));
        }
        self.cut();
        Ok(self.pieces.pop_back())
    }

    fn weight(&self) -> usize {
        self.elements.len() + self.scopes.len() + self.resources.len()
    }

    /// Reads one field. `false`: it is not whole yet.
    fn step(&mut self) -> Result<bool, DecodeError> {
        let rest = self.held.get(self.at..).unwrap_or_default();
        let Some(Field { number, is_message, head, body }) = Field::begin(rest)? else { return Ok(false) };
        let begins = match (self.open.len(), number) {
            (0, RESOURCE) | (1, SCOPE) => is_message,
            _ => false,
        };
        if begins {
            self.pass(head)?;
            if self.open.last().is_some_and(|left| body > *left) {
                return Err(DecodeError::Protobuf(protobuf::Error::Malformed));
            }
            self.open.push(body);
            self.close();
            return Ok(true);
        }
        let whole = head.saturating_add(body);
        if whole > MAX_FIELD {
            return Err(DecodeError::TooLarge);
        }
        let Some(bytes) = rest.get(..whole) else { return Ok(false) };
        match (self.open.len(), number) {
            // Of nothing that is known.
            (0, _) => {}
            (1, _) => self.resource.extend_from_slice(bytes),
            (_, ELEMENT) => self.elements.extend_from_slice(bytes),
            _ => self.scope.extend_from_slice(bytes),
        }
        if self.resource.len().max(self.scope.len()) > MAX_FIELD {
            return Err(DecodeError::TooLarge);
        }
        self.pass(whole)?;
        if self.weight() >= PIECE {
            self.cut();
        }
        self.close();
        Ok(true)
    }

    /// So many bytes are read, of all messages that are open.
    fn pass(&mut self, bytes: usize) -> Result<(), DecodeError> {
        self.at += bytes;
        for left in &mut self.open {
            *left = left.checked_sub(bytes).ok_or(DecodeError::Protobuf(protobuf::Error::Malformed))?;
        }
        Ok(())
    }

    /// Closes the messages of which nothing is left.
    fn close(&mut self) {
        while self.open.last() == Some(&0) {
            if self.open.len() == 2 {
                self.close_scope();
                self.scope.clear();
            } else {
                self.close_resource();
                self.resource.clear();
            }
            self.open.pop();
        }
    }

    fn close_scope(&mut self) {
        if !self.elements.is_empty() {
            write(SCOPE, &self.scope, &mut self.elements, &mut self.scopes);
        }
    }

    fn close_resource(&mut self) {
        if !self.scopes.is_empty() {
            write(RESOURCE, &self.resource, &mut self.scopes, &mut self.resources);
        }
    }

    /// Ends the piece here; what goes on says of what it is.
    fn cut(&mut self) {
        self.close_scope();
        self.close_resource();
        if !self.resources.is_empty() {
            self.pieces.push_back(mem::take(&mut self.resources));
        }
    }
}

/// A message: what is said of it, and what is in it, which is taken.
fn write(number: u64, said: &[u8], content: &mut Vec<u8>, to: &mut Vec<u8>) {
    varint(number << 3 | BYTES, to);
    varint((said.len() + content.len()) as u64, to);
    to.extend_from_slice(said);
    to.append(content);
}

fn varint(mut value: u64, to: &mut Vec<u8>) {
    while value > 0x7f {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

const BYTES: u64 = 2;

/// How a field begins.
struct Field {
    number: u64,
    is_message: bool,
    /// Bytes of its number and length, and of the rest.
    head: usize,
    body: usize,
}

impl Field {
    /// `None`: there is too little to know.
    fn begin(bytes: &[u8]) -> Result<Option<Self>, DecodeError> {
        let malformed = DecodeError::Protobuf(protobuf::Error::Malformed);
        let Some((tag, head)) = read_varint(bytes)? else { return Ok(None) };
        let rest = bytes.get(head..).unwrap_or_default();
        let (head, body) = match tag & 7 {
            0 => match read_varint(rest)? {
                Some((_, length)) => (head, length),
                None => return Ok(None),
            },
            1 => (head, 8),
            BYTES => match read_varint(rest)? {
                Some((body, length)) => (head + length, usize::try_from(body).map_err(|_| malformed)?),
                None => return Ok(None),
            },
            5 => (head, 4),
            _ => return Err(malformed),
        };
        match tag >> 3 {
            0 => Err(malformed),
            number => Ok(Some(Self { number, is_message: tag & 7 == BYTES, head, body })),
        }
    }
}

/// A number and the bytes that it takes; `None` when its end is not there yet.
fn read_varint(bytes: &[u8]) -> Result<Option<(u64, usize)>, DecodeError> {
    let mut value = 0;
    for (at, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f).wrapping_shl(7 * at as u32);
        if byte & 0x80 == 0 {
            return Ok(Some((value, at + 1)));
        }
    }
    match bytes.len() {
        0..10 => Ok(None),
        _ => Err(DecodeError::Protobuf(protobuf::Error::Malformed)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::otlp::{Signal, logs, to_protobuf};

    fn cut(body: &[u8], part: usize) -> Result<Vec<Vec<u8>>, DecodeError> {
        let (mut cutter, mut pieces) = (Cutter::default(), Vec::new());
        for part in body.chunks(part.max(1)) {
            cutter.push(part)?;
            pieces.extend(std::iter::from_fn(|| cutter.piece()));
            assert!(cutter.held() <= PIECE + 4 * MAX_FIELD, "{}", cutter.held());
        }
        pieces.extend(cutter.finish()?);
        Ok(pieces)
    }

    /// Resources with scopes with log records, so many each, of so many bytes.
    fn request(resources: u64, scopes: u64, records: u64, bytes: usize) -> Vec<u8> {
        let list = |of: u64, make: &dyn Fn(u64) -> Value| (0..of).map(make).collect::<Vec<_>>();
        let body = json!({"resourceLogs": list(resources, &|r| json!({
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": format!("service {r}")}}]},
            "scopeLogs": list(scopes, &|s| json!({
                "scope": {"name": format!("scope {s}")},
                "logRecords": list(records, &|n| json!({
                    "timeUnixNano": "1700000000000000000", "body": {"stringValue": format!("{n} {}", "x".repeat(bytes))},
                })),
                "schemaUrl": "behind",
            })),
            "schemaUrl": "behind",
        }))});
        to_protobuf(Signal::Logs, body.to_string().as_bytes()).unwrap()
    }

    fn lines(body: &[u8]) -> Vec<String> {
        logs::decode(body).unwrap().lines.iter().map(|line| format!("{line:?}")).collect()
    }

    #[test]
    fn pieces_tell_what_the_whole_tells() {
        for (resources, scopes, records, bytes) in [
            (1, 1, 3, 10),
            (1, 1, 100, 500),
            (3, 4, 20, 100),
            (0, 0, 0, 0),
            (2, 0, 0, 0),
            (1, 2, 0, 0),
            (40, 5, 1, 0),
        ] {
            let body = request(resources, scopes, records, bytes);
            for part in [1, 7, 1000, body.len()] {
                let pieces = cut(&body, part).unwrap();
                let told: Vec<_> = pieces.iter().flat_map(|piece| lines(piece)).collect();
                assert_eq!(told, lines(&body), "{resources} {scopes} {records} {bytes}");
                assert!(pieces.iter().all(|piece| piece.len() < PIECE + bytes + 1000));
                assert_eq!(pieces.len() > 1, body.len() > PIECE + 1000, "{} of {}", pieces.len(), body.len());
            }
        }
    }

    #[test]
    fn what_is_no_such_request() {
        let check = |body: &[u8], want: DecodeError| assert_eq!(cut(body, 3).unwrap_err(), want, "{body:?}");
        let truncated = DecodeError::Protobuf(protobuf::Error::Truncated);
        let malformed = DecodeError::Protobuf(protobuf::Error::Malformed);
        let body = request(2, 2, 2, 10);
        for end in 1..body.len() {
            let cut = cut(&body[..end], 5);
            // Between two resources it is whole.
            assert!(cut.is_ok() == crate::otlp::is_whole(&body[..end]), "{end}: {cut:?}");
        }
        check(b"\x0a\x05", truncated);
        check(b"\x0a", truncated);
        check(b"\x07\x00", malformed);
        check(b"\x02\x00", malformed);
        check(&[0xff; 20], malformed);
        // More in a message than it has room for.
        check(b"\x0a\x02\x12\x05", malformed);
        check(b"\x0a\x03\x0a\x05abcde", malformed);
        let large = [b"\x0a\xff\xff\x7f\x12\xf0\xff\x7f\x12\xe0\xff\x7f".as_slice(), &[0; 100]].concat();
        check(&large, DecodeError::TooLarge);
        let said = request(1, 1, 1, MAX_FIELD);
        check(&said, DecodeError::TooLarge);
    }

    proptest! {
        #[test]
        fn any_bytes(body in proptest::collection::vec(any::<u8>(), 0..300), part in 1usize..50) {
            if let Ok(pieces) = cut(&body, part) {
                prop_assert!(pieces.iter().all(|piece| crate::otlp::is_whole(piece)));
            }
        }
    }
}
