"""The machine under the node: what it is, what it draws, what that costs, and when it is free."""
