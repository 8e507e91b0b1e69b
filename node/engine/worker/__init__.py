"""The child process that holds llama.cpp: continuous batching over the sequences of one context, in one thread."""
