"""The typed configuration: rooms, set-ups, layers of settings."""
