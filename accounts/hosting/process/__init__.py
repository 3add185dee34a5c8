"""The host: a process with one authenticator class, and no Django.

`server` listens, `calls` has the calls that the host answers, and `lanes` decides in
which thread a call runs. `classes` finds the class. `application` has what JupyterHub
gives to a class and its handlers: the application, the hub, the database session.
`handlers` replaces those methods of JupyterHub's base handler that would change its
database or the browser's session; `requests` runs a handler for a request that the hub
has received.
"""
