"""Texts and numbers that a schema describes character by character, as automata that a grammar is written from."""
