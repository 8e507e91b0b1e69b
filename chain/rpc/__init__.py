"""The L2's JSON-RPC 2.0 over HTTP and websocket."""
