//! Text that is most often a constant, and small maps of it.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// A string that costs nothing when it is a constant.
pub type Text = Cow<'static, str>;

/// A small map from tag key to value that keeps insertion order. Looked up by scanning: a span has some
/// ten tags, where a scan beats hashing and costs one allocation for all. Behind its own tags a map may have
/// some that it shares with other maps.
#[derive(Clone)]
pub struct Tags<V> {
    own: Vec<(Text, V)>,
    shared: Option<Arc<SharedTags<V>>>,
}

/// Tags that many maps have in common, at the cost of one pointer for each of them.
#[derive(Debug)]
pub struct SharedTags<V> {
    all: Vec<(Text, V)>,
    /// Which lengths the keys have: most keys that are not here can be told by that.
    lengths: u64,
    bytes: usize,
}

impl SharedTags<Text> {
    /// A repeated key has its last value.
    pub fn new(tags: impl IntoIterator<Item = (Text, Text)>) -> Self {
        let all: Vec<(Text, Text)> = tags.into_iter().collect::<Tags<Text>>().own;
        let lengths = all.iter().fold(0, |lengths, (key, _)| lengths | length_bit(key));
        let bytes = bytes(&all);
        Self { all, lengths, bytes }
    }
}

impl<V> SharedTags<V> {
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Text, &V)> {
        self.all.iter().map(|(k, v)| (k, v))
    }

    fn get(&self, key: &str) -> Option<&V> {
        let may_be = self.lengths & length_bit(key) != 0;
        may_be.then(|| self.all.iter().find(|(k, _)| k == key).map(|(_, v)| v)).flatten()
    }
}

fn length_bit(key: &str) -> u64 {
    1 << (key.len() & 63)
}

/// About what tags take once encoded.
fn bytes(tags: &[(Text, Text)]) -> usize {
    tags.iter().map(|(k, v)| k.len() + v.len() + 6).sum()
}

impl<V> Tags<V> {
    pub const fn new() -> Self {
        Self { own: Vec::new(), shared: None }
    }

    pub fn with_capacity(n: usize) -> Self {
        Self { own: Vec::with_capacity(n), shared: None }
    }

    pub fn get(&self, key: &str) -> Option<&V> {
        let own = self.own.iter().find(|(k, _)| k == key).map(|(_, v)| v);
        own.or_else(|| self.shared.as_ref()?.get(key))
    }

    /// Adds a tag whose key is known not to be there: decoders that trust their input's keys. A repeated
    /// key is found by its first value.
    pub fn push(&mut self, key: Text, value: V) {
        self.own.push((key, value));
    }

    pub fn contains(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    pub fn len(&self) -> usize {
        self.own.len() + self.shared.as_ref().map_or(0, |shared| shared.all.len())
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn iter(&self) -> Iter<'_, V> {
        let shared = self.shared.as_ref().map_or(&[][..], |shared| &shared.all);
        Iter { own: self.own.iter(), shared: shared.iter() }
    }

    /// The tags that are this map's alone.
    pub fn own(&self) -> impl ExactSizeIterator<Item = (&Text, &V)> {
        self.own.iter().map(|(k, v)| (k, v))
    }

    /// The tags that others have too.
    pub fn shared(&self) -> Option<&Arc<SharedTags<V>>> {
        self.shared.as_ref()
    }
}

impl<V: Clone> Tags<V> {
    /// Sets a tag; a key that is there gets the new value in its old place.
    pub fn insert(&mut self, key: impl Into<Text>, value: impl Into<V>) {
        let (key, value) = (key.into(), value.into());
        if let Some((_, v)) = self.own.iter_mut().find(|(k, _)| *k == key) {
            *v = value;
            return;
        }
        if self.shared.as_ref().is_some_and(|shared| shared.get(&key).is_some()) {
            self.part();
            return self.insert(key, value);
        }
        self.own.push((key, value));
    }

    pub fn remove(&mut self, key: &str) -> Option<V> {
        if self.shared.as_ref().is_some_and(|shared| shared.get(key).is_some()) {
            self.part();
        }
        let at = self.own.iter().position(|(k, _)| k == key)?;
        Some(self.own.remove(at).1)
    }

    pub fn iter_mut(&mut self) -> impl ExactSizeIterator<Item = (&Text, &mut V)> {
        self.part();
        self.own.iter_mut().map(|(k, v)| (&*k, v))
    }

    /// Puts tags behind these, for all of which they are the same. They go before tags of the same keys.
    pub fn share(&mut self, tags: &Arc<SharedTags<V>>) {
        self.part();
        self.own.retain(|(key, _)| tags.get(key).is_none());
        self.shared = Some(tags.clone());
    }

