//! The usual containers as carriers. A carrier of one's own is a `get` or a `set` away.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;

use crate::{Carrier, CarrierMut};

impl<K: AsRef<str>, V: AsRef<str>> Carrier for [(K, V)] {
    fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        let found = self.iter().find(|(k, _)| k.as_ref().eq_ignore_ascii_case(name));
        found.map(|(_, v)| Cow::Borrowed(v.as_ref()))
    }
}

impl<K: AsRef<str>, V: AsRef<str>> Carrier for Vec<(K, V)> {
    fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        Carrier::get(self.as_slice(), name)
    }
}

impl<K: AsRef<str>, V: AsRef<str>, const N: usize> Carrier for [(K, V); N] {
    fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        Carrier::get(self.as_slice(), name)
    }
}

impl Carrier for BTreeMap<String, String> {
    fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        let other_case = || self.iter().find(|(k, _)| k.eq_ignore_ascii_case(name)).map(|(_, v)| v);
        Self::get(self, name).or_else(other_case).map(|v| Cow::Borrowed(v.as_str()))
    }
}

impl<S: BuildHasher> Carrier for HashMap<String, String, S> {
    fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        let other_case = || self.iter().find(|(k, _)| k.eq_ignore_ascii_case(name)).map(|(_, v)| v);
        Self::get(self, name).or_else(other_case).map(|v| Cow::Borrowed(v.as_str()))
    }
}

impl CarrierMut for Vec<(String, String)> {
    fn set(&mut self, name: &'static str, value: String) {
        self.retain(|(k, _)| !k.eq_ignore_ascii_case(name));
        self.push((name.to_owned(), value));
    }
}

impl CarrierMut for BTreeMap<String, String> {
    fn set(&mut self, name: &'static str, value: String) {
        self.retain(|k, _| !k.eq_ignore_ascii_case(name));
        self.insert(name.to_owned(), value);
    }
}

impl<S: BuildHasher> CarrierMut for HashMap<String, String, S> {
    fn set(&mut self, name: &'static str, value: String) {
        self.retain(|k, _| !k.eq_ignore_ascii_case(name));
        self.insert(name.to_owned(), value);
    }
}
