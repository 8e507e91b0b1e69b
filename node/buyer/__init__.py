"""Asks and pays: offers read, a provider chosen, a session run, vouchers signed, channels settled."""
