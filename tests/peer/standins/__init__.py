"""What the tests take for JupyterHub's modules: stand-ins over the hub under test.

Nothing is kept here. Each attribute that a test reads is read from the hub's rows at
that moment, each that it writes is written at once, so `commit()` has nothing to do.
What a stand-in has not, a test can't use: it ends as not portable, with the name.
"""
