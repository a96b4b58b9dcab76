"""What Terraform's aws provider asks, in its order, and what it takes from each answer.

Its program is not to be had on the machines of the tests: its registry is not on PyPI, npm or Debian. So its
requests are made here by boto3, as the provider's public source makes them (`internal/service/
secretsmanager`): its tokens, its questions by ARN, and what it takes for a resource that is gone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

pytestmark = pytest.mark.django_db(transaction=True)
VALUE = 'correct "horse" ü'
_numbers = itertools.count(1)


def token() -> str:
    """As the provider makes one: no UUID, and 38 characters."""
    return f"terraform-20261120161735005600{next(_numbers):08d}"


class Provider:
    """The provider's steps for `aws_secretsmanager_secret` and `..._secret_version`."""

    def __init__(self, sm: Any) -> None:
        self.sm = sm

    # ---------------------------------------------------------------- aws_secretsmanager_secret

    def create(self, name: str, **given: Any) -> str:
        """Return the id of the resource, which is the ARN; the provider reads it at once."""
        made = self.sm.create_secret(
            Name=name, ClientRequestToken=token(), ForceOverwriteReplicaSecret=False, **given
        )
        assert self.found(made["ARN"]) is not None
        return str(made["ARN"])

    def found(self, arn: str) -> dict[str, Any] | None:
        """What the provider has of the resource; None where it takes it from its state."""
        try:
            described = dict(self.sm.describe_secret(SecretId=arn))
        except self.sm.exceptions.ResourceNotFoundException:
            return None
        del described["ResponseMetadata"]
        return None if "DeletedDate" in described else described

    def read(self, arn: str) -> dict[str, Any]:
        described = self.found(arn)
        assert described is not None
        # Absent, and not empty: the provider takes any text for a policy.
        assert "ResourcePolicy" not in self.sm.get_resource_policy(SecretId=arn)
        return described

    def update(self, arn: str, description: str) -> None:
        self.sm.update_secret(SecretId=arn, ClientRequestToken=token(), Description=description)

    def delete(self, arn: str, **window: Any) -> None:
        try:
            self.sm.delete_secret(SecretId=arn, **window)
        except self.sm.exceptions.ResourceNotFoundException:
            return
        assert self.found(arn) is None

    # ---------------------------------------------------------------- aws_secretsmanager_secret_version

    def put(self, arn: str, **given: Any) -> str:
        version = self.sm.put_secret_value(SecretId=arn, ClientRequestToken=token(), **given)["VersionId"]
        assert self.version(arn, version) is not None
        return str(version)

    def version(self, arn: str, version: str) -> dict[str, Any] | None:
        try:
            return dict(self.sm.get_secret_value(SecretId=arn, VersionId=version))
        except self.sm.exceptions.ResourceNotFoundException:
            return None
        except self.sm.exceptions.InvalidRequestException as error:
            if "because it was marked for deletion" in str(error):
                return None
            raise

    def move_current(self, arn: str, version: str) -> None:
        """As an update does that has AWSCURRENT among the new stages: it finds out where that is."""
        listed = self.sm.list_secret_version_ids(SecretId=arn)["Versions"]
        holder = next(one["VersionId"] for one in listed if "AWSCURRENT" in one["VersionStages"])
        self.sm.update_secret_version_stage(
            SecretId=arn, VersionStage="AWSCURRENT", MoveToVersionId=version, RemoveFromVersionId=holder
        )

    def delete_version(self, arn: str, version: str, stages: list[str]) -> None:
        """Remove each stage but AWSCURRENT; then the version counts as gone, or only one stage is left."""
        for stage in stages:
            if stage != "AWSCURRENT":
                self.sm.update_secret_version_stage(
                    SecretId=arn, VersionStage=stage, RemoveFromVersionId=version
                )
        left = self.version(arn, version)
        assert left is None or left["VersionStages"] in ([], ["AWSCURRENT"], ["AWSPREVIOUS"])


@pytest.fixture
def provider(client: Callable[..., Any]) -> Provider:
    return Provider(client())


