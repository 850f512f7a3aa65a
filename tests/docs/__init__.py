"""The documentation is true: its examples run, its links resolve, its reference is complete and current."""
