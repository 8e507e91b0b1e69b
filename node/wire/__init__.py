"""Message types, framing and version negotiation of the relay protocol."""
