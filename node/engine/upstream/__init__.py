"""An engine that is somebody else's server: any OpenAI-compatible API by its address, watched and never trusted."""
