"""Signed offers, their verification and the choice of a provider."""
