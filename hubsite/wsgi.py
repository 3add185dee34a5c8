"""The hub as a WSGI application, for any WSGI server."""

from __future__ import annotations

import os

import django
from django.core.handlers.wsgi import WSGIHandler

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hubsite.settings")
django.setup(set_prefix=False)

application = WSGIHandler()
