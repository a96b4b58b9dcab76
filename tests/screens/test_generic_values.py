"""A generic secret is created and given its next value by forms that never show a value again."""

from __future__ import annotations

import base64
import json
import re
from datetime import timedelta
from html import unescape
from uuid import uuid4

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from secrets_app import keyring
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.models import AuditEvent, Label, Secret, SecretVersion
from secrets_app.policy import policies
from secrets_app.secrets import generic as secret_versions
from secrets_app.secrets import lifecycle, versions
from tests import factories

pytestmark = pytest.mark.django_db

HTMX = {"HX-Request": "true", "HX-Target": "dialog-content"}
VALUE = "correct-horse-1"
LARGE = VALUE.encode() * 5_000


def uploaded(content: bytes) -> SimpleUploadedFile:
    return SimpleUploadedFile("a-name-that-is-kept-nowhere.pem", content)


def text(response) -> str:
    return unescape(response.content.decode())


def create(client: Client, **given: object):
    factories.region("main")
    usual = {"name": "app/db", "format": "text", "value": VALUE, "key": keyring.DEFAULT_ALIAS}
    return client.post(
        reverse("secret_create_generic", args=["main"]), usual | {"token": str(uuid4())} | given, headers=HTMX
    )


def edit(client: Client, secret: Secret, **given: object):
    """Open the form, fill it in, and send it."""
    url = reverse("secret_put_value", args=["main", secret.pk])
    hidden = dict(re.findall(r'name="(token|replaces)" value="([^"]*)"', text(client.get(url, headers=HTMX))))
    return client.post(url, hidden | {"format": "text", "value": "next-value-2"} | given, headers=HTMX)


def now(secret: Secret) -> versions.Value:
    current = Secret.objects.get(pk=secret.pk).labelled("current")
    assert current
    return versions.value(current)


def test_a_text_json_and_what_is_binary_are_stored_as_they_are_typed(as_dot):
    long, raw = "a" * 65_536, bytes(range(256))
    for name, form, value in (
        ("app/text", "text", " two\nlines "),
        ("app/long", "text", long),
        ("app/json", "json", '{"user": "svc",  "password": "x"}'),
    ):
        assert create(as_dot, name=name, format=form, value=value, tags="team=web").status_code == 200
        made = Secret.objects.get(name=name)
        assert now(made).credential.reveal() == value
        assert lifecycle.tag_limit(made) == 50
        assert [str(tag) for tag in made.tags.all()]
    assert create(as_dot, name="app/raw", format="binary", file=uploaded(raw)).status_code == 200
    binary = now(Secret.objects.get(name="app/raw")).binary
    assert binary
    assert base64.b64decode(binary.reveal()) == raw


def test_an_uploaded_value_is_written_to_no_folder(as_dot, settings, tmp_path):
    settings.FILE_UPLOAD_TEMP_DIR = str(tmp_path / "none")  # whatever writes there fails
    whole = b"x" * (settings.FILE_UPLOAD_MAX_MEMORY_SIZE + 1)
    assert create(as_dot, format="binary", file=uploaded(whole)).status_code == 422
    assert not Secret.objects.exists()


def test_rows_of_keys_and_values_become_one_json_object_in_their_order(as_dot):
    rows = {"pairs_key": ["user", "", "pass word", "leer"], "pairs_value": ["svc", "", 'a "ü" \\ $(x)', ""]}
    assert create(as_dot, name="app/rows", format="pairs", **rows).status_code == 200
    secret = Secret.objects.get(name="app/rows")
    stored = now(secret).credential.reveal()
    assert list(json.loads(stored).items()) == [("user", "svc"), ("pass word", 'a "ü" \\ $(x)'), ("leer", "")]
    assert edit(as_dot, secret, format="pairs", pairs_key=["one"], pairs_value=["next"]).status_code == 200
    assert now(secret).credential.reveal() == '{"one": "next"}'


