//! The house rules that a machine can check. Each has a test that reads the whole tree, and one that shows that it can fail.

mod tidy {
    mod documents;
    mod layers;
    mod manifests;
    mod places;
    mod promises;
    mod shape;
    mod source;
    mod tree;
    mod words;
}
