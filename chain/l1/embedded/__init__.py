"""An L1 of one's own: py-evm over a durable store, with the JSON-RPC that wallets and our own client speak.

Only the devnet imports what is in here, since py-evm takes a second to load.
"""
