"""The audit trail as other programs read it: five shapes of the same events."""

from __future__ import annotations

import io
import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from django.core.management import call_command
from django.urls import reverse

from console.siem import records, shapes
from rotation import runs
from secrets_app.audit import refusals, trail
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.models import AuditEvent, Secret
from secrets_app.people import access_keys, machines
from secrets_app.secrets import generic, versions
from tests import factories, sigv4

pytestmark = pytest.mark.django_db
VALUE = "correct-horse-battery-1"


def told(shape: str, *, after: int = 0) -> list[Any]:
    """What the command prints of the events after this one, oldest first."""
    out, err = io.StringIO(), io.StringIO()
    call_command("audit", "export", "--format", shape, "--after", str(after), stdout=out, stderr=err)
    lines = out.getvalue().splitlines()
    return [json.loads(line) for line in lines] if shapes.SHAPES[shape].ending == "jsonl" else lines


def last() -> int:
    return AuditEvent.objects.latest("sequence").sequence


@pytest.fixture
def secret(dot) -> Secret:
    made = factories.secret(name="web01", initial=VALUE)
    factories.settle(made)
    return made


@pytest.fixture
def robot(dot) -> sigv4.Signer:
    principal = machines.create("robot", actor=dot.principal)
    key, own = access_keys.create(principal, actor=factories.administrator())
    return sigv4.Signer(key.key_id, own)


def rotated(secret: Secret, outcome: str = "succeeded", code: str = "") -> None:
    """A rotation that was asked for, and its end."""
    run = runs.start(secret, actor=factories.administrator())
    details = {"run": str(run.pk), "outcome": outcome, "truth": "new", "code": code}
    trail.record(
        "kms:RotationEnded", secret, actor=factories.administrator(), version_id="v-2", details=details,
        outcome="succeeded" if outcome == "succeeded" else "failed",
    )  # fmt: skip


def test_a_read_that_was_refused_is_what_public_rules_of_detection_look_for(secret, robot):
    """Those need the name, the code, the request and where it came from, under CloudTrail's names."""
    begin = last()
    robot.call("GetSecretValue", SecretId=secret.name)
    (found,) = told("cloudtrail", after=begin)
    assert found["eventSource"] == "secretsmanager.amazonaws.com"
    assert (found["eventName"], found["eventType"]) == ("GetSecretValue", "AwsApiCall")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", found["eventTime"])


def test_a_call_of_an_application_names_its_key_its_client_and_its_address(dot, secret):
    key, own = access_keys.create(dot.principal, actor=factories.administrator())
    begin = last()
    client = sigv4.Signer(key.key_id, own)
    assert client.call("GetSecretValue", SecretId=secret.name)[0] == 200
    (found,) = told("cloudtrail", after=begin)
    assert found["userIdentity"]["userName"] == "dot"
    assert found["userIdentity"]["accessKeyId"] == key.key_id
    assert found["sourceIPAddress"] == "127.0.0.1"
    assert found["requestParameters"]["secretId"] == secret.name
    assert (found["readOnly"], found["responseElements"]) == (True, None)
    assert "errorCode" not in found
    assert found["awsRegion"] == secret.region.code
    assert VALUE not in json.dumps(found)


def test_a_refusal_has_the_code_that_it_has_there(secret):
    ann = factories.user("ann")
    begin = last()
    refusals.note("kms:GetSecretValue", secret.arn, actor=ann.principal, because="No policy allows it.")
    (found,) = told("cloudtrail", after=begin)
    assert (found["errorCode"], found["errorMessage"]) == ("AccessDenied", "No policy allows it.")


