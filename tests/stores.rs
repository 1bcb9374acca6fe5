//! Every store against the one suite, and against what goes wrong: real directories, a real S3 server.

mod stores {
    mod conformance;
    mod loose;
    mod probe;
    mod seaweed;
}
