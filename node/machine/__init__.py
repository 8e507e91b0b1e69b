"""The machine that serves: what it draws, who else wants it, and what a token should cost."""
