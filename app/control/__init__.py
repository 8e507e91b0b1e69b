"""The control socket: a running node's ``NodeApi`` over a socket that only its owner can open."""
