"""Pages about servers: start, progress and stop."""
