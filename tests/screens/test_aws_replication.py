"""Replicas in other regions: copies that follow, are only read, fail with a reason, and are freed."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from rotation import tasks
from rotation.managed import deletion
from secrets_app import regions, seals
from secrets_app.keys import key_states
from secrets_app.models import Key, Label, Principal, Replica, Secret, SecretVersion
from secrets_app.people import access_keys
from secrets_app.secrets import lifecycle, replicas, versions
from tests import factories, sigv4
from tests.statements import allow, give

pytestmark = pytest.mark.django_db
ONE, TWO = "t" * 40, "u" * 40


def signer(principal: Principal, region: str = "local-1") -> sigv4.Signer:
    key, secret = access_keys.create(principal, actor=factories.administrator())
    return sigv4.Signer(key.key_id, secret, region=region)


@pytest.fixture
def here(dot) -> sigv4.Signer:
    """A client of the primary's region, which has a secret."""
    factories.region("main")
    factories.region("eu-2")
    client = signer(dot.principal)
    status, _ = client.call(
        "CreateSecret", Name="app/db", SecretString="first", ClientRequestToken=ONE, Description="of all",
        Tags=[{"Key": "team", "Value": "web"}],
    )  # fmt: skip
    assert status == 200
    return client


@pytest.fixture
def there(dot, here) -> sigv4.Signer:
    """A client of the other region."""
    return signer(dot.principal, "eu-2")


def replicate(client: sigv4.Signer, **more: Any) -> tuple[int, dict[str, Any]]:
    given = {"SecretId": "app/db", "AddReplicaRegions": [{"Region": "eu-2"}]} | more
    return client.call("ReplicateSecretToRegions", **given)


def text(client: sigv4.Signer, **more: Any) -> str:
    status, answer = client.call("GetSecretValue", SecretId="app/db", **more)
    return str(answer["SecretString"]) if status == 200 else str(answer["__type"])


def status_of(client: sigv4.Signer) -> list[tuple[str, str]]:
    answer = client.call("DescribeSecret", SecretId="app/db")[1]
    return [(row["Region"], row["Status"]) for row in answer.get("ReplicationStatus", ())]


def copy() -> Secret:
    return Secret.objects.select_related("region__account", "account").get(
        region__code="eu-2", purged_at=None
    )


# ---------------------------------------------------------------- what goes wrong


def test_a_disabled_key_stops_the_copy_and_never_the_primary_and_the_copy_catches_up(here, there, dot):
    key = key_states.create("eu/key", actor=dot.principal)
    answer = replicate(here, AddReplicaRegions=[{"Region": "eu-2", "KmsKeyId": "alias/eu/key"}])
    assert answer[1]["ReplicationStatus"] == [
        {"Region": "eu-2", "KmsKeyId": "alias/eu/key", "Status": "InSync"}
    ]
    key_states.disable(Key.objects.get(pk=key.pk), actor=dot.principal)
    put = {"SecretId": "app/db", "SecretString": "second", "ClientRequestToken": TWO}
    assert here.call("PutSecretValue", **put)[0] == 200
    assert text(here) == "second"
    (row,) = here.call("DescribeSecret", SecretId="app/db")[1]["ReplicationStatus"]
    assert (row["Status"], "disabled" in row["StatusMessage"]) == ("Failed", True)
    key_states.enable(Key.objects.get(pk=key.pk), actor=dot.principal)
    assert text(there) == "first"  # an old value is better than none, and the state says that it is one
    tasks.keep_replicas()
    assert (text(there), status_of(here)) == ("second", [("eu-2", "InSync")])


def test_a_name_that_is_taken_there_fails_and_is_replaced_only_if_that_is_asked_for(here, there):
    there.call("CreateSecret", Name="app/db", SecretString="theirs", ClientRequestToken=ONE)
    (row,) = replicate(here)[1]["ReplicationStatus"]
    assert row["Status"] == "Failed"
    assert row["StatusMessage"] == "Replication failed: Secret name app/db already exists in region eu-2."
    assert text(there) == "theirs"
    assert replicate(here)[1]["Message"] == "Invalid replica region."
    here.call("RemoveRegionsFromReplication", SecretId="app/db", RemoveReplicaRegions=["eu-2"])
    assert text(there) == "theirs"
    assert replicate(here, ForceOverwriteReplicaSecret=True)[1]["ReplicationStatus"][0]["Status"] == "InSync"
    assert text(there) == "first"


