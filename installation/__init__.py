"""Installation of the hub in this folder, and of the services for its tests."""
