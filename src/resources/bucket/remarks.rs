//! What a backup of a bucket has to say: a few sentences, and counts of the rest.

/// So many keys are named of each sort.
const NAMED_MAX: usize = 5;

/// Keys of one sort.
#[derive(Debug, Default)]
pub(super) struct Named {
    pub count: u64,
    keys: Vec<String>,
}

impl Named {
    /// Adds a key.
    pub fn add(&mut self, key: &str) {
        self.count += 1;
        if self.keys.len() < NAMED_MAX {
            self.keys.push(key.escape_debug().to_string());
        }
    }

    /// The keys, as far as they are named.
    pub fn keys(&self) -> &[String] {
        &self.keys
    }

    /// A sentence with the keys behind it; none where there are none.
    pub fn sentence(&self, words: &str) -> Option<String> {
        let more = self.count - self.keys.len() as u64;
        let more = if more > 0 { format!(", and {more} more") } else { String::new() };
        (self.count > 0).then(|| format!("{} object(s) {words}: {}{more}", self.count, self.keys.join(", ")))
    }
}
