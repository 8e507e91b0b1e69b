"""The sealed channel and the metered session, each a sans-I/O state machine."""
