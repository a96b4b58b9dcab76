"""Processes killed at random while rotations go on: everything ends, nothing is lost, nothing is left."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest

from tests.e2e.site import PROGRAMS, Site
from tests.waiting import wait_for

pytestmark = pytest.mark.xdist_group("storms")
ROTATIONS = 30
KILLS = 15
DEMO_HOSTS = "--demo-hosts=3"

INSIDE = """
import json
from django.db.models import Count, Q
from rotation import runs, tasks
from rotation.managed import creation
from rotation.models import Instance, Run
from secrets_app.models import Principal, Secret
from secrets_app.secrets import versions

actor = Principal.objects.get(name="admin")

def create():
    both = [("password", ""), ("key_pair", "ed25519")]
    users = [("web-01", "app"), ("web-01", "deploy"), ("db-01", "dba"), ("edge-01", "svc")]
    for number, (name, user) in enumerate(users):
        kind, algorithm = both[number % 2]
        instance = Instance.objects.get(name=name)
        place = {"region": instance.region, "instance": instance}
        place |= {"kind": kind, "key_algorithm": algorithm}
        creation.create(f"{name}/{user}", username=user, actor=actor, **place)

def rotate():
    # One more on each secret that rests, those first that had the fewest; how many there are, and go on.
    rotations = Run.objects.filter(kind="rotate")
    for secret in Secret.objects.annotate(had=Count("runs")).order_by("had"):
        if not secret.runs.active().exists() and rotations.count() < MOST:
            tasks.wake(runs.start(secret, actor=actor))
    return {"all": rotations.count(), "active": Run.objects.active().count()}

def result():
    # A check or a reconciliation that a rotation found waiting has made way for it; one that the schedule has
    # asked for since all was seen at rest is under way.
    fine = Q(outcome="cancelled") | Q(outcome="")
    others = Run.objects.exclude(outcome="succeeded").exclude(~Q(kind="rotate"), fine)
    told = {"others": [[run.outcome, run.truth, run.code, run.sentence] for run in others], "values": []}
    for secret in Secret.objects.all() if not others else ():
        held = versions.value(secret.labelled("current"))
        value = held.password.reveal() if held.password else None
        told["values"].append([secret.managed.instance.name, held.username, value, held.public_key])
    return told

print(json.dumps({"create": create, "rotate": rotate, "result": result}[WHAT]()))
"""


def inside(site: Site, what: str, most: int = 0):
    return site.inside(f"WHAT = {what!r}\nMOST = {most}\n" + INSIDE)


def start(site: Site) -> None:
    site.up(DEMO_HOSTS)
    site.wait_until_healthy()
    wait_for(lambda: "edge-01 at" in site.printed(), "the demo hosts")


def kill_one(site: Site) -> str:
    victim = random.choice([*PROGRAMS, "supervisor"])
    if victim == "supervisor":
        process = site.starts[-1][0]
        process.kill()
        process.wait()
        wait_for(lambda: not site.running(), "the end of all that the supervisor started")
        start(site)
    elif pid := site.main_pid(victim):
        os.kill(pid, signal.SIGKILL)
    return victim


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path)
    yield site
    site.end()


def test_15_random_kills_during_30_rotations_lose_nothing_and_leave_nothing(site):
    start(site)
    inside(site, "create")
    killed, now = [], {"all": 0, "active": 0}
    while len(killed) < KILLS or now["all"] < ROTATIONS or now["active"]:
        # No more rotations than kills have made room for, so that each kill meets some.
        now = inside(site, "rotate", min(ROTATIONS, 4 + 2 * len(killed)))
        if len(killed) < KILLS:
            time.sleep(random.uniform(0, 1))
            killed.append(kill_one(site))
        else:
            time.sleep(1)
    told = inside(site, "result")
    assert (now["all"], told["others"]) == (ROTATIONS, []), killed
    hosts = site.demo_hosts()
    for name, username, value, public_key in told["values"]:
        if value:
            assert hosts[name].shadow_accepts(username, value), killed
        else:
            assert public_key.split()[1] in hosts[name].authorized_keys(username), killed
    site.stop()
    assert not site.running()