def test_a_secret_and_its_version_are_created_read_changed_imported_and_destroyed(provider):
    arn = provider.create("tf/db", Description="", Tags=[{"Key": "team", "Value": "shop"}])
    first = provider.read(arn)
    assert (first["ARN"], first["Name"]) == (arn, "tf/db")
    assert first["Tags"] == [{"Key": "team", "Value": "shop"}]
    # What is not set is absent: the provider's plan would show a change at each run otherwise.
    assert not {"Description", "KmsKeyId", "ReplicationStatus", "VersionIdsToStages"} & set(first)

    version = provider.put(arn, SecretString=VALUE)
    assert version.startswith("terraform-")
    got = provider.version(arn, version)
    assert got is not None
    assert (got["SecretString"], got["VersionStages"], got["ARN"]) == (VALUE, ["AWSCURRENT"], arn)
    assert "SecretBinary" not in got

    provider.update(arn, "of the shop")
    provider.sm.tag_resource(SecretId=arn, Tags=[{"Key": "stage", "Value": "live"}])
    provider.sm.untag_resource(SecretId=arn, TagKeys=["team"])
    changed = provider.read(arn)
    assert changed["Description"] == "of the shop"
    assert changed["Tags"] == [{"Key": "stage", "Value": "live"}]
    assert changed["VersionIdsToStages"] == {version: ["AWSCURRENT"]}  # a description makes no version

    # An import has the ARN alone, and a version the ARN and its id; data sources have a name and a stage.
    assert provider.read(arn) == changed
    assert provider.sm.describe_secret(SecretId="tf/db")["ARN"] == arn
    by_stage = provider.sm.get_secret_value(SecretId="tf/db", VersionStage="AWSCURRENT")
    assert (by_stage["VersionId"], by_stage["SecretString"]) == (version, VALUE)
    listed = provider.sm.list_secrets(Filters=[{"Key": "name", "Values": ["tf/"]}])["SecretList"]
    assert [one["ARN"] for one in listed] == [arn]

    provider.delete_version(arn, version, ["AWSCURRENT"])
    provider.delete(arn, RecoveryWindowInDays=30)
    assert provider.found(arn) is None
    assert provider.version(arn, version) is None  # marked for deletion, in the words that it looks for


def test_stages_move_between_versions_as_the_provider_moves_them(provider):
    arn = provider.create("tf/stages")
    one = provider.put(arn, SecretString="one")
    two = provider.put(arn, SecretString="two", VersionStages=["blue"])
    provider.move_current(arn, two)
    held = provider.version(arn, two)
    assert held is not None
    assert sorted(held["VersionStages"]) == ["AWSCURRENT", "blue"]
    assert provider.version(arn, one)["VersionStages"] == ["AWSPREVIOUS"]
    provider.delete_version(arn, two, ["AWSCURRENT", "blue"])
    provider.delete_version(arn, one, ["AWSPREVIOUS"])
    assert provider.version(arn, two)["VersionStages"] == ["AWSCURRENT"]


def test_a_secret_that_others_have_deleted_is_taken_from_the_state_and_made_again(provider):
    arn = provider.create("tf/gone")
    provider.sm.delete_secret(SecretId=arn, ForceDeleteWithoutRecovery=True)
    assert provider.found(arn) is None
    provider.delete(arn, ForceDeleteWithoutRecovery=True)  # a destroy that finds nothing has done its work
    again = provider.create("tf/gone")
    assert again != arn  # another suffix: an old state never means the new secret
    assert provider.found(arn) is None
    assert provider.found(again) is not None


def test_a_name_in_its_recovery_window_is_refused_in_the_words_that_the_provider_waits_for(provider):
    arn = provider.create("tf/window")
    provider.delete(arn, RecoveryWindowInDays=7)
    with pytest.raises(provider.sm.exceptions.InvalidRequestException, match="scheduled for deletion"):
        provider.create("tf/window")
    with pytest.raises(ClientError, match="because it was marked for deletion"):
        provider.put(arn, SecretString="next")