    /// Makes the shared tags its own.
    fn part(&mut self) {
        if let Some(shared) = self.shared.take() {
            self.own.extend(shared.all.iter().cloned());
        }
    }
}

impl Tags<Text> {
    /// About how many bytes they take once encoded.
    pub fn weight(&self) -> usize {
        bytes(&self.own) + self.shared.as_ref().map_or(0, |shared| shared.bytes)
    }
}

/// The tags of a map, its own first.
#[derive(Debug)]
pub struct Iter<'a, V> {
    own: std::slice::Iter<'a, (Text, V)>,
    shared: std::slice::Iter<'a, (Text, V)>,
}

impl<'a, V> Iterator for Iter<'a, V> {
    type Item = (&'a Text, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        self.own.next().or_else(|| self.shared.next()).map(|(k, v)| (k, v))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.own.len() + self.shared.len();
        (left, Some(left))
    }
}

impl<V> ExactSizeIterator for Iter<'_, V> {}

impl<V> Default for Tags<V> {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether tags are shared makes no difference.
impl<V: PartialEq> PartialEq for Tags<V> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<V: fmt::Debug> fmt::Debug for Tags<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tags").field(&self.iter().collect::<Vec<_>>()).finish()
    }
}

impl<V: Clone> IntoIterator for Tags<V> {
    type Item = (Text, V);
    type IntoIter = std::vec::IntoIter<(Text, V)>;
    fn into_iter(mut self) -> Self::IntoIter {
        self.part();
        self.own.into_iter()
    }
}

impl<K: Into<Text>, T: Into<V>, V: Clone> FromIterator<(K, T)> for Tags<V> {
    fn from_iter<I: IntoIterator<Item = (K, T)>>(iter: I) -> Self {
        let mut tags = Self::new();
        tags.extend(iter);
        tags
    }
}

impl<K: Into<Text>, T: Into<V>, V: Clone> Extend<(K, T)> for Tags<V> {
    fn extend<I: IntoIterator<Item = (K, T)>>(&mut self, iter: I) {
        for (k, v) in iter {
            self.insert(k, v);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_there_once_and_order_is_kept() {
        let mut tags: Tags<Text> = [("b", "1"), ("a", "2")].into_iter().collect();
        tags.insert("b", "3");
        let all: Vec<_> = tags.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(all, ["b=3", "a=2"]);
        assert_eq!(tags.remove("b").as_deref(), Some("3"));
        assert!(!tags.contains("b"));
    }

    #[test]
    fn shared_tags_are_as_ones_own() {
        let check = |own: &[(&'static str, &'static str)], change: fn(&mut Tags<Text>), want: &[&str]| {
            let pairs = [("b", "s"), ("cc", "s"), ("b", "t")].map(|(k, v)| (k.into(), v.into()));
            let shared = Arc::new(SharedTags::new(pairs));
            let mut tags: Tags<Text> = own.iter().copied().collect();
            tags.share(&shared);
            change(&mut tags);
            let all: Vec<_> = tags.iter().map(|(k, v)| format!("{k}={v}")).collect();
            assert_eq!(all, want);
            assert_eq!(
                (tags.len(), tags.iter().len(), tags.is_empty()),
                (want.len(), want.len(), want.is_empty())
            );
            let plain: Tags<Text> = tags.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
            assert_eq!((&plain, plain.weight()), (&tags, tags.weight()));
            assert_eq!(format!("{plain:?}"), format!("{tags:?}"));
            assert!(plain.iter().all(|(k, v)| tags.get(k) == Some(v)));
            assert!(tags.clone().into_iter().eq(plain));
        };
        check(&[], |_| (), &["b=t", "cc=s"]);
        check(&[("a", "1"), ("cc", "2")], |_| (), &["a=1", "b=t", "cc=s"]);
        check(&[("a", "1")], |tags| tags.insert("d", "4"), &["a=1", "d=4", "b=t", "cc=s"]);
        check(&[("a", "1")], |tags| tags.insert("b", "4"), &["a=1", "b=4", "cc=s"]);
        check(&[], |tags| assert_eq!(tags.remove("cc").as_deref(), Some("s")), &["b=t"]);
        check(
            &[("a", "1")],
            |tags| tags.iter_mut().for_each(|(_, v)| *v = "x".into()),
            &["a=x", "b=x", "cc=x"],
        );
        let twice = |tags: &mut Tags<Text>| {
            tags.share(&Arc::new(SharedTags::new([("b".into(), "u".into()), ("e".into(), "u".into())])));
        };
        check(&[], twice, &["cc=s", "b=u", "e=u"]);
    }
}
