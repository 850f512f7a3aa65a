"""Bad input, damaged stores and hostile trees: each is refused with its own error and changes nothing."""
