"""Pages about servers: start, wait, stop, and the invitations to them."""
