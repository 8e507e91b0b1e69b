"""A reasoning model's thinking kept apart from its answer: how a model marks it, and text cut along those markers."""