def test_a_row_that_another_hand_wrote_sends_no_value_to_a_secret_of_its_choice(here, there, dot):
    there.call("CreateSecret", Name="mine", SecretString="x", ClientRequestToken=ONE)
    replicate(here)
    mine = Secret.objects.get(name="mine")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE secrets_app_replica SET secret_id = %s", [
            mine.pk if connection.features.has_native_uuid_field else mine.pk.hex
        ])  # fmt: skip
    here.call("PutSecretValue", SecretId="app/db", SecretString="second", ClientRequestToken=TWO)
    tasks.keep_replicas()
    assert mine.versions.count() == 1
    (row,) = here.call("DescribeSecret", SecretId="app/db")[1]["ReplicationStatus"]
    assert (row["Status"], row["StatusMessage"]) == ("Failed", seals.SENTENCE)


@pytest.mark.parametrize(
    ("operation", "given"),
    [
        ("PutSecretValue", {"SecretString": "x", "ClientRequestToken": TWO}),
        ("UpdateSecret", {"Description": "x", "ClientRequestToken": TWO}),
        ("UpdateSecret", {"SecretString": "x", "ClientRequestToken": TWO}),
        ("UpdateSecretVersionStage", {"VersionStage": "X", "MoveToVersionId": ONE}),
        ("TagResource", {"Tags": [{"Key": "a", "Value": "b"}]}),
        ("UntagResource", {"TagKeys": ["team"]}),
        ("DeleteSecret", {}),
        ("DeleteSecret", {"ForceDeleteWithoutRecovery": True}),
        ("ReplicateSecretToRegions", {"AddReplicaRegions": [{"Region": "local-1"}]}),
    ],
)
def test_a_replica_is_not_changed_where_it_is(here, there, operation, given):
    replicate(here)
    status, answer = there.call(operation, SecretId="app/db", **given)
    assert (status, answer["__type"]) == (400, "InvalidParameterException")
    expected = "Operation not permitted on a replica secret. Call must be made in primary secret's region."
    if operation != "ReplicateSecretToRegions":
        assert answer["Message"] == expected
    assert text(there) == "first"


def test_a_primary_with_replicas_is_not_deleted(here, there, dot):
    arn = here.call("DescribeSecret", SecretId="app/db")[1]["ARN"]
    replicate(here)
    for more in ({}, {"ForceDeleteWithoutRecovery": True}):
        status, answer = here.call("DeleteSecret", SecretId="app/db", **more)
        assert (status, answer["Message"]) == (
            400, f"You can't delete secret {arn} that still has replica regions [eu-2]",
        )  # fmt: skip
    primary = Secret.objects.get(region__code="main")
    for delete in (deletion.plan_deletion, deletion.purge):
        with pytest.raises(lifecycle.HasReplicas, match="eu-2"):
            delete(primary, actor=dot.principal)


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"AddReplicaRegions": [{"Region": "local-1"}]}, "InvalidParameterException"),
        ({"AddReplicaRegions": [{"Region": "nowhere-1"}]}, "InvalidParameterException"),
        ({"AddReplicaRegions": [{"Region": "No Where"}]}, "ValidationException"),
        ({"AddReplicaRegions": [{"Region": "eu-2"}, {"Region": "eu-2"}]}, "InvalidParameterException"),
        ({"AddReplicaRegions": [{}]}, "ValidationException"),
        ({"AddReplicaRegions": ["eu-2"]}, "SerializationException"),
        ({"AddReplicaRegions": []}, "ValidationException"),
        ({"AddReplicaRegions": [{"Region": "eu-2", "KmsKeyId": "none"}]}, "InvalidParameterException"),
    ],
)
def test_a_region_or_key_that_is_none_is_refused_and_nothing_is_made(here, given, code):
    assert replicate(here, **given)[1]["__type"] == code
    assert not Replica.objects.exists()


@pytest.mark.parametrize("last", ["edits", "reads", "makes"])
def test_to_replicate_takes_the_right_to_the_value_and_to_make_one_there(here, dot, last):
    user = factories.user("eve")
    client = signer(user.principal)
    given = {
        "edits": allow("kms:UpdateSecret"),
        "reads": allow("kms:GetSecretValue"),
        "makes": allow("kms:CreateSecret", "kms:TagResource", on="acs:kms:eu-2:*:*"),
    }
    give(user, "looks", allow("kms:DescribeSecret"), actor=dot)
    give(user, "makes-here", allow("kms:CreateSecret", "kms:TagResource", on="acs:kms:main:*:*"), actor=dot)
    for name in given.keys() - {last}:
        give(user, name, given[name], actor=dot)
    assert replicate(client)[1]["__type"] == "AccessDeniedException"
    give(user, last, given[last], actor=dot)
    assert replicate(client)[0] == 200