def test_a_rotation_is_told_as_the_service_tells_it(secret):
    begin = last()
    rotated(secret)
    asked, started, ended = told("cloudtrail", after=begin)
    assert [line["eventName"] for line in (asked, started, ended)] == [
        "RotateSecret", "RotationStarted", "RotationSucceeded",
    ]  # fmt: skip
    assert asked["eventType"] == "AwsApiCall"
    assert started["eventType"] == ended["eventType"] == "AwsServiceEvent"
    assert ended["userIdentity"]["invokedBy"] == ended["sourceIPAddress"] == ended["userAgent"]
    assert (ended["requestParameters"], ended["responseElements"]) == (None, None)
    assert ended["additionalEventData"]["SecretId"] == ended["serviceEventDetails"]["secretId"] == secret.arn
    assert ended["additionalEventData"]["osUser"] == "svc"
    assert ended["additionalEventData"]["host"] == secret.managed.instance.name
    assert ended["requestID"] == f"Rotation-{secret.arn}-v-2"
    assert len({line["eventID"] for line in (asked, started, ended)}) == 3


def test_an_event_has_the_same_id_whenever_it_is_told(secret):
    rotated(secret)
    until = last()
    first = [line["eventID"] for line in told("cloudtrail")]
    again = [line["eventID"] for line in told("cloudtrail")]
    assert again[: len(first)] == first
    assert len(set(first)) == len(first) > until


@pytest.mark.parametrize(
    ("outcome", "name"),
    [("failed", "RotationFailed"), ("blocked", "RotationFailed"), ("cancelled", "RotationCancelled")],
)
def test_a_rotation_that_did_not_succeed_has_a_name_of_its_own(secret, outcome, name):
    rotated(secret, outcome, code="policy")
    found = told("cloudtrail")[-1]
    assert found["eventName"] == name
    assert found["errorCode"] == "policy"
    assert found["additionalEventData"]["code"] == "policy"


def test_a_value_that_ends_a_rotation_is_told_as_that(dot):
    actor = dot.principal
    made, _ = generic.create("app", region=factories.region(), actor=actor)
    for number, labels in ((1, None), (2, ["current", "pending"]), (3, None)):
        text = versions.Value("", text=Plaintext(f"{VALUE}{number}"))
        generic.put(made, text, actor=actor, version_id=f"v{number}", labels=labels)
    names = [line["eventName"] for line in told("cloudtrail")]
    assert names[-2:] == ["PutSecretValue", "RotationAbandoned"]
    assert names.count("RotationAbandoned") == 1


def test_ocsf_has_what_its_classes_require(secret, robot):
    rotated(secret)
    robot.call("ListSecrets")
    found = told("ocsf")
    activities = [line for line in found if line["class_uid"] == 6003]
    (change,) = [line for line in found if line["class_uid"] == 3001]
    for line in activities:
        for name in ("activity_id", "actor", "api", "category_uid", "class_uid", "metadata", "severity_id",
                     "src_endpoint", "time", "type_uid", "cloud"):  # fmt: skip
            assert name in line
        assert line["api"]["operation"]
        assert line["cloud"]["provider"]
        assert line["src_endpoint"]
    for line in found:
        assert line["type_uid"] == line["class_uid"] * 100 + line["activity_id"]
        assert line["metadata"]["version"] == "1.2.0"
        assert {"vendor_name", "name"} <= set(line["metadata"]["product"])
        assert abs(line["time"] / 1000 - datetime.now(UTC).timestamp()) < 3600
    assert (change["activity_id"], change["user"]["name"]) == (3, "svc")
    assert {line["activity_name"] for line in activities if line["api"]["operation"] == "ListSecrets"} == {
        "Read"
    }


def test_ecs_has_the_fields_that_rules_ask_for(secret):
    begin = last()
    rotated(secret)
    asked, _, ended = told("ecs", after=begin)
    assert (asked["event"]["action"], asked["event"]["outcome"]) == ("RotateSecret", "success")
    assert asked["event"]["provider"] == "secretsmanager.amazonaws.com"
    assert asked["user"]["name"]
    assert datetime.fromisoformat(asked["@timestamp"]).tzinfo is not None
    assert ended["host"]["name"] == secret.managed.instance.name
    assert ended["user"]["target"] == {"name": "svc"}


