"""The measured claims: one program each, printing one JSON object; ``make bench`` runs them all."""