def test_a_region_with_a_replica_is_not_retired_and_one_that_was_retired_takes_none(here, there, dot):
    region = regions.create("gone-3", "Gone", actor=dot.principal)
    regions.retire(region, actor=dot.principal)
    given = {"AddReplicaRegions": [{"Region": "gone-3"}]}
    assert replicate(here, **given)[1]["Message"] == "Invalid replica region."


def test_across_accounts_there_is_nothing_in_one_account(here):
    arn = "arn:aws:secretsmanager:eu-2:999999999999:secret:app/db-a1b2c3"
    asked = [
        ("AssociateCrossAccountReplica", {"SecretId": "app/db", "CrossAccountReplicaARN": arn}),
        ("DisassociateCrossAccountReplica", {"SecretId": "app/db", "CrossAccountReplicaARN": arn}),
        ("CreateSecret", {"Name": "x", "ClientRequestToken": ONE, "CrossAccountPrimaryARN": arn}),
    ]
    for operation, given in asked:
        status, answer = here.call(operation, **given)
        assert (status, answer["__type"]) == (400, "InvalidParameterException"), operation
        assert "no other account" in answer["Message"]
    assert not Secret.objects.filter(name="x").exists()


# ---------------------------------------------------------------- what follows


def test_a_copy_follows_values_labels_tags_and_description_and_its_arn_differs_in_the_region(here, there):
    replicate(here)
    mine = here.call("DescribeSecret", SecretId="app/db")[1]
    theirs = there.call("DescribeSecret", SecretId="app/db")[1]
    assert theirs["ARN"] == mine["ARN"].replace("local-1", "eu-2")
    assert (mine["PrimaryRegion"], theirs["PrimaryRegion"]) == ("local-1", "local-1")
    assert "ReplicationStatus" not in theirs
    assert (theirs["Description"], theirs["Tags"]) == ("of all", [{"Key": "team", "Value": "web"}])
    here.call("PutSecretValue", SecretId="app/db", SecretBinary="AAH/", ClientRequestToken=TWO)
    assert there.call("GetSecretValue", SecretId="app/db")[1]["SecretBinary"] == "AAH/"
    assert text(there, VersionStage="AWSPREVIOUS") == "first"
    here.call("UpdateSecretVersionStage", SecretId="app/db", VersionStage="BLUE", MoveToVersionId=ONE)
    assert text(there, VersionStage="BLUE") == "first"
    here.call(
        "UpdateSecretVersionStage", SecretId="app/db", VersionStage="AWSCURRENT",
        RemoveFromVersionId=TWO, MoveToVersionId=ONE,
    )  # fmt: skip
    assert text(there) == "first"
    here.call("UntagResource", SecretId="app/db", TagKeys=["team"])
    here.call("UpdateSecret", SecretId="app/db", Description="new", ClientRequestToken="w" * 40)
    assert status_of(here) == [("eu-2", "InProgress")]
    tasks.keep_replicas()
    assert status_of(here) == [("eu-2", "InSync")]
    theirs = there.call("DescribeSecret", SecretId="app/db")[1]
    assert (theirs["Description"], "Tags" in theirs) == ("new", False)
    listed = there.call("ListSecrets", Filters=[{"Key": "primary-region", "Values": ["local-1"]}])[1]
    assert [(row["Name"], row["PrimaryRegion"]) for row in listed["SecretList"]] == [("app/db", "local-1")]
    assert replicas.catch_up() == 0


def test_a_copy_that_is_in_step_is_looked_at_and_its_primary_is_not_held(here, there):
    replicate(here)
    with CaptureQueriesContext(connection) as asked:
        assert replicas.catch_up() == 0
    assert asked
    # To hold it would begin a transaction, which is a savepoint here.
    assert not any("SAVEPOINT" in one["sql"] or "FOR UPDATE" in one["sql"] for one in asked)
    here.call("TagResource", SecretId="app/db", Tags=[{"Key": "changed", "Value": "later"}])
    with CaptureQueriesContext(connection) as asked:
        assert replicas.catch_up() == 1
    assert any("SAVEPOINT" in one["sql"] for one in asked)


def test_a_secret_is_made_with_its_replicas_and_the_request_again_makes_no_more(here, there):
    given = {
        "Name": "app/new", "SecretString": "x", "ClientRequestToken": TWO,
        "AddReplicaRegions": [{"Region": "eu-2"}],
    }  # fmt: skip
    made, again = here.call("CreateSecret", **given), here.call("CreateSecret", **given)
    assert made == again
    assert made[1]["ReplicationStatus"][0]["Status"] == "InSync"
    assert there.call("GetSecretValue", SecretId="app/new")[1]["SecretString"] == "x"


