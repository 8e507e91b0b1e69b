"""Solidity sources and their committed artifacts."""
