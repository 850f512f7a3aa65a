"""The later life of packages and objects."""
