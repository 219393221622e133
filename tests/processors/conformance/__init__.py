"""The suite every processor must pass."""
