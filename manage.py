#!/usr/bin/env python
"""Run one management command."""

import os
import sys

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "console.settings")
    from django.core.management import execute_from_command_line

    from console.process import start
    from secrets_app import origin

    start.keep_private()
    with origin.bind():
        execute_from_command_line(sys.argv)
