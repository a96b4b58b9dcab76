"""Instances: what is listed, who may register and change, and what a changed host key does."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from rotation import instance_checks, leases
from rotation.connectors import base
from rotation.connectors.memory.connector import MemoryHost
from rotation.connectors.networks import EVERYWHERE
from rotation.inventory import identities, instances
from rotation.models import HostKey, Instance, Run
from secrets_app.models import AuditEvent
from tests import factories, times
from tests.domain.rig import OLD, drive, rotate

pytestmark = pytest.mark.django_db
HTMX = {"HX-Request": "true", "HX-Target": "dialog-content"}


def url(name: str, instance: Instance | None = None, region: str = "main") -> str:
    return reverse(name, args=[region, instance.pk] if instance else [region])


def typed(**changes: object) -> dict[str, object]:
    """What somebody types to register a server."""
    region = factories.region()
    return {"name": "web-1", "region": str(region.pk), "address": "10.0.0.5", "port": "22"} | changes


def scanned(instance: Instance, *keys: base.HostKey) -> Run:
    """A scan that has ended and was shown these keys."""
    times.tick()  # no scan begins as another one was shown its keys
    run = instance_checks.scan(instance, actor=factories.administrator())
    lease = leases.claim(run.pk, "tests")
    assert lease
    identities.see_host_keys(instance, keys)
    leases.end(lease, Run.Outcome.SUCCEEDED, sentence="The host shows its keys.")
    return run


# ---------------------------------------------------------------- the list


def test_the_list_shows_how_each_instance_is_reached_and_stands(as_dot):
    instance = factories.instance(name="db-7")
    factories.secret(instance=instance)
    page = as_dot.get(url("instances")).content.decode()
    for shown in (
        instance.instance_id,
        "db-7",
        "Linux",
        instance.address,
        "keyturn",
        "Pinned",
        "Not yet tested",
    ):
        assert shown in page


def test_an_empty_list_says_what_to_do_next(as_dot):
    page = as_dot.get(url("instances")).content.decode()
    assert "No instance yet" in page
    assert url("instance_register") in page


def test_the_list_finds_by_name_address_and_id_and_says_when_nothing_fits(as_dot):
    found, other = factories.instance(name="db-7"), factories.instance(name="mail")
    for text in ("db-7", found.address, found.instance_id):
        page = as_dot.get(url("instances"), {"q": text}).content.decode()
        assert found.instance_id in page
        assert other.instance_id not in page
    assert "No matching instances" in as_dot.get(url("instances"), {"q": "nowhere"}).content.decode()


def test_the_list_of_a_region_leaves_out_the_others_and_all_shows_every_one(as_dot):
    here = factories.instance()
    there = factories.instance(region=factories.region("south"))
    assert there.instance_id not in as_dot.get(url("instances")).content.decode()
    everything = as_dot.get(url("instances", region="all")).content.decode()
    assert here.instance_id in everything
    assert there.instance_id in everything


@pytest.mark.parametrize("sort", ["id", "name", "region", "os", "address", "secrets", "contact", "status"])
def test_the_list_sorts_by_each_column_both_ways(as_dot, sort):
    factories.instance()
    assert as_dot.get(url("instances"), {"sort": sort}).status_code == 200
    assert as_dot.get(url("instances"), {"sort": f"-{sort}"}).status_code == 200


def test_the_number_of_queries_does_not_grow_with_the_rows(as_dot):
    def queries() -> int:
        with CaptureQueriesContext(
            connection,
        ) as seen:
            assert as_dot.get(url("instances")).status_code == 200
        return len(seen)

    factories.secret(instance=factories.instance())
    few = queries()
    for _ in range(6):
        factories.secret(instance=factories.instance())
    assert queries() == few


def test_only_some_keys_of_a_host_may_be_approved_without_it_counting_as_changed(as_dot):
    first = base.HostKey("ssh-ed25519", "AAAA1", "SHA256:one")
    second = base.HostKey("ssh-rsa", "AAAA2", "SHA256:two")
    instance = factories.instance(keys=[first, second], approved=False)
    identities.approve_host_keys(instance, [first.fingerprint], actor=factories.administrator())
    scanned(instance, first, second)
    page = as_dot.get(url("instance", instance)).content.decode()
    assert "Host key changed" not in page


# ---------------------------------------------------------------- register


def test_registering_a_server_reads_its_host_key_and_trusts_none(as_dot):
    credential = factories.credential()
    response = as_dot.post(url("instance_register"), typed(credential=str(credential.pk)))
    instance = Instance.objects.get()
    assert response.status_code == 302
    assert response["Location"] == url("instance", instance)
    assert instance.credential == credential
    assert [run.kind for run in instance.runs.all()] == [Run.Kind.SCAN]
    assert not instance.host_keys.filter(state=HostKey.State.APPROVED).exists()


def test_a_dialog_goes_on_to_the_page_of_the_new_instance(as_dot):
    response = as_dot.post(url("instance_register"), typed(), headers=HTMX)
    assert response["HX-Redirect"] == url("instance", Instance.objects.get())


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"name": ""}, "Enter a name."),
        ({"name": "two\nlines"}, "A name is one line"),
        ({"address": ""}, "Enter a host name or an IP address."),
        ({"address": "https://web-1"}, "no https:// and no port"),
        ({"address": "web-1:22"}, "no https:// and no port"),
        ({"address": "10.0.0.300"}, "no https:// and no port"),
        ({"address": "-oProxyCommand=id"}, "no https:// and no port"),
        ({"port": "70000"}, "A port is a number from 1 to 65535."),
        ({"port": "ssh"}, "A port is a number from 1 to 65535."),
        ({"region": ""}, "Choose a region."),
        ({"region": "1d3d0d6e-2d5d-4b5e-9f5e-0d0d0d0d0d0d"}, "Choose a region from the list."),
        (
            {"credential": "1d3d0d6e-2d5d-4b5e-9f5e-0d0d0d0d0d0d"},
            "Choose a management credential from the list.",
        ),
    ],
)
def test_a_wrong_field_says_what_is_allowed_and_nothing_is_registered(as_dot, wrong, sentence):
    response = as_dot.post(url("instance_register", region="all"), typed(**wrong))
    assert response.status_code == 422
    assert sentence in response.content.decode()
    assert not Instance.objects.exists()
    assert not Run.objects.exists()


def test_a_name_or_an_address_in_use_is_said_at_its_field_and_the_rest_is_kept(as_dot):
    taken = factories.instance(name="web-1", address="10.0.0.5")
    again = as_dot.post(url("instance_register"), typed(address="10.0.0.6"))
    assert again.status_code == 422
    assert "An instance named web-1 is registered in Main." in again.content.decode()
    assert "10.0.0.6" in again.content.decode()
    twin = as_dot.post(url("instance_register"), typed(name="web-2"))
    assert f"{taken.where} is registered already, as web-1." in twin.content.decode()
    assert Instance.objects.count() == 1


def test_one_address_has_one_spelling(as_dot):
    as_dot.post(url("instance_register"), typed(address="[2001:DB8:0::5]"))
    assert Instance.objects.get().address == "2001:db8::5"


def test_all_regions_asks_for_the_region(as_dot):
    south = factories.region("south")
    assert "South (south)" in as_dot.get(url("instance_register", region="all")).content.decode()
    as_dot.post(url("instance_register", region="all"), typed(region=str(south.pk)))
    assert Instance.objects.get().region == south


def test_a_region_s_own_page_registers_nowhere_else(as_dot):
    south = factories.region("south")
    as_dot.post(url("instance_register"), typed(region=str(south.pk)))
    assert Instance.objects.get().region.code == "main"


# ---------------------------------------------------------------- host keys


def test_approving_trusts_exactly_what_was_ticked(as_dot):
    keys = [factories.host_key(1), base.HostKey("ssh-rsa", "AAAA2", "SHA256:two")]
    instance = factories.instance(keys=keys, approved=False)
    dialog = as_dot.get(url("instance_approve", instance)).content.decode()
    assert all(key.fingerprint in dialog for key in keys)
    assert "ssh-keygen -lf" in dialog
    as_dot.post(url("instance_approve", instance), {"fingerprints": [keys[0].fingerprint]})
    approved = instance.host_keys.filter(state=HostKey.State.APPROVED)
    assert [key.fingerprint for key in approved] == [keys[0].fingerprint]


@pytest.mark.parametrize("fingerprints", [[], ["SHA256:never-seen"]])
def test_nothing_is_approved_that_was_not_shown(as_dot, fingerprints):
    instance = factories.instance(approved=False)
    response = as_dot.post(url("instance_approve", instance), {"fingerprints": fingerprints})
    assert response.status_code == 422
    assert not instance.host_keys.filter(state=HostKey.State.APPROVED).exists()


def test_another_key_at_the_next_scan_is_shown_as_changed_and_not_ticked_beforehand(as_dot):
    instance = factories.instance()
    other = factories.host_key()
    scanned(instance, other)
    page = as_dot.get(url("instance", instance)).content.decode()
    assert "Host key changed" in page
    assert "Changed" in as_dot.get(url("instances")).content.decode()
    dialog = as_dot.get(url("instance_approve", instance)).content.decode()
    assert other.fingerprint in dialog
    assert " checked" not in dialog


def test_a_key_that_the_newest_scan_did_not_show_cannot_be_approved_again(as_dot):
    instance = factories.instance()
    old = instance.host_keys.get().fingerprint
    scanned(instance, factories.host_key())
    response = as_dot.post(url("instance_approve", instance), {"fingerprints": [old]})
    assert response.status_code == 422


def test_approving_a_changed_key_detaches_the_credential_and_says_so(as_dot):
    instance = factories.instance()
    other = factories.host_key()
    scanned(instance, other)
    assert "detached" in as_dot.get(url("instance_approve", instance)).content.decode()
    as_dot.post(url("instance_approve", instance), {"fingerprints": [other.fingerprint]})
    instance.refresh_from_db()
    assert instance.credential is None
    page = as_dot.get(url("instance", instance)).content.decode()
    assert "The management credential is detached" in page
    assert "Its host key changed." in page
    assert "Retired" in page


def test_a_connection_that_met_another_key_is_shown_as_changed_before_any_scan(as_dot):
    instance = factories.instance()
    check = base.Check("host_key", base.Mark.BLOCKED, "Another key.", "host_key_changed")
    instances.note_facts(instance, base.Facts(checks=(check,)))
    assert "Host key changed" in as_dot.get(url("instance", instance)).content.decode()


# ---------------------------------------------------------------- looking at the host


@pytest.mark.parametrize(("name", "kind"), [("instance_scan", "scan"), ("instance_check", "check")])
def test_a_look_at_the_host_is_a_run_and_twice_is_one(as_dot, name, kind):
    instance = factories.instance()
    for _ in range(2):
        assert as_dot.post(url(name, instance)).status_code == 302
    assert [run.kind for run in instance.runs.all()] == [kind]


def test_the_live_part_asks_again_only_while_the_host_is_being_looked_at(as_dot):
    instance = factories.instance()
    assert "every 1s" not in as_dot.get(url("instance", instance)).content.decode()
    started = as_dot.post(url("instance_check", instance), headers={"HX-Request": "true"})
    assert started.status_code == 202
    assert "every 1s" in started.content.decode()


def test_the_live_part_answers_nothing_while_nothing_has_changed_and_says_when_it_ended(as_dot):
    instance = factories.instance(approved=False)
    run = instance_checks.scan(instance, actor=factories.administrator())
    seen = as_dot.get(url("instance", instance)).context["mark"]
    assert as_dot.get(url("instance_live", instance), {"seen": seen}).status_code == 204
    lease = leases.claim(run.pk, "tests")
    assert lease
    leases.end(lease, Run.Outcome.SUCCEEDED, sentence="The host shows 1 key.")
    ended = as_dot.get(url("instance_live", instance), {"seen": seen})
    assert ended.status_code == 200
    assert "The host shows 1 key." in ended["HX-Trigger"]
    assert "every 1s" not in ended.content.decode()


def test_a_connection_test_shows_each_check_with_its_mark_and_sentence(as_dot):
    instance = factories.instance()
    run = instance_checks.check(instance, actor=factories.administrator())
    lease = leases.claim(run.pk, "tests")
    assert lease
    step = leases.begin(lease, "preflight")
    evidence = [
        {"name": "reachable", "mark": "passed", "sentence": "The host answers."},
        {"name": "sudo", "mark": "blocked", "sentence": "sudo asks <b>for</b> a password."},
    ]
    leases.finish(lease, step, "failed", "sudo asks for a password.", evidence)
    leases.end(lease, Run.Outcome.BLOCKED, code="sudo", sentence="sudo asks for a password.")
    page = as_dot.get(url("instance", instance)).content.decode()
    for shown in ("Reachable", "Passed", "The host answers.", "Root by sudo", "Blocked"):
        assert shown in page
    assert "<b>for</b>" not in page


def test_an_address_that_is_not_allowed_is_a_wrong_field(as_dot, settings):
    instance = factories.instance()
    settings.ALLOWED_NETWORKS = EVERYWHERE
    edited = {"name": "x", "address": "127.0.0.1", "port": "22", "revision": str(instance.revision)}
    for answer in (
        as_dot.post(url("instance_register"), typed(address="127.0.0.1")),
        as_dot.post(url("instance_edit", instance), edited),
    ):
        assert answer.status_code == 422
        assert "Keyturn does not connect to this address." in answer.content.decode()
    assert Instance.objects.get() == instance


def test_who_looks_too_often_is_told_when_to_try_again(as_dot, settings):
    settings.CHECKS_AT_MOST = 1
    first, second = factories.instance(), factories.instance()
    assert as_dot.post(url("instance_scan", first)).status_code == 302
    for name in ("instance_scan", "instance_check"):
        answer = as_dot.post(url(name, second))
        assert answer.status_code == 429
        assert int(answer["Retry-After"]) > 0
    refused = as_dot.post(url("instance_register"), typed(address="10.0.0.9"))
    assert refused.status_code == 422
    assert "may start 1 scans" in refused.content.decode()
    assert Instance.objects.count() == 2
    credential = factories.credential()
    assert as_dot.post(url("instance_attach", second), {"credential": str(credential.pk)}).status_code == 302
    assert "The connection is not tested yet." in as_dot.get(url("instance", second)).content.decode()


# ---------------------------------------------------------------- edit and attach


def test_a_new_address_detaches_the_credential(as_dot):
    instance = factories.instance()
    changed = {"name": instance.name, "address": "10.9.9.9", "port": "22", "revision": instance.revision}
    assert as_dot.post(url("instance_edit", instance), changed).status_code == 302
    instance.refresh_from_db()
    assert instance.address == "10.9.9.9"
    assert instance.credential is None
    assert "The management credential is detached" in as_dot.get(url("instance", instance)).content.decode()


def test_a_stale_save_changes_nothing_and_says_who_changed_what(as_dot):
    instance = factories.instance()
    mine = {"name": "mine", "address": instance.address, "port": "22", "revision": instance.revision}
    bea = factories.user("bea", "administrators").principal
    instances.change(instance, revision=1, name="theirs", address=instance.address, port=22, actor=bea)
    response = as_dot.post(url("instance_edit", instance), mine)
    page = response.content.decode()
    assert response.status_code == 409
    assert "bea saved a change" in page
    assert "theirs" in page
    assert 'value="mine"' in page
    instance.refresh_from_db()
    assert instance.name == "theirs"
    # What came back carries the new revision, so that sending it again is a decision and not a loop.
    assert as_dot.post(url("instance_edit", instance), mine | {"revision": 2}).status_code == 302


def test_attaching_takes_a_credential_that_may_be_used_and_records_it(as_dot):
    instance, credential = factories.instance(), factories.credential()
    assert (
        as_dot.post(url("instance_attach", instance), {"credential": str(credential.pk)}).status_code == 302
    )
    instance.refresh_from_db()
    assert instance.credential == credential
    assert AuditEvent.objects.filter(action="kms:UseManagementCredential", resource_id=instance.pk).exists()


def test_attaching_nothing_is_an_error_at_the_field(as_dot):
    instance = factories.instance()
    response = as_dot.post(url("instance_attach", instance), {})
    assert response.status_code == 422
    assert "Choose a management credential." in response.content.decode()


# ---------------------------------------------------------------- who may

CHANGES = ["instance_scan", "instance_check", "instance_approve", "instance_attach", "instance_edit"]


@pytest.mark.parametrize("name", CHANGES)
def test_an_auditor_sees_an_instance_and_changes_nothing(client, aud, name):
    instance = factories.instance()
    client.force_login(aud)
    page = client.get(url("instance", instance))
    assert page.status_code == 200
    assert "Test connection</button>" not in page.content.decode()
    before = Run.objects.count()
    assert client.post(url(name, instance)).status_code == 403
    assert Run.objects.count() == before


def test_an_auditor_registers_nothing(client, aud):
    client.force_login(aud)
    assert client.post(url("instance_register"), typed()).status_code == 403
    assert not Instance.objects.exists()


@pytest.mark.parametrize("name", ["instance", "instance_live", *CHANGES])
def test_an_instance_does_not_exist_for_who_may_not_describe_it(client, hal, name):
    instance = factories.instance()
    client.force_login(hal)
    answer = client.post if name in CHANGES else client.get
    assert answer(url(name, instance)).status_code == 404
    assert client.get(url("instances")).status_code == 403


@pytest.mark.parametrize("name", ["instance", "instance_live", *CHANGES])
def test_who_is_not_signed_in_is_sent_to_the_sign_in(client, name):
    instance = factories.instance()
    answer = client.post(url(name, instance))
    assert answer.status_code == 302
    assert answer["Location"].startswith(reverse("account_login"))


@pytest.mark.parametrize("name", ["instance_scan", "instance_check"])
def test_a_link_starts_nothing(as_dot, name):
    instance = factories.instance()
    assert as_dot.get(url(name, instance)).status_code == 405
    assert not instance.runs.exists()


@pytest.mark.parametrize("name", CHANGES)
def test_a_post_from_another_site_is_refused(dot, name):
    instance = factories.instance()
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(dot)
    assert strict.post(url(name, instance)).status_code == 403
    assert not instance.runs.exists()


def test_an_instance_is_not_found_under_another_region(as_dot):
    factories.region("south")
    assert as_dot.get(url("instance", factories.instance(), region="south")).status_code == 404


def test_an_instance_with_an_approved_key_and_a_credential_is_tested_without_being_asked(as_dot):
    made = factories.instance(approved=False)
    key = made.host_keys.get()
    as_dot.post(reverse("instance_approve", args=["main", made.pk]), {"fingerprints": [key.fingerprint]})
    assert Run.objects.get(instance=made).kind == Run.Kind.CHECK


# ---------------------------------------------------------------- whose checks stand there


def test_a_check_of_one_account_is_not_shown_as_the_test_of_the_instance(as_dot):
    instance = factories.instance()
    actor = factories.administrator()
    look = instance_checks.check_account(instance, "svc", "password", actor=actor)
    lease = leases.claim(look.pk, "host/1/2")
    assert lease
    leases.end(lease, "blocked", code="locked", sentence="The account is locked.")
    page = as_dot.get(url("instance", instance)).content.decode()
    assert "Not tested yet." in page
    assert "The account is locked." not in page.partition('id="checks"')[2].partition('id="host-keys"')[0]
    assert "Connection test of svc" in as_dot.get(reverse("run", args=["main", look.pk])).content.decode()


@pytest.mark.parametrize("problem", ["", "locked"])
def test_what_a_rotation_found_of_its_account_is_not_said_of_the_instance(problem):
    host = MemoryHost()
    host.add_account("svc", OLD).problem = problem
    secret = factories.secret(initial=OLD)
    factories.settle(secret)
    run = drive(rotate(secret), host)
    assert run.outcome == ("blocked" if problem else "succeeded")
    instance = Instance.objects.get(pk=run.instance_id)
    assert [line["name"] for line in instance.checks] == ["reachable"]
