"""Policies on the screen: what they say and reach, who writes them, and what is wrong with a document."""

from __future__ import annotations

import json

import pytest
from django.contrib.auth.models import Group
from django.urls import reverse

from secrets_app.models import Attachment, AuditEvent, Policy
from secrets_app.people import users
from secrets_app.policy import policies, ram_documents
from tests import factories
from tests.statements import allow

pytestmark = pytest.mark.django_db
CREATE = "/access/policies/create/"


def text_of(*statements, **more) -> str:
    return json.dumps({"Version": "1", "Statement": list(statements)} | more, indent=2)


@pytest.fixture
def rotate(dot) -> Policy:
    return policies.create("rotate-web", policies.document(["kms:RotateSecret"]), actor=dot.principal)


def page(response) -> str:
    return response.content.decode()


def test_the_list_shows_system_and_custom_policies_and_to_how_many_each_is_attached(as_dot, rotate, ann, hal):
    policies.attach(rotate, ann, actor=factories.administrator())
    policies.attach(rotate, Group.objects.get(name="helpdesk"), actor=factories.administrator())
    shown = {row.name: row.holder_count for row in as_dot.get("/access/policies/").context["page"].rows}
    assert shown["rotate-web"] == 2
    assert shown[policies.FULL_ACCESS] == 1
    only = as_dot.get("/access/policies/", {"kind": "custom"}).context["page"].rows
    assert [row.name for row in only] == ["rotate-web"]


def test_a_policy_page_shows_its_document_by_line_and_what_it_reaches(as_dot, dot):
    for name in ("web/one", "web/two", "db/one"):
        factories.secret(name=name, tags={"env": "prod"} if name == "web/two" else None)
    prefix = factories.secret(name="web/three").arn.rpartition("web/three")[0]
    made = policies.create(
        "web",
        text_of(
            allow("kms:DescribeSecret", on=f"{prefix}web/*"),
            allow("kms:GetSecretValue", Condition={"StringEquals": {"kms:tag/env": "prod"}}),
            allow("kms:RotateSecret", Condition={"IpAddress": {"acs:SourceIp": "192.0.2.0/24"}}),
        ),
        actor=dot.principal,
    )
    response = as_dot.get(reverse("policy", args=[made.pk]))
    assert [(one.count, one.total) for one in response.context["reached"]] == [(3, 4), (1, 4), (4, 4), (0, 4)]
    assert [line.text for line in response.context["lines"]] == made.document.split("\n")


def test_a_bad_document_is_refused_line_by_line_and_what_was_typed_stays(as_dot):
    typed = text_of(allow("kms:GetSecretValu"), {"Effect": "Perhaps", "Action": "*", "Resource": "*"})
    wrong = [n for n, line in enumerate(typed.split("\n"), 1) if "GetSecretValu" in line or "Perhaps" in line]
    response = as_dot.post(
        CREATE, {"name": "mine", "description": "kept too", "document": typed.replace("\n", "\r\n")}
    )
    assert response.status_code == 422
    assert [line.number for line in response.context["lines"] if line.is_marked] == wrong
    for number in wrong:
        assert f"Line {number}:" in page(response)
    assert response.context["form"].typed == typed
    assert "kept too" in page(response)
    assert not Policy.objects.filter(name="mine").exists()


@pytest.mark.parametrize(
    "typed", ["{", "[]", "", "<script>alert(1)</script>", '{"Version": "1", "Version": "1"}']
)
def test_what_is_no_document_is_refused(as_dot, typed):
    response = as_dot.post(CREATE, {"name": "mine", "document": typed})
    assert response.status_code == 422
    assert "<script>alert(1)" not in page(response)
    assert not Policy.objects.filter(name="mine").exists()


def test_a_policy_is_created_edited_and_deleted_with_an_event_for_each(as_dot):
    first, second = text_of(allow("kms:RotateSecret")), text_of(allow("kms:ListSecrets"))
    as_dot.post(CREATE, {"name": "mine", "document": first.replace("\n", "\r\n")})
    made = Policy.objects.get(name="mine")
    assert made.document == first
    as_dot.post(f"/access/policies/{made.pk}/edit/", {"revision": 1, "document": second})
    made.refresh_from_db()
    assert (made.document, made.revision) == (second, 2)
    as_dot.post(f"/access/policies/{made.pk}/delete/")
    assert not Policy.objects.filter(name="mine").exists()
    actions = (
        AuditEvent.objects.filter(resource_id=made.pk).order_by("sequence").values_list("action", flat=True)
    )
    assert list(actions) == ["kms:CreatePolicy", "kms:UpdatePolicy", "kms:DeletePolicy"]


