"""Schemas of metadata: what may be registered, and how metadata and files are held against them."""
