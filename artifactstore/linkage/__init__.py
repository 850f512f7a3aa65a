"""Messages to other systems about packages: an outbox that lives in the event log."""