def test_each_form_leads_to_that_of_the_other_type(as_dot):
    factories.region("main")
    managed, generic = (reverse(name, args=["main"]) for name in ("secret_create", "secret_create_generic"))
    for here, there, chosen in ((managed, generic, "generic"), (generic, managed, "ecs")):
        page = text(as_dot.get(here))
        assert f'hx-get="{there}" hx-trigger="change"' in page
        for label in ("Managed ECS secret", "Generic secret"):
            assert label in page
        # Without script the form is sent with the other choice in it, and nothing is made.
        answer = as_dot.post(here, {"type": chosen, "name": "app/x", "value": VALUE, "format": "text"})
        assert (answer.status_code, answer["Location"]) == (302, there)
    assert not Secret.objects.exists()
    # On a page of its own the other form is a page too, whose Cancel is a link.
    headers = HTMX | {"HX-Current-URL": f"http://testserver{managed}"}
    assert f'href="{reverse("secrets", args=["main"])}">Cancel' in text(as_dot.get(generic, headers=headers))


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("value", "keys"),
    [
        ('{"user": "svc", "port": 5432, "more": {"a": [1, null]}}', ["user", "port", "more"]),
        ('{"user": "svc", "user": "other"}', []),
        ('["svc"]', []),
        ("svc", []),
        ("{" * 50_000, []),
    ],
)
def test_a_value_that_is_a_json_object_is_shown_by_its_keys(as_dot, value, keys):
    secret = factories.generic_secret(name="app/shown", value=value)
    page = text(as_dot.post(reverse("secret_reveal", args=["main", secret.pk]), {"reason": "test"}))
    assert re.findall(r'<dt class="mono" translate="no">(.*?)</dt>', page) == keys
    assert value in page
    if keys:
        assert ">5432</pre>" in page
        assert '>{"a": [1, null]}</pre>' in page


@pytest.mark.django_db(transaction=True)
def test_a_generic_value_is_a_file_that_is_read_and_recorded_again(as_dot):
    raw = bytes(range(256))
    create(as_dot, name="app/raw", format="binary", file=uploaded(raw))
    create(as_dot, name="app/text", value="two\nlines")
    for name, content, suffix in (("app/raw", raw, "bin"), ("app/text", b"two\nlines", "txt")):
        secret = Secret.objects.get(name=name)
        url = reverse("secret_download", args=["main", secret.pk])
        shown = text(as_dot.post(reverse("secret_reveal", args=["main", secret.pk]), {"reason": "test"}))
        assert f"{url}?version=" in shown
        answer = as_dot.post(url, {"reason": "test"}, headers={"Accept-Encoding": "gzip"})
        assert answer.content == content
        assert f'filename="{name.replace("/", "-")}.{suffix}"' in answer["Content-Disposition"]
        assert "no-store" in answer["Cache-Control"]
        assert "Content-Encoding" not in answer
        reads = AuditEvent.objects.filter(action="kms:GetSecretValue", resource_id=secret.pk)
        assert reads.filter(outcome="succeeded").count() == 2


def test_what_cannot_be_stored_is_told_and_the_value_is_not_in_the_answer(as_dot):
    factories.generic_secret(name="taken", value="another-value-3")
    for given in (
        {"name": ""}, {"name": "a b"}, {"name": "a" * 513}, {"name": "taken"}, {"name": "a\0"},
        {"value": ""}, {"value": f"{VALUE}\0"}, {"value": VALUE * 5_000}, {"format": "json"}, {"format": "x"},
        {"format": "json", "value": "[" * 60_000}, {"format": "binary"}, {"format": "pairs"},
        {"format": "binary", "file": uploaded(b"")}, {"format": "binary", "file": uploaded(LARGE)},
        {"format": "binary", "file": uploaded(LARGE * 50)},  # Django would write it to a file
        {"format": "pairs", "pairs_key": ["a", "a"], "pairs_value": [VALUE, "x"]},
        {"format": "pairs", "pairs_key": ["a", ""], "pairs_value": ["x", VALUE]},
        {"format": "pairs", "pairs_key": ["a"], "pairs_value": [VALUE, "x"]},
        {"format": "pairs", "pairs_key": ["a"], "pairs_value": [VALUE * 5_000]},
        {"tags": "=x"}, {"tags": "\n".join(f"k{n}=v" for n in range(51))}, {"key": "none"}, {"token": "x"},
        {"description": "d" * 5_000},
    ):  # fmt: skip
        answer = create(as_dot, **given)
        assert answer.status_code == 422, given
        assert VALUE not in text(answer), given
    assert Secret.objects.count() == 1


def test_a_form_that_is_sent_twice_makes_one_version(as_dot):
    token = str(uuid4())
    assert create(as_dot, token=token).status_code == create(as_dot, token=token).status_code == 200
    assert create(as_dot, token=token, value="another-value-3").status_code == 422
    secret = Secret.objects.get()
    assert secret.versions.count() == 1
    given = {"token": str(uuid4()), "replaces": token}
    assert edit(as_dot, secret, **given).status_code == edit(as_dot, secret, **given).status_code == 200
    assert secret.versions.count() == 2
    assert now(secret).credential.reveal() == "next-value-2"
    assert AuditEvent.objects.filter(action="kms:PutSecretValue").count() == 1


