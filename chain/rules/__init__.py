"""What each kind of transaction does to a state. Every rule is total: it returns a code, and the caller rolls back.

Checks run in the order in which they stand, since the contract that re-executes a step has to come to the same code.
"""
