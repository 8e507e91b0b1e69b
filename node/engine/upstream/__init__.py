"""An engine on another server: any OpenAI-compatible API by its address, watched and never trusted."""
