//! What every store must do: one suite, run on each kind of store and on each decorator.
//!
//! Invariants: a check writes only below the folder that it is given, and assumes nothing there but emptiness. It panics where the
//! store breaks its word, with the word that it broke.

mod listing;
mod objects;
mod uploads;

use std::sync::Arc;

use bytes::Bytes;

use super::{Entry, ObjectKey, Put, Store, list_all};

/// Runs every check.
///
/// # Panics
/// When the store does not do what the trait says.
pub async fn check(store: Arc<dyn Store>, folder: &str) {
    let below = |name: &str| Place { store: Arc::clone(&store), folder: format!("{folder}/{name}") };
    objects::an_object_is_read_back_as_it_was_put(below("back")).await;
    objects::a_taken_key_is_left_alone(below("taken")).await;
    objects::an_empty_object_is_an_object(below("empty")).await;
    objects::an_absent_object_is_said_to_be_absent(below("absent")).await;
    objects::a_range_ends_where_the_object_ends(below("range")).await;
    objects::a_deleted_object_is_gone_and_its_key_free(below("delete")).await;
    objects::odd_characters_in_keys_are_kept(below("odd")).await;
    objects::a_segment_sized_object_is_one_put(below("segment")).await;
    objects::of_many_writers_one_creates_the_object(below("race")).await;
    listing::keys_come_in_order_and_only_those_asked_for(below("order")).await;
    listing::more_than_a_page_is_listed_page_by_page(below("pages")).await;
    listing::folders_are_those_with_objects_below(below("folders")).await;
    listing::a_look_after_a_put_shows_it_among_the_others(below("look")).await;
    listing::a_put_is_listed_and_a_delete_is_not(below("fresh")).await;
    uploads::a_large_upload_appears_whole(below("large")).await;
    uploads::a_small_upload_appears_too(below("small")).await;
    uploads::an_upload_does_not_overwrite(below("kept")).await;
    uploads::of_many_uploads_one_that_won_is_the_object(below("contest")).await;
    uploads::an_aborted_upload_leaves_nothing(below("aborted")).await;
    uploads::a_dropped_upload_leaves_no_object(below("dropped")).await;
}

/// Runs the check that uploads, too, create an object only once when they race: directories do, not every S3 service does.
///
/// # Panics
/// When more than one is told that it did.
pub async fn check_racing_uploads(store: Arc<dyn Store>, folder: &str) {
    uploads::of_many_uploads_one_creates_the_object(Place { store, folder: format!("{folder}/uploads") }).await;
}

/// Where a check may write.
struct Place {
    store: Arc<dyn Store>,
    folder: String,
}

impl Place {
    fn key(&self, name: &str) -> ObjectKey {
        let key = ObjectKey::new(format!("{}/{name}", self.folder));
        key.unwrap_or_else(|| panic!("{name:?} is not a key's name"))
    }

    async fn put(&self, name: &str, body: impl Into<Bytes>) -> Put {
        let put = self.store.put_if_absent(&self.key(name), body.into()).await;
        put.unwrap_or_else(|error| panic!("{error}"))
    }

    async fn get(&self, name: &str) -> Bytes {
        self.store.get(&self.key(name)).await.unwrap_or_else(|error| panic!("{error}"))
    }

    async fn delete(&self, name: &str) {
        self.store.delete(&self.key(name)).await.unwrap_or_else(|error| panic!("{error}"));
    }

    /// Checks that nothing shows an object of that name.
    async fn assert_absent(&self, name: &str) {
        let key = self.key(name);
        let error = self.store.get(&key).await.expect_err("an absent object was read");
        assert!(error.is_not_found(), "get of an absent object: {error}");
        let error = self.store.get_range(&key, 0..1).await.expect_err("a part of an absent object was read");
        assert!(error.is_not_found(), "get_range of an absent object: {error}");
        assert_eq!(self.store.size(&key).await.unwrap_or_else(|error| panic!("{error}")), None);
        let listed = self.all().await;
        assert!(listed.iter().all(|entry| entry.key != key), "an absent object is listed");
    }

    async fn all(&self) -> Vec<Entry> {
        list_all(&*self.store, &format!("{}/", self.folder)).await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// The names of a page, without the folder.
    async fn names(&self, prefix: &str, after: Option<&str>, limit: usize) -> Vec<String> {
        let within = format!("{}/", self.folder);
        let after = after.map(|after| format!("{within}{after}"));
        let page = self.store.list(&format!("{within}{prefix}"), after.as_deref(), limit).await;
        let page = page.unwrap_or_else(|error| panic!("{error}"));
        page.iter().map(|entry| entry.key.as_str().trim_start_matches(&within).to_owned()).collect()
    }
}

/// Bytes that do not compress and do not repeat: xorshift, from a seed.
fn noise(length: usize, seed: u64) -> Bytes {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes.into()
}
