"""The format on disk: CBOR, manifests, events, and what docs/format.md and schemas/ say of them."""
