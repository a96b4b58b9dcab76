"""The WSGI application."""

import os

from django.core.wsgi import get_wsgi_application

from console import start

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "console.settings")
start.keep_private()
application = get_wsgi_application()
