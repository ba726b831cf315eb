#!/usr/bin/env python
"""Django's command line for the cacheservice project."""

import os
import sys

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cacheservice.settings")
    from django.core.management import execute_from_command_line

    from cacheservice.errors import APIError

    try:
        execute_from_command_line(sys.argv)
    except APIError as error:  # its message is for people: the database or the key service is away, for example
        sys.exit(f"{error.code}: {error.message}")
