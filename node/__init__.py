"""The marketplace node: engine, relay, sealed sessions, market and the services that tie them together.

No user interface.
"""
