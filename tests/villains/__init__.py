"""Every villain against one honest watchtower, on the embedded L1 with its real contracts."""
