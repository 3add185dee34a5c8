"""Setting up this folder, and the services that tests need."""
