//! Buckets, backed up and restored by the program, with a real server as source, repository and target, and the SDK as the judge.

mod bucket {
    mod changes;
    mod encrypted;
    mod grown;
    mod keys;
    mod measure;
    mod memory;
    mod refused;
    mod restore;
    mod retention;
    mod scheduled;
    mod site;
    mod whole;
}
