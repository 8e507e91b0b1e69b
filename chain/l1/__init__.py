"""The L1 as the rollup sees it: a protocol, an embedded EVM, and a client for any JSON-RPC."""
