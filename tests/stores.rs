//! Every store against the one suite, and against what goes wrong: real directories, a real S3 server.

mod stores {
    mod conformance;
    mod disk;
    mod faults;
    mod init;
    mod loose;
    mod probe;
    mod seaweed;
    mod writers;
}
