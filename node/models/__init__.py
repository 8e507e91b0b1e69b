"""GGUF inspection, discovery on disk and the demo model."""