def test_a_promoted_copy_is_a_secret_of_its_own_and_a_removed_one_is_gone(here, there):
    replicate(here)
    assert (
        here.call("StopReplicationToReplica", SecretId="app/db")[1]["__type"] == "InvalidParameterException"
    )
    arn = there.call("DescribeSecret", SecretId="app/db")[1]["ARN"]
    assert there.call("StopReplicationToReplica", SecretId=arn) == (200, {"ARN": arn})
    put = {"SecretId": "app/db", "SecretString": "own", "ClientRequestToken": TWO}
    assert there.call("PutSecretValue", **put)[0] == 200
    here.call("PutSecretValue", SecretId="app/db", SecretString="second", ClientRequestToken=TWO)
    assert (text(here), text(there)) == ("second", "own")
    assert replicate(here, ForceOverwriteReplicaSecret=True)[1]["ReplicationStatus"][0]["Status"] == "InSync"
    assert text(there) == "second"
    made = copy()
    given = {"SecretId": "app/db", "RemoveReplicaRegions": ["eu-2"]}
    assert here.call("RemoveRegionsFromReplication", **given)[1]["ReplicationStatus"] == []
    assert text(there) == "ResourceNotFoundException"
    assert not SecretVersion.objects.filter(secret=made, destroyed_at=None).exists()
    assert here.call("RemoveRegionsFromReplication", **given)[1]["__type"] == "InvalidParameterException"
    assert here.call("DeleteSecret", SecretId="app/db")[0] == 200


def test_a_rotation_on_the_primary_reaches_the_copy_and_what_is_pending_does_not(here, there, dot):
    managed = factories.secret(name="acs/ecs/web/svc", initial="a-first-value-1")
    factories.settle(managed)
    name = managed.name
    given = {"SecretId": name, "AddReplicaRegions": [{"Region": "eu-2"}]}
    assert here.call("ReplicateSecretToRegions", **given)[0] == 200
    assert "a-first-value-1" in there.call("GetSecretValue", SecretId=name)[1]["SecretString"]
    value = versions.Value(managed.managed.username, password=versions.Plaintext("a-second-value-2"))
    pending = versions.stage(managed, value, origin=SecretVersion.Origin.GENERATED, actor=dot.principal)
    tasks.keep_replicas()
    assert copy().labels.filter(role=Label.Role.PENDING).count() == 0
    versions.promote(pending)
    tasks.keep_replicas()
    got = there.call("GetSecretValue", SecretId=name)[1]
    mine = here.call("GetSecretValue", SecretId=name)[1]
    assert (got["SecretString"], got["VersionId"]) == (mine["SecretString"], mine["VersionId"])


def test_the_policy_of_a_copy_is_its_own(here, there):
    replicate(here)
    document = '{"Statement": {"Effect": "Deny", "Principal": "*", "Action": "*", "Resource": "*"}}'
    assert there.call("PutResourcePolicy", SecretId="app/db", ResourcePolicy=document)[0] == 200
    assert (text(here), text(there)) == ("first", "AccessDeniedException")
    here.call("PutSecretValue", SecretId="app/db", SecretString="second", ClientRequestToken=TWO)
    assert status_of(here) == [("eu-2", "InSync")]


# ---------------------------------------------------------------- the screen


def test_the_page_of_a_secret_shows_its_replicas_and_that_of_a_copy_its_primary(here, there, as_dot):
    replicate(here)
    primary = Secret.objects.get(region__code="main")
    page = as_dot.get(reverse("secret", args=["main", primary.pk])).content.decode()
    assert "Replicas" in page
    assert "In sync" in page
    page = as_dot.get(reverse("secret", args=["eu-2", copy().pk])).content.decode()
    assert "This secret is a replica" in page
    assert "Edit value" not in page
    for name in ("secret_put_value", "secret_edit", "secret_delete"):
        for answer in (as_dot.get(url := reverse(name, args=["eu-2", copy().pk])), as_dot.post(url)):
            assert answer.status_code == 409
            assert "replica" in answer.content.decode()
    sent = {"how": "plan", "days": "30", "reason": "gone"}
    refused = as_dot.post(reverse("secret_delete", args=["main", primary.pk]), sent)
    assert (refused.status_code, "has replicas in eu-2" in refused.content.decode()) == (409, True)
