"""Wallet: where all the money is, how long until the rest arrives, and everything that moves it."""
