"""The library's contract: what every door to a store does with good input."""
