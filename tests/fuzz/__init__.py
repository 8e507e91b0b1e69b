"""Cases for comparing every implementation of the state transition with each other."""