def test_an_edit_on_an_old_revision_saves_nothing_and_shows_what_is_there_now(as_dot, rotate, dot):
    now, mine = policies.document(["kms:List*"]), policies.document(["*"])
    policies.change(rotate, now, revision=1, actor=dot.principal)
    url = f"/access/policies/{rotate.pk}/edit/"
    response = as_dot.post(url, {"revision": 1, "document": mine})
    assert response.status_code == 409
    rotate.refresh_from_db()
    assert rotate.document == now
    assert [line.text for line in response.context["now"]] == now.split("\n")
    assert response.context["form"].typed == mine
    as_dot.post(url, {"revision": response.context["form"]["revision"].value(), "document": mine})
    rotate.refresh_from_db()
    assert rotate.document == mine


def test_a_name_that_is_taken_is_said_beside_the_field(as_dot, rotate):
    response = as_dot.post(CREATE, {"name": rotate.name, "document": rotate.document})
    assert response.status_code == 422
    assert "Choose another name" in page(response)


def test_a_copy_begins_with_the_document_of_a_system_policy(as_dot, dot):
    system = Policy.objects.get(name=policies.FULL_ACCESS)
    form = as_dot.get(CREATE, {"copy": system.pk}).context["form"]
    assert form["document"].value() == system.document
    assert form["name"].value() == "KMSFullAccess-copy"


def test_a_system_policy_cannot_be_edited_or_deleted(as_dot):
    system = Policy.objects.get(name=policies.FULL_ACCESS)
    typed = {"revision": system.revision, "document": policies.document(["kms:ListSecrets"])}
    assert as_dot.post(f"/access/policies/{system.pk}/edit/", typed).status_code == 409
    assert as_dot.post(f"/access/policies/{system.pk}/delete/").status_code == 409
    system.refresh_from_db()
    assert system.document == policies.document(["*"])


def test_a_policy_is_attached_and_detached_in_a_dialog(as_dot, rotate, ann):
    users.create_group("operators", actor=factories.administrator())
    group = Group.objects.get(name="operators")
    for to in (f"user:{ann.pk}", f"group:{group.pk}"):
        as_dot.post("/access/attach/", {"policy": rotate.pk, "to": to})
    held = Attachment.objects.filter(policy=rotate)
    assert {str(one.principal or one.group) for one in held} == {"ann", "operators"}
    assert as_dot.post("/access/attach/", {"policy": rotate.pk, "to": "user:nobody"}).status_code == 422
    still = as_dot.post(f"/access/policies/{rotate.pk}/delete/")
    assert still.status_code == 409
    assert "Detach it first" in page(still)
    for one in held:
        as_dot.post(reverse("policy_detach", args=[one.pk]))
    assert not held.all().exists()


def test_the_last_administrator_is_kept_and_a_sentence_says_why(as_dot, dot):
    factories.administrator()
    full = Attachment.objects.get(policy__name=policies.FULL_ACCESS)
    response = as_dot.post(reverse("policy_detach", args=[full.pk]))
    assert response.status_code == 409
    assert "No user would have KMS full access" in page(response)
    assert policies.has_full_access(dot.principal)


def test_who_may_not_see_a_policy_does_not_learn_that_it_is_there(client, hal, ann, rotate):
    for user in (ann, hal):
        client.force_login(user)
        assert client.get("/access/policies/").status_code == 403
        assert client.get(reverse("policy", args=[rotate.pk])).status_code == 404
        assert client.get("/access/").status_code == 403


def test_an_auditor_reads_policies_and_is_offered_no_change(client, aud, rotate):
    client.force_login(aud)
    for url in ("/access/policies/", reverse("policy", args=[rotate.pk])):
        shown = page(client.get(url))
        assert rotate.name in shown
        for link in ("/edit/", "/delete/", "/create/", "/attach/"):
            assert link not in shown


def test_the_lines_of_a_statement_are_those_it_stands_on():
    text = text_of(allow("kms:ListSecrets"), allow("*"))
    lines = text.split("\n")
    found = ram_documents.lines_of(text, 2)
    assert json.loads("\n".join(lines[n - 1] for n in found)) == allow("*")
    assert list(ram_documents.lines_of(text, 3)) == []
    assert list(ram_documents.lines_of("{", 1)) == []
