"""Edit: what may change of a secret, what may not, and two people at once."""

from __future__ import annotations

import json

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from console.forms.secrets import tags
from secrets_app.crypto import passwords
from secrets_app.models import AuditEvent, Secret
from secrets_app.policy import decisions, policies
from secrets_app.secrets import lifecycle
from tests import factories

pytestmark = pytest.mark.django_db

HTMX = {"HX-Request": "true", "HX-Target": "dialog-content"}
FORM = {
    "description": "the web server's account",
    "tags": "team=web\nstage=live",
    "length": "40",
    "sets": ["lower", "upper", "digits"],
    "excluded": "0O",
    "revision": "1",
}


@pytest.fixture
def secret() -> Secret:
    return factories.secret(tags={"team": "old"}, description="before")


def url(secret: Secret, name: str = "secret_edit") -> str:
    return reverse(name, args=["main", secret.pk])


def text(response) -> str:
    return response.content.decode()


def fresh(secret: Secret) -> Secret:
    return Secret.objects.get(pk=secret.pk)


def test_the_dialog_shows_what_is_there(as_dot, secret):
    page = text(as_dot.get(url(secret), headers=HTMX))
    for words in ("Edit secret", "before", "team=old", 'value="32"', "Name, instance and user stay"):
        assert words in page


def test_description_tags_and_policy_are_saved_and_nothing_else(as_dot, secret):
    as_dot.post(url(secret), FORM | {"name": "acs/ecs/other", "username": "root", "instance": "x"})
    found = fresh(secret)
    assert (found.description, found.revision, found.name) == (FORM["description"], 2, secret.name)
    assert found.managed.username == "svc"
    assert {str(tag) for tag in found.tags.all()} == {"team=web", "stage=live"}
    assert passwords.policy(found.password_policy) == passwords.Policy(40, ("lower", "upper", "digits"), "0O")
    event = AuditEvent.objects.get(action="kms:UpdateSecret")
    assert event.details == {"changed": ["description", "tags", "password policy"]}
    page = text(as_dot.get(url(secret, "secret"), {"tab": "tags"}))
    assert "stage" in page
    assert "live" in page


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"tags": "acs:x=1"}, "which are reserved"),
        ({"tags": "Aliyun-team=1"}, "which are reserved"),
        ({"tags": "home=http://example.com"}, "holds an address"),
        ({"tags": "=web"}, "Write each tag as key=value."),
        ({"tags": "a=1\na=2"}, "is listed twice"),
        ({"tags": "\n".join(f"k{n}=v" for n in range(21))}, "at most 20 tags. Remove 1."),
        ({"tags": f"{'k' * 129}=v"}, "1 to 128 characters"),
        ({"tags": f"k={'v' * 257}"}, "at most 256"),
        ({"length": "9"}, "14 to 127 characters"),
        ({"length": "14", "sets": ["digits"], "excluded": ""}, "bits"),
        ({"sets": []}, "Choose at least one set."),
        ({"description": "x" * 4097}, "at most 4096 characters"),
    ],
)
def test_what_cannot_be_gets_its_sentence_and_changes_nothing(as_dot, secret, wrong, sentence):
    answer = as_dot.post(url(secret), FORM | wrong, headers=HTMX)
    assert answer.status_code == 422
    assert sentence in text(answer)
    assert (fresh(secret).description, fresh(secret).revision) == ("before", 1)
    assert [str(tag) for tag in secret.tags.all()] == ["team=old"]


ODD = {
    "a=b": "c=d", "a": "=b", "bare": "", "equal=": "", " blank ": " blank ", '"quoted"': '"x"', "'": "",
    "{": "}", "two\nlines": "of\rtwo", "separated\u2028": "\x85", "ü": '"ü"', '"one" two': "three",
    '"a"="b"': "c",
}  # fmt: skip


def test_a_form_that_is_saved_as_it_was_shown_changes_no_tag_and_no_description(as_dot, dot):
    made = factories.generic_secret(name="app/odd", tags=ODD, description="two\nlines")
    form = as_dot.get(url(made), headers=HTMX).context["form"]
    shown = {name: form[name].value() or "" for name in ("revision", "description", "tags")}
    sent = {name: str(value).replace("\n", "\r\n") for name, value in shown.items()}  # as a browser does
    assert as_dot.post(url(made), sent).status_code == 302
    assert {tag.key: tag.value for tag in made.tags.all()} == ODD
    event = AuditEvent.objects.filter(action="kms:UpdateSecret").last()
    assert (fresh(made).revision, event.details) == (2, {"changed": []})
    as_dot.post(url(made), sent | {"revision": "2", "tags": sent["tags"] + "\r\nnew = one"})
    assert {tag.key: tag.value for tag in made.tags.all()} == ODD | {"new": "one"}


@pytest.mark.parametrize(
    "line", ['"\\ud800"="x"', '"x"="\\ud800"', '"\\u0000"="x"', '"x"="\\u0000"', '"x"', '"', '"x"=[[[']
)
def test_a_tag_that_looks_like_two_json_strings_and_is_not_is_read_as_it_stands(line):
    key, _, value = line.partition("=")
    assert tags.read_tags(line) == {key: value}


