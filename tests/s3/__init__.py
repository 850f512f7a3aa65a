"""Remote backends against real servers."""
