"""The devnet's own L1: py-evm over a durable store, with the JSON-RPC that wallets and our own client speak.

Only the devnet imports what is in here, since py-evm takes a second to load.
"""
