"""Working on a store behind an HTTP API: `Client`."""

from artifactstore.client.client import Client

__all__ = ["Client"]
