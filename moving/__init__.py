"""Moving a site from JupyterHub's database into this hub's, and back."""
