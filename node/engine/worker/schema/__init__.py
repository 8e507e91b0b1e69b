"""A stranger's JSON schema, reduced to what a grammar can hold the model to, and refused where it asks for more.

A keyword that would be silently ignored is worse than a refusal: the buyer would pay for an answer that its own
validator rejects. So each keyword of JSON Schema is kept to or refused, and every size is bounded; what JSON Schema
has no keyword for is a note. An answer in the grammar validates against the schema; the reverse need not hold: an
object's declared properties come in their order.

A schema goes from its text (`document`) over alternatives of what its values must be (`own`, `denial`, `reading`,
`parts`, `fitting`) to shapes (`leaves`, `arrays`, `objects`, `shaping`), from which grammars are written.
"""
