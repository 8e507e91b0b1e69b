"""The composition root: command line, configuration, wiring and the Textual application."""