@pytest.mark.parametrize("line", ["[" * 5_000, f'"x"={"[" * 100_000}'], ids=["key", "value"])
def test_a_tag_that_is_nested_too_deeply_is_too_long(line):
    with pytest.raises(ValidationError, match="1 to 128 characters"):
        tags.read_tags(line)


def test_a_generic_secret_has_as_many_tags_in_the_form_as_it_may_have(as_dot):
    tags = {f"k{number}": "v" for number in range(49)}
    made = factories.generic_secret(name="app/many", tags=tags)
    page = text(as_dot.get(url(made), headers=HTMX))
    assert "at most 50" in page
    lines = "\n".join(f"{key}=v" for key in [*tags, "more"])
    as_dot.post(url(made), {"revision": "1", "description": "", "tags": lines})
    assert made.tags.count() == 50
    answer = as_dot.post(
        url(made), {"revision": "2", "description": "", "tags": f"{lines}\nbeyond"}, headers=HTMX
    )
    assert (answer.status_code, made.tags.count()) == (422, 50)
    assert "at most 50 tags. Remove 1." in text(answer)


def test_a_stale_save_changes_nothing_and_shows_who_changed_what(as_dot, secret):
    eve = factories.user("eve", "administrators").principal
    lifecycle.edit(
        secret,
        revision=1,
        description="eve's words",
        tags={"team": "old"},
        password_policy=passwords.Policy(),
        actor=eve,
    )
    answer = as_dot.post(url(secret), FORM, headers=HTMX)
    assert answer.status_code == 409
    for words in ("Nothing was saved", "eve saved a change of description", "eve&#x27;s words", "stage=live"):
        assert words in text(answer)
    assert fresh(secret).description == "eve's words"
    assert [str(tag) for tag in secret.tags.all()] == ["team=old"]
    as_dot.post(url(secret), FORM | {"revision": "2"})
    assert fresh(secret).description == FORM["description"]


def test_a_reserved_tag_is_refused_at_creation_too(secret):
    with pytest.raises(lifecycle.BadTag):
        factories.secret(tags={"acs:owner": "me"})


@pytest.mark.parametrize("who", ["hal", "aud"])
def test_who_may_not_edit_has_no_button_and_no_way(client, request, secret, who):
    user = request.getfixturevalue(who)
    client.force_login(user)
    assert url(secret) not in text(client.get(url(secret, "secret")))
    assert client.post(url(secret), FORM).status_code == 403
    with pytest.raises(decisions.NotAllowed):
        lifecycle.edit(
            secret,
            revision=1,
            description="",
            tags={},
            password_policy=passwords.Policy(),
            actor=user.principal,
        )


def test_while_deletion_is_planned_nothing_is_edited(as_dot, secret):
    Secret.objects.filter(pk=secret.pk).update(deletion_planned_at=timezone.now())
    assert as_dot.post(url(secret), FORM).status_code == 409
    assert fresh(secret).description == "before"


# ---------------------------------------------------------------- tags are a right of their own


@pytest.fixture
def as_ann(client: Client, ann, dot, secret) -> Client:
    """Ann edits, and may do more to what has the tag team=a."""
    for n, statement in enumerate(
        [
            {"Action": ["kms:UpdateSecret", "kms:DescribeSecret"]},
            {"Action": "kms:GetSecretValue", "Condition": {"StringEquals": {"kms:tag/team": "a"}}},
        ]
    ):
        document = {"Version": "1", "Statement": [{"Effect": "Allow", "Resource": "*", **statement}]}
        made = policies.create(f"edits-{n}", json.dumps(document), actor=dot.principal)
        policies.attach(made, ann, actor=dot.principal)
    client.force_login(ann)
    return client


def test_who_may_not_tag_is_not_asked_for_tags_and_changes_none(as_ann, secret):
    assert 'name="tags"' not in text(as_ann.get(url(secret), headers=HTMX))
    assert as_ann.post(url(secret), FORM | {"tags": "team=a"}).status_code == 302
    assert fresh(secret).description == FORM["description"]
    assert [str(tag) for tag in secret.tags.all()] == ["team=old"]


def test_tags_that_would_let_their_sender_read_the_value_are_refused_and_it_is_recorded(
    as_ann, secret, ann, dot
):
    text_of = policies.document(["kms:TagResource"])
    policies.attach(policies.create("tags", text_of, actor=dot.principal), ann, actor=dot.principal)
    answer = as_ann.post(url(secret), FORM | {"tags": "team=a"}, headers=HTMX)
    assert answer.status_code == 422
    assert "With these tags you could do more" in text(answer)
    assert "kms:GetSecretValue" in text(answer)
    assert AuditEvent.objects.get(outcome="denied").action == "kms:TagResource"
    assert [str(tag) for tag in secret.tags.all()] == ["team=old"]
    assert as_ann.post(url(secret), FORM | {"tags": "team=c"}).status_code == 302
    assert [str(tag) for tag in secret.tags.all()] == ["team=c"]
