"""Stand-ins over the hub under test for JupyterHub's modules.

Stand-ins store nothing. Attributes are read from the hub's rows at each use and written
at once, so `commit()` does nothing. A test that uses an attribute without a stand-in
ends as not portable, with the attribute's name.
"""