def test_of_two_people_who_edit_one_value_the_later_one_changes_nothing(as_dot):
    secret = factories.generic_secret(name="app/db", value=VALUE)
    first = secret.labelled("current").version_id
    assert edit(as_dot, secret).status_code == 200
    answer = edit(as_dot, secret, replaces=first, value="lost-update-4")
    assert answer.status_code == 409
    assert "Another user changed this value" in text(answer)
    assert "lost-update-4" not in text(answer)
    assert now(secret).credential.reveal() == "next-value-2"
    assert secret.labelled("previous").version_id == first
    page = text(as_dot.get(reverse("secret", args=["main", secret.pk]) + "?tab=versions"))
    assert secret.labelled("current").version_id in page


def test_each_form_takes_its_own_right_and_is_for_generic_secrets_alone(as_dot, ann):
    token, managed = factories.generic_secret(value=VALUE), factories.secret(initial=VALUE)
    put = reverse("secret_put_value", args=["main", token.pk])
    assert put in text(as_dot.get(reverse("secret", args=["main", token.pk])))
    assert "/value/edit/" not in text(as_dot.get(reverse("secret", args=["main", managed.pk])))
    assert as_dot.get(reverse("secret_put_value", args=["main", managed.pk])).status_code == 409
    assert reverse("secret_create_generic", args=["main"]) in text(
        as_dot.get(reverse("secret_create", args=["main"]))
    )
    other = Client()
    other.force_login(ann)
    statement = {"Effect": "Allow", "Resource": "acs:kms:main:*:secret/mine/*",
                 "Action": ["kms:CreateSecret", "kms:DescribeSecret"]}  # fmt: skip
    document = json.dumps({"Version": "1", "Statement": [statement]})
    made = policies.create("mine", document, actor=factories.administrator())
    policies.attach(made, ann, actor=factories.administrator())
    assert other.get(put).status_code == 404
    assert create(other, name="theirs/x").status_code == 403
    assert create(other, name="mine/x", tags="team=web").status_code == 403
    assert create(other, name="mine/x").status_code == 200
    mine = Secret.objects.get(name="mine/x")
    assert other.get(reverse("secret_put_value", args=["main", mine.pk])).status_code == 403
    assert AuditEvent.objects.filter(action="kms:CreateSecret", outcome="denied").exists()


# ---------------------------------------------------------------- labels


def relabel(client: Client, version: SecretVersion, **given: str):
    url = reverse("secret_labels", args=["main", version.secret_id, version.pk])
    assert client.get(url, headers=HTMX).status_code == 200
    return client.post(url, given, headers=HTMX)


def labels(version: SecretVersion) -> set[str]:
    return {str(label) for label in version.labels.all()}


def two_versions() -> tuple[SecretVersion, SecretVersion]:
    """The previous version and the current one."""
    secret = factories.generic_secret(name="app/db", value=VALUE)
    secret_versions.put(
        secret,
        versions.Value("", text=Plaintext("next-value-2")),
        actor=factories.administrator(),
        version_id="v2",
    )
    return secret.labelled("previous"), secret.labelled("current")


def test_a_version_gets_custom_labels_and_an_earlier_one_becomes_current_again(as_dot):
    old, new = two_versions()
    # The names of roles are labels like others here: none of them moves a role.
    assert relabel(as_dot, new, labels="blue\n current \n\nprevious").status_code == 200
    assert labels(new) == {"ACSCurrent", "blue", "current", "previous"}
    assert labels(old) == {"ACSPrevious"}
    assert relabel(as_dot, old, labels="blue\ngreen").status_code == 200
    assert (labels(old), labels(new)) == (
        {"ACSPrevious", "blue", "green"},
        {"ACSCurrent", "current", "previous"},
    )
    assert relabel(as_dot, old, labels="green", becomes_current="on").status_code == 200
    assert (labels(old), labels(new)) == ({"ACSCurrent", "green"}, {"ACSPrevious", "current", "previous"})
    page = text(as_dot.get(reverse("secret", args=["main", old.secret_id]) + "?tab=versions"))
    assert reverse("secret_labels", args=["main", old.secret_id, old.pk]) in page


def test_labels_that_are_saved_as_they_were_shown_stay_as_a_program_made_them(as_dot):
    _, new = two_versions()
    odd = {"AWSOTHER", "acs-blue", " blank ", "two\nlines", '"quoted"', "separated\u2028", "a,b=c", "x" * 256}
    for name in sorted(odd):
        versions.put_label(new, Label.Role.CUSTOM, name)
    url = reverse("secret_labels", args=["main", new.secret_id, new.pk])
    shown = as_dot.get(url).context["form"]["labels"].value()
    assert relabel(as_dot, new, labels=shown.replace("\n", "\r\n")).status_code == 200
    assert labels(new) == odd | {"ACSCurrent"}
    assert relabel(as_dot, new, labels=f"{shown}\nawsfirst").status_code == 422
    for given in ('""', f'"{"x" * 257}"', "[" * 5_000):
        assert relabel(as_dot, new, labels=given).status_code == 422
    assert labels(new) == odd | {"ACSCurrent"}


