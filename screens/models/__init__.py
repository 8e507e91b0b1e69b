"""The Models screen: what is on this machine, what the hub has, what fits, how fast it is."""
