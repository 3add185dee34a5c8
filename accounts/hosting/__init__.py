"""JupyterHub's `Authenticator` classes, unmodified, in a process of their own.

The *host* is that process (`accounts.hosting.process`, without Django). It has a
tornado application with the class's own handlers and JupyterHub's sign-in handler. Web
processes send requests of browsers to it and get responses, as a proxy does. When a
handler signs somebody in, the response has an *answer*: the name, and other data of the
class about the person. Sessions, second factors, limits of failures and the audit
log are the hub's own.

    browser -> accounts.views.LoginView        /hub/login
            -> accounts.hosting.views          other paths of the class
            -> accounts.hosting.client         one call over a Unix socket
            -> accounts.hosting.process        the class's handler
            <- accounts.hosting.sign_in        admission, account, session

* `client`: calls to the host, and what they return.
* `description`: facts of the class that web processes need.
* `requests`: a browser's request as the host gets it, and the response; `forwarding`:
  its headers, cookies and redirects.
* `sign_in`: what follows an answer; `apply_answer` changes the account.
* `refresh`: refreshes of people who are signed in.
* `account_hooks`: `add_user` and `delete_user` of the class.
* `views`: paths of the class's own handlers.
* `process.calls`: the calls that the host answers. A call is one function there.
"""
