"""A process that tells people what is due, over and over, for tests that kill it."""

import os
from datetime import timedelta
from ipaddress import ip_network

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")


def main() -> None:
    django.setup()
    from django.conf import settings

    from console.notices import sending, tasks

    settings.WEBHOOK_NETWORKS = (ip_network("127.0.0.0/8"),)
    # One that was killed keeps the others waiting for so long.
    sending.LEASE = timedelta(seconds=0.2)
    while True:
        tasks.tell()


if __name__ == "__main__":
    main()
