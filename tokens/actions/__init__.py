"""Actions on tokens, one module for each kind of change.

Each change of a token is one function here, which records it in the audit log. The
policy for the owner is applied here, too, so that every way to a token obeys it.
"""
