"""What buyer and provider share: relay connection, events, jobs, settings, deadlines, log lines."""
