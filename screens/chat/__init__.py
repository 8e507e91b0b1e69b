"""Chat: asks a model on a provider's machine; shows the answer and its price as they come."""
