"""A process of its own at the broker's other end: `python -m tests.wires.broker_peer send|take ...`.

send COUNT                  send the numbers below COUNT, each as one message
take FILE VISIBLE HOLD      write each number to FILE, then acknowledge it; with HOLD, never acknowledge
"""

import os
import sys
from pathlib import Path

import django
from kombu import Connection, Consumer, Producer, Queue

QUEUE = Queue("work", routing_key="work")


def send(count: int) -> None:
    with Connection("embedded://localhost") as connection:
        producer = Producer(connection)
        for number in range(count):
            producer.publish({"number": number}, routing_key="work", declare=[QUEUE], serializer="json")


def take(path: Path, visible: float, hold: bool) -> None:
    with (
        path.open("ab", buffering=0) as file,
        Connection("embedded://localhost", transport_options={"visibility_timeout": visible}) as connection,
    ):

        def received(body, message):
            file.write(f"{body['number']}\n".encode())
            if not hold:
                message.ack()

        with Consumer(connection, QUEUE, callbacks=[received], accept=["json"], prefetch_count=4):
            while True:
                try:
                    connection.drain_events(timeout=1)
                except TimeoutError:
                    continue


if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "console.settings"
    django.setup()
    from console import celery as _application  # noqa: F401  # it names the broker to kombu

    if sys.argv[1] == "send":
        send(int(sys.argv[2]))
    else:
        take(Path(sys.argv[2]), float(sys.argv[3]), hold=len(sys.argv) > 4)
