//! Trees of files, backed up and restored by the program, with GNU tar and the file system's own programs as judges.

mod files {
    mod changing;
    mod links;
    mod on_change;
    mod refused;
    mod restore;
    mod site;
    mod whole;
}
