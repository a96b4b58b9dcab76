"""Regions: their code never changes, and one in which something is stays."""

from __future__ import annotations

import threading
from contextlib import suppress

import pytest
from django.db import transaction

from rotation.inventory import instances, places, retirement
from rotation.managed import deletion
from rotation.models import Instance
from secrets_app import regions
from secrets_app.models import AuditEvent, Region
from secrets_app.policy import decisions
from tests import factories
from tests.domain.test_leases import together

pytestmark = pytest.mark.django_db


def retire(region: Region) -> None:
    places.retire(region, actor=factories.administrator(), reason="moved")


def register(region: Region, name: str = "web-1") -> Instance:
    return instances.register(name, region=region, address="10.0.0.5", actor=factories.administrator())


def test_a_new_region_takes_secrets_and_instances_at_once(dot):
    region = places.create("eu-west", "Europe, west", actor=dot.principal)
    assert register(region).arn.startswith("acs:kms:eu-west:")
    event = AuditEvent.objects.get(action="kms:CreateRegion", resource_id=region.pk)
    assert event.resource.endswith(":region/eu-west")


@pytest.mark.parametrize("code", ["", "all", "EU", "eu west", "eu_west", "-eu", "eu-", "eu/west", "x" * 41])
def test_a_code_that_no_address_could_have_is_refused(dot, code):
    with pytest.raises(regions.BadCode):
        places.create(code, "Europe", actor=dot.principal)


def test_a_code_is_never_used_again(dot):
    factories.region()
    region = factories.region("west")
    with pytest.raises(regions.CodeTaken):
        places.create("west", "West", actor=dot.principal)
    retire(region)
    with pytest.raises(regions.CodeTaken):
        places.create("west", "West", actor=dot.principal)


def test_a_rename_changes_the_name_and_not_the_code(dot):
    region = factories.region("west")
    places.rename(region, "Far west", was=region.name, actor=dot.principal)
    found = Region.objects.get(pk=region.pk)
    assert (found.code, found.name) == ("west", "Far west")
    assert AuditEvent.objects.get(action="kms:UpdateRegion").details == {"name": "Far west", "was": "West"}
    with pytest.raises(regions.Outdated):
        places.rename(region, "Wild west", was="West", actor=dot.principal)
    assert Region.objects.get(pk=region.pk).name == "Far west"


def test_a_region_with_something_in_it_stays_until_that_is_gone():
    factories.region()
    region = factories.region("west")
    secret = factories.secret(instance=factories.instance(region=region))
    factories.settle(secret)
    with pytest.raises(places.NotEmpty, match=r"1 secret and 1 instance are in it\."):
        retire(region)
    deletion.plan_deletion(secret, actor=factories.administrator())
    with pytest.raises(places.NotEmpty, match="1 secret and 1 instance"):
        retire(region)
    deletion.restore(secret, actor=factories.administrator())
    factories.settle(secret)
    deletion.purge(secret, actor=factories.administrator())
    with pytest.raises(places.NotEmpty, match=r"1 instance is in it\."):
        retire(region)
    retirement.retire(secret.managed.instance, actor=factories.administrator(), reason="gone")
    retire(region)
    assert Region.objects.get(pk=region.pk).retired_at
    assert AuditEvent.objects.get(action="kms:RetireRegion").reason == "moved"


def test_a_generic_secret_keeps_its_region():
    factories.region()
    region = factories.region("west")
    factories.generic_secret(region=region)
    with pytest.raises(places.NotEmpty, match=r"1 secret is in it\."):
        retire(region)


def test_the_last_region_stays():
    main, west = factories.region(), factories.region("west")
    retire(west)
    with pytest.raises(regions.LastRegion):
        retire(main)
    assert not Region.objects.get(pk=main.pk).retired_at


def test_a_retired_region_gets_nothing_more():
    factories.region()
    region = factories.region("west")
    retire(Region.objects.get(pk=region.pk))
    with pytest.raises(regions.Retired, match="was retired on"):
        register(region)
    with pytest.raises(regions.Retired):
        factories.generic_secret(region=region)
    with pytest.raises(regions.Retired):
        places.rename(region, "West again", was=region.name, actor=factories.administrator())
    with pytest.raises(regions.Retired):
        retire(region)
    assert not region.instances.exists()
    assert not region.secrets.exists()


@pytest.mark.parametrize("who", ["ann", "hal", "aud"])
def test_regions_are_changed_by_who_may(request, who):
    principal = request.getfixturevalue(who).principal
    factories.region()
    region = factories.region("west")
    with pytest.raises(decisions.NotAllowed):
        places.create("north", "North", actor=principal)
    with pytest.raises(decisions.NotAllowed):
        places.rename(region, "North", was=region.name, actor=principal)
    with pytest.raises(decisions.NotAllowed):
        places.retire(region, actor=principal)
    assert list(Region.objects.values_list("name", "retired_at")) == [("Main", None), ("West", None)]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("what", [register, lambda region: factories.generic_secret(region=region)])
def test_what_is_put_into_a_region_at_the_same_moment_keeps_it(what):
    """On PostgreSQL a row that is not committed is invisible: only the lock makes the retirement wait."""
    factories.region()
    region = factories.region("west")
    factories.administrator()
    made, tried = threading.Event(), threading.Event()

    def put() -> None:
        with transaction.atomic():
            what(region)
            made.set()
            tried.wait(1)  # in vain, unless the retirement did not wait

    def end() -> None:
        assert made.wait(60)
        with suppress(places.NotEmpty):
            retire(region)
        tried.set()

    together([put, end])
    assert not Region.objects.get(pk=region.pk).retired_at
    assert region.instances.exists() or region.secrets.exists()


@pytest.mark.django_db(transaction=True)
def test_of_the_last_two_regions_that_are_retired_at_once_one_stays():
    pair = [factories.region(), factories.region("west")]
    factories.administrator()

    def end(region: Region) -> None:
        with suppress(regions.LastRegion):
            retire(region)

    together([lambda region=region: end(region) for region in pair])
    assert Region.objects.filter(retired_at=None).count() == 1
