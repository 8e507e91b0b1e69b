"""The node as one object: every service wired together, behind ``NodeApi``."""
