"""Engines: what turns a chat request into a stream of text; llama.cpp in a child process."""
