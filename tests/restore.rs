//! Restores of real clusters of every supported version, compared row by row with what was there at the moment.

mod restore {
    mod clocks;
    mod damage;
    mod edges;
    mod ended;
    mod interrupted;
    mod joints;
    mod lineages;
    mod quiet;
    mod reads;
    mod refused;
    mod retention;
    mod support;
    mod targets;
    mod verify;
}
