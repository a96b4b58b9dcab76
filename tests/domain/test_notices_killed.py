"""Processes that tell people are killed at random: each event arrives, in order, with an id that stays."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import defaultdict
from ipaddress import ip_network

import pytest

from console.models import Delivery
from console.notices import following, subscriptions
from console.notices.subscriptions import Wanted
from secrets_app.audit import trail
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.people import users
from tests import amounts, factories, web_receiver
from tests.web_process import CHECKOUT, database_url

pytestmark = pytest.mark.django_db(transaction=True)
EVENTS = amounts.cases(300, long=10_000)
SECRETS = amounts.cases(5, long=50)
PROCESSES = 2


def start() -> subprocess.Popen[bytes]:
    environment = os.environ | {"KEYTURN_TEST_DATABASE_URL": database_url()}
    command = [sys.executable, "-m", "tests.notifier"]
    return subprocess.Popen(command, env=environment, cwd=CHECKOUT)


def sent() -> int:
    return Delivery.objects.filter(state="sent").count()


def test_each_event_arrives_in_order_and_a_repeat_has_the_same_id_however_often_processes_die(settings):
    settings.WEBHOOK_NETWORKS = (ip_network("127.0.0.0/8"),)
    following.follow()
    actor, chance = factories.administrator(), random.Random(17)
    secrets = [factories.secret() for _ in range(SECRETS)]
    with web_receiver.running() as receiver:
        wanted = Wanted("Pager", "webhook", ("rotation.succeeded",), shape="keyturn")
        subscriptions.create(wanted, actor=actor, url=Plaintext(receiver.url))
        running = [start() for _ in range(PROCESSES)]
        kills = 0
        try:
            for number in range(EVENTS):
                secret = chance.choice(secrets)
                details = {"outcome": "succeeded", "number": number}
                trail.record("kms:RotationEnded", secret, actor=users.system(), details=details)
            while (count := sent()) < EVENTS:
                # After a few more were recorded, and not after a time: each one gets to send something.
                goal = min(count + chance.randrange(1, max(2, EVENTS // 8)), EVENTS)
                while sent() < goal:
                    time.sleep(0.02)
                victim = chance.randrange(PROCESSES)
                running[victim].send_signal(signal.SIGKILL)
                running[victim].wait()
                running[victim] = start()
                kills += 1
        finally:
            for process in running:
                process.kill()
                process.wait()
    assert kills >= 5
    first: dict[str, tuple[int, bytes]] = {}
    orders = defaultdict(list)
    for one in receiver.received:
        content, pk = one.content, one.headers["Keyturn-Delivery"]
        if pk in first:
            assert first[pk] == (content["sequence"], one.body)
            continue
        first[pk] = (content["sequence"], one.body)
        orders[content["resource"]].append(content["sequence"])
    assert len(first) == EVENTS
    assert all(order == sorted(order) for order in orders.values())
    print(f"{EVENTS} events, {kills} kills, {len(receiver.received) - EVENTS} repeats")
