"""The programs that are measured, each with the same few verbs, so that a measurement does not know which it has.

A tool has a `name`; `prepare()` makes an empty repository; `archive_command(data)` and `restore_command(data)` are what PostgreSQL
would be given; `begin(data)` starts what has to run beside, `end()` stops it.
"""