@pytest.mark.parametrize("text", ['"\\ud800"', '"\\u0000"', '"', '"x" y'])
def test_a_label_that_looks_like_a_json_string_and_is_none_is_kept_as_it_stands(as_dot, text):
    _, new = two_versions()
    assert relabel(as_dot, new, labels=text).status_code == 200
    assert labels(new) == {"ACSCurrent", text}


def test_labels_that_are_refused_change_nothing(as_dot):
    old, new = two_versions()
    for given in ("ACSCurrent", "awsfirst", "x" * 257, "\n".join(f"l{n}" for n in range(20))):
        assert relabel(as_dot, new, labels=given, becomes_current="on").status_code == 422, given
    assert (labels(old), labels(new)) == ({"ACSPrevious"}, {"ACSCurrent"})
    managed = factories.secret(initial="a-first-value-1")
    first = managed.versions.get()
    url = reverse("secret_labels", args=["main", managed.pk, first.pk])
    assert as_dot.get(url).status_code == as_dot.post(url, {"labels": "x"}).status_code == 409
    assert url not in text(as_dot.get(reverse("secret", args=["main", managed.pk]) + "?tab=versions"))


# ---------------------------------------------------------------- reminders


def overdue(client: Client) -> set[str]:
    rows = client.get(reverse("secrets", args=["main"]), {"automatic": "overdue"}).context["rows"]
    needs = client.get(reverse("overview", args=["main"])).context["attention"].needs
    assert {row["name"] for row in rows} == {need.name for need in needs}
    return {row["name"] for row in rows}


def test_a_value_that_is_older_than_its_reminder_is_overdue_until_the_next_one(as_dot):
    assert create(as_dot, name="app/db", reminder="30").status_code == 200
    factories.generic_secret(name="app/other", value=VALUE)
    secret = Secret.objects.get(name="app/db")
    assert overdue(as_dot) == set()
    old = timezone.now() - timedelta(days=30, minutes=1)
    SecretVersion.objects.filter(secret=secret).update(created_at=old)
    lifecycle.remind_of_new(secret)
    assert overdue(as_dot) == {"app/db"}
    shown = as_dot.get(reverse("overview", args=["main"])).context
    action = ("Edit value", reverse("secret_put_value", args=["main", secret.pk]))
    assert shown["attention"].needs[0].action == action
    assert {figure.label: figure.count for figure in shown["figures"]}["Overdue"] == 1
    page = text(as_dot.get(reverse("secret", args=["main", secret.pk])))
    assert f"Overdue since {old + timedelta(days=30):%Y-%m-%d}" in page
    (row,) = as_dot.get(reverse("secrets", args=["main"]), {"automatic": "overdue"}).context["rows"]
    assert row["automatic"].label == "Overdue"
    assert edit(as_dot, secret).status_code == 200
    assert overdue(as_dot) == set()
    # The earlier value is as old as it was.
    assert relabel(as_dot, secret.labelled("previous"), becomes_current="on").status_code == 200
    assert overdue(as_dot) == {"app/db"}
    lifecycle.plan_deletion(secret, days=30, reason="", actor=factories.administrator())
    assert as_dot.get(reverse("secrets", args=["main"]), {"automatic": "overdue"}).context["rows"] == []


def test_a_reminder_is_changed_and_ended_with_the_description(as_dot):
    secret = factories.generic_secret(name="app/db", value=VALUE)
    url = reverse("secret_edit", args=["main", secret.pk])
    for given, days in (("90", 90), ("", 0)):
        secret.refresh_from_db()
        sent = {"revision": str(secret.revision), "description": "", "tags": "", "reminder": given}
        assert as_dot.post(url, sent).status_code == 302
        secret.refresh_from_db()
        assert secret.reminder_days == days
        assert bool(secret.reminder_due_at) == bool(days)
    for wrong in ("0", "-1", "3651", "x"):
        sent = {"revision": str(secret.revision), "description": "", "tags": "", "reminder": wrong}
        assert as_dot.post(url, sent).status_code == 422
    assert 'name="reminder"' in text(as_dot.get(url))
    managed = factories.secret(initial="a-first-value-1")
    page = text(as_dot.get(reverse("secret_edit", args=["main", managed.pk])))
    assert 'name="reminder"' not in page
    with pytest.raises(ValueError, match="generic"):
        lifecycle.remind(managed, 30)