def cef_fields(line: str) -> tuple[list[str], dict[str, str]]:
    """Read a line as a receiver does."""
    head = re.split(r"(?<!\\)\|", line, maxsplit=7)
    pairs = re.findall(r"(\w+)=((?:\\.|[^\\=])*?)(?= \w+=|$)", head[7])
    return head[:7], {
        name: re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], text) for name, text in pairs
    }


def test_a_line_of_cef_is_one_line_whatever_was_typed(dot):
    begin = last()
    nasty = "a|b=c\\d e=f"
    trail.record("kms:Test|x", "acs:kms:r:1:secret/a=b|c", actor=dot.principal, reason=nasty)
    (line,) = told("cef", after=begin)
    head, fields = cef_fields(line)
    assert head[0] == "CEF:0"
    assert head[4] == "Test\\|x"
    assert fields["reason"] == nasty
    assert fields["cs1"] == "acs:kms:r:1:secret/a=b|c"
    assert fields["suser"] == "dot"
    record = next(records.of(AuditEvent.objects.filter(sequence=begin + 1)))
    assert "\n" not in shapes._cef_value("one\r\ntwo\u2028three\x0bfour")
    assert record.sequence == begin + 1


def test_cloudmonitor_is_told_how_rotations_ended_and_nothing_else(secret):
    rotated(secret)
    Secret.objects.get(pk=secret.pk).runs.all().update(state="ended", outcome="succeeded")
    rotated(secret, "failed", "unreachable")
    good, bad = told("cloudmonitor")
    assert (good["name"], good["level"], good["status"]) == ("Secret:RotateSecret:Success", "INFO", "Normal")
    assert (bad["name"], bad["level"], bad["status"]) == ("Secret:RotateSecret:Failure", "CRITICAL", "Failed")
    assert good["content"]["rotationStatus"] == "Enabled"
    assert bad["content"]["failureInfo"]["errorCode"] == "unreachable"
    assert re.fullmatch(r"\d{8}T\d{6}\.\d{3}\+0000", good["eventTime"])


@pytest.mark.parametrize("shape", sorted(shapes.SHAPES))
def test_the_page_offers_each_shape_of_what_its_filter_shows(as_dot, secret, shape):
    rotated(secret)
    shown = as_dot.get(reverse("audit") + "?action=Rotat").content.decode()
    address = reverse("audit_export_shape", args=[shape])
    assert f'href="{address}?action=Rotat"' in shown
    answer = as_dot.get(f"{address}?action=Rotat")
    text = b"".join(answer.streaming_content).decode()
    assert "Rotat" in text
    assert "SignIn" not in text
    assert VALUE not in text
    assert f".{shapes.SHAPES[shape].ending}" in answer["Content-Disposition"]
    event = AuditEvent.objects.filter(action="kms:ExportAuditEvents").first()
    assert event.details["format"] == shape
    assert as_dot.get(reverse("audit_export_shape", args=["none"])).status_code == 404


def test_an_export_goes_on_where_the_last_one_ended(secret, capsys):
    rotated(secret)
    err = io.StringIO()
    call_command("audit", "export", stdout=io.StringIO(), stderr=err)
    until = int(re.search(r"--after (\d+)", err.getvalue())[1])
    assert told("cloudtrail", after=until)[0]["eventName"] == "ExportAuditEvents"


def test_many_events_cost_as_many_questions_as_a_few(secret, django_assert_max_num_queries):
    rotated(secret)
    for _ in range(30):
        trail.record("kms:Test", secret, actor=factories.administrator())
    rows = AuditEvent.objects.select_related("actor").order_by("sequence")
    with django_assert_max_num_queries(2):
        lines = list(shapes.lines(rows.iterator(), shapes.SHAPES["ocsf"], version="1"))
    assert len(lines) > 30
