"""The measurements, one file for each kind. Each adds rows to the results, and says what it is at."""
