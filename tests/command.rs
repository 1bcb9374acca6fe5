//! The output of a program, kept and brought back, with a script that behaves as `kubectl get secrets -o yaml` does.

mod command {
    mod clocks;
    mod kept;
    mod on_change;
    mod site;
}
