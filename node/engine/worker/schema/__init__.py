"""A stranger's JSON schema, reduced to what a grammar can hold the model to, and refused where it asks for more.

A keyword that would be silently ignored is worse than a refusal: the buyer would pay for an answer that its own
validator rejects. So only known keywords pass, what is left is rewritten into the few shapes that a grammar is written
from, and every size is bounded. An answer in the grammar validates against the schema; the reverse need not hold: an
object has no properties but the declared ones, and a tuple is complete.
"""
