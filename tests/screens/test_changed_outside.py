"""Of records that were changed outside Keyturn: nobody signs in by them, and a line names them."""

from __future__ import annotations

import pytest
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django.db import models
from django.urls import reverse

from rotation import tasks
from secrets_app.integrity import seal_check
from secrets_app.models import AuditEvent, ChangedRecord, Policy, User
from secrets_app.people import identities, users
from secrets_app.people.identities import Identity
from secrets_app.policy import policies
from tests import factories
from tests.factories import PASSWORD
from tests.screens.routes.own import add_app
from tests.screens.test_sign_in import is_signed_in, sign_in

pytestmark = pytest.mark.django_db
ISSUER = "https://id.example"


def written(model):
    return models.QuerySet(model)


def test_nobody_signs_in_without_the_second_factor_that_was_deleted_in_the_database(client, dot):
    add_app(dot)
    rows = written(Authenticator).filter(user=dot)
    assert rows._raw_delete(rows.db)
    sign_in(client)
    assert not is_signed_in(client)
    assert {one.name for one in seal_check.broken()} == {f"ways-in:{dot.pk}"}


def test_nobody_signs_in_where_a_second_factor_was_written(client, dot):
    mine = add_app(dot)
    written(Authenticator).filter(pk=mine.pk).update(data={"secret": "another"})
    sign_in(client)
    assert "account_login" not in client.session  # not even the question for a code
    assert not is_signed_in(client)


def test_nobody_signs_in_where_an_identity_was_written(client, dot):
    written(SocialAccount).bulk_create(
        [SocialAccount(user=dot, provider=ISSUER, uid="mallory", extra_data={})]
    )
    sign_in(client)
    assert not is_signed_in(client)


def test_identities_and_factors_that_keyturn_stores_let_their_user_in(client, dot):
    identities.link(dot, Identity(ISSUER, "dot"))
    identities.unlink(dot, ISSUER)
    identities.link(dot, Identity(ISSUER, "dot again"))
    sign_in(client)
    assert is_signed_in(client)


def test_a_session_ends_with_the_record_of_its_user(client, dot):
    sign_in(client)
    assert client.get(reverse("home")).status_code in {200, 302}
    written(User).filter(pk=dot.pk).update(must_change_password=True)
    answer = client.get("/all/secrets/")
    assert answer.status_code == 302
    assert reverse("account_login") in answer["Location"]


def test_a_password_that_was_written_signs_nobody_in(client, dot, ann):
    taken = User.objects.get(pk=ann.pk).password
    written(User).filter(pk=dot.pk).update(password=taken)
    sign_in(client, password=PASSWORD)
    assert not is_signed_in(client)


def test_the_overview_names_what_was_changed_to_those_who_verify_and_the_trail_keeps_it(client, dot, ann):
    written(User).filter(pk=ann.pk).update(is_superuser=False, must_change_password=True)
    tasks.check_seals()
    tasks.check_seals()
    event = AuditEvent.objects.get(action="kms:NoticeChange")
    assert (event.outcome, event.resource) == ("failed", f"secrets_app.user:{ann.pk}")
    client.force_login(dot)
    page = client.get(reverse("overview", args=["all"])).content.decode()
    assert "The user ann was changed outside Keyturn." in page
    seal_check.accept(f"secrets_app.user:{ann.pk}", actor=users.system(), reason="compared")
    assert "changed outside" not in client.get(reverse("overview", args=["all"])).content.decode()


def test_the_overview_names_no_changed_record_to_somebody_who_may_not_verify(client, dot, ann):
    operator = Policy.objects.get(name=policies.SECRET_ADMINISTRATOR)
    policies.attach(operator, ann, actor=factories.administrator())
    written(User).filter(pk=dot.pk).update(must_change_password=True)
    tasks.check_seals()
    client.force_login(ann)
    page = client.get(reverse("overview", args=["all"]))
    assert page.status_code == 200
    assert "changed outside" not in page.content.decode()


def test_what_was_put_right_is_no_longer_noted(client, dot):
    written(User).filter(pk=dot.pk).update(must_change_password=True)
    assert seal_check.check() == 1
    written(User).filter(pk=dot.pk).update(must_change_password=False)
    assert seal_check.check() == 0
    assert not ChangedRecord.objects.exists()
