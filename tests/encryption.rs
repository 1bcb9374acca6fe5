//! Promise 9, secrets stay secret: what is encrypted is written without a key, and read with the right one only. The oracle is the `age`
//! program.

#[path = "encryption/keys.rs"]
mod keys;
#[path = "encryption/life.rs"]
mod life;
#[path = "encryption/rotation.rs"]
mod rotation;
#[path = "encryption/store.rs"]
mod store;

#[path = "moments/key.rs"]
mod key;
#[path = "moments/site.rs"]
mod site;
