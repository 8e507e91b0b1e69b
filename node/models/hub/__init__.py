"""The Hugging Face hub: searching, listing and pulling, each in a child process of its own.

The hub's client library is heavy, blocks, reads its settings from the environment when imported, and downloads from
strangers. In a child it delays no start and no loop, can be ended at any moment, and takes nothing with it.
"""
