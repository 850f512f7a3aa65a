"""Where the bytes are: immutable objects under their blake3 digest, in one or more backends."""
