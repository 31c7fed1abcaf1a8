//! Text that is most often a constant, and small maps of it.

use std::borrow::Cow;

/// A string that costs nothing when it is a constant.
pub type Text = Cow<'static, str>;

/// A small map from tag key to value that keeps insertion order. Looked up by scanning: a span has some
/// ten tags, where a scan beats hashing and costs one allocation for all.
#[derive(Clone, Debug, PartialEq)]
pub struct Tags<V>(Vec<(Text, V)>);

impl<V> Tags<V> {
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    pub fn with_capacity(n: usize) -> Self {
        Self(Vec::with_capacity(n))
    }

    pub fn get(&self, key: &str) -> Option<&V> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v)
    }

    /// Sets a tag; a key that is there gets the new value in its old place.
    pub fn insert(&mut self, key: impl Into<Text>, value: impl Into<V>) {
        let (key, value) = (key.into(), value.into());
        match self.0.iter_mut().find(|(k, _)| *k == key) {
            Some((_, v)) => *v = value,
            None => self.0.push((key, value)),
        }
    }

    /// Adds a tag whose key is known not to be there: decoders that trust their input's keys. A repeated
    /// key is found by its first value.
    pub fn push(&mut self, key: Text, value: V) {
        self.0.push((key, value));
    }

    pub fn remove(&mut self, key: &str) -> Option<V> {
        let at = self.0.iter().position(|(k, _)| k == key)?;
        Some(self.0.remove(at).1)
    }

    pub fn contains(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Text, &V)> {
        self.0.iter().map(|(k, v)| (k, v))
    }

    pub fn iter_mut(&mut self) -> impl ExactSizeIterator<Item = (&Text, &mut V)> {
        self.0.iter_mut().map(|(k, v)| (&*k, v))
    }
}

impl<V> Default for Tags<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V> IntoIterator for Tags<V> {
    type Item = (Text, V);
    type IntoIter = std::vec::IntoIter<(Text, V)>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<K: Into<Text>, T: Into<V>, V> FromIterator<(K, T)> for Tags<V> {
    fn from_iter<I: IntoIterator<Item = (K, T)>>(iter: I) -> Self {
        let mut tags = Self::new();
        tags.extend(iter);
        tags
    }
}

impl<K: Into<Text>, T: Into<V>, V> Extend<(K, T)> for Tags<V> {
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
}
