"""Chat: ask a model on somebody's machine, watch the answer and its price come in."""
