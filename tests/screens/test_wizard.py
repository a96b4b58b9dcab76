"""Create Secret: three steps, one form, and a value that no answer ever holds."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse

from rotation.models import Instance, ManagedAccount, Run, Schedule
from secrets_app.models import Secret
from secrets_app.secrets import versions
from tests import clients, factories, messages

pytestmark = pytest.mark.django_db

VALUE = "canary-7b1e:the value that works now"
HTMX = {"HX-Request": "true", "HX-Target": "dialog-content"}
WHERE = "/main/secrets/create/"


@pytest.fixture
def instance() -> Instance:
    return factories.instance(name="web-main")


@pytest.fixture
def filled(instance) -> dict[str, object]:
    """A form as a browser sends it, all three steps right."""
    return {
        "type": "ecs", "name": "web/svc", "instance": "web-main", "username": "svc", "kind": "password",
        "value": VALUE, "length": "32", "sets": ["lower", "upper", "digits", "symbols"], "excluded": "",
        "description": "for the web fleet", "tags": "team=web\nstage = production\n\n",
        "rotation": "on", "period": "7", "unit": "days",
    }  # fmt: skip


def text(response) -> str:
    return response.content.decode()


def next_step(response) -> int:
    return json.loads(response["HX-Trigger"])["wizardStep"]["step"]


def send(client: Client, form: dict[str, object], step: str = "", *, htmx: bool = True, where: str = WHERE):
    """Press Next (with the number of the step) or OK."""
    return client.post(where, form | ({"step": step} if step else {}), headers=HTMX if htmx else None)


def nothing_is_made() -> bool:
    made = Secret, ManagedAccount, Schedule
    # The review has the account looked at; that makes nothing on the host and nothing here.
    changes = Run.objects.exclude(kind=Run.Kind.CHECK)
    return not (changes.exists() or any(model.objects.exists() for model in made))


# ---------------------------------------------------------------- the form


def test_the_form_has_the_labels_that_a_kms_user_knows(as_dot, instance):
    shown = text(as_dot.get(WHERE, headers=HTMX))
    for label in (
        "Create Secret", "Configuration rotation", "Review and confirm", "Select Type", "Managed ECS secret",
        "Secret name", "acs/ecs/", "Managed instance", "Managed User", "Initial secret value", "Password",
        "Key pair", "Key algorithm", "Ed25519 (recommended)",
        "Generate one for me at the first rotation", "Secret Description", "Tags",
        "Turn on automatic rotation", "Turn off automatic rotation", "Rotation Period",
        "Rotate once, right after creation", "Previous", "Next", "OK", "Register an instance",
    ):  # fmt: skip
        assert label in shown


def test_only_instances_of_the_region_are_offered_with_their_system_and_address(as_dot, instance):
    elsewhere = factories.instance(name="web-north", region=factories.region("north"))
    shown = text(as_dot.get(WHERE, headers=HTMX))
    assert f'<option value="web-main">Linux · {instance.where}' in shown
    assert elsewhere.name not in shown


def test_choosing_an_instance_suggests_the_accounts_found_there(as_dot, instance):
    Instance.objects.update(accounts=["root", "deploy"], os_name="Debian GNU/Linux 12")
    shown = text(as_dot.get(reverse("secret_create_instance", args=["main"]), {"instance": "web-main"}))
    assert '<option value="deploy">' in shown
    assert "Debian GNU/Linux 12" in shown


def test_a_region_without_instances_says_so_and_where_to_register_one(as_dot):
    factories.region()
    shown = text(as_dot.get(WHERE, headers=HTMX))
    assert "No instance is registered in Main yet." in shown
    assert reverse("instance_register", args=["main"]) in shown


def test_on_all_regions_the_region_is_asked_for_first(as_dot):
    factories.region()
    factories.region("north")
    shown = text(as_dot.get("/all/secrets/create/", headers=HTMX))
    assert "Region" in shown
    assert "Secret name" not in shown
    assert as_dot.get("/all/secrets/create/", {"to": "north"})["Location"] == "/north/secrets/create/"
    assert as_dot.get("/all/secrets/create/", {"to": "evil.example"}).status_code == 200


def test_where_there_is_one_region_nobody_is_asked(as_dot):
    factories.region()
    assert as_dot.get("/all/secrets/create/")["Location"] == WHERE


def test_nothing_is_created_on_all_regions(as_dot, filled):
    factories.region("north")
    answer = send(as_dot, filled, where="/all/secrets/create/")
    assert answer.status_code == 422
    assert VALUE not in text(answer)
    assert nothing_is_made()


# ---------------------------------------------------------------- the steps


def test_a_right_step_leads_to_the_next_one_and_makes_nothing(as_dot, filled):
    for step in ("1", "2"):
        answer = send(as_dot, filled, step)
        assert answer.status_code == 200
        assert next_step(answer) == int(step) + 1
    assert nothing_is_made()


def test_the_first_step_does_not_complain_of_what_is_not_filled_in_yet(as_dot, filled):
    assert next_step(send(as_dot, filled | {"period": "0", "unit": ""}, "1")) == 2


def test_a_wrong_step_is_said_beside_its_field_and_not_left(as_dot, filled):
    answer = send(as_dot, filled | {"name": ""}, "1")
    assert answer.status_code == 422
    assert next_step(answer) == 1
    assert "Enter a name." in text(answer)
    assert 'id="wizard_name_answer"' in text(answer)


def test_the_second_step_checks_the_first_one_again(as_dot, filled):
    answer = send(as_dot, filled | {"username": "no such:user"}, "2")
    assert answer.status_code == 422
    assert next_step(answer) == 1


def test_the_last_step_checks_everything_again(as_dot, filled):
    for wrong, step in (({"instance": ""}, 1), ({"period": "1", "unit": "hours"}, 2)):
        answer = send(as_dot, filled | wrong)
        assert answer.status_code == 422
        assert next_step(answer) == step
    assert nothing_is_made()


def test_an_invented_step_does_not_skip_a_check(as_dot, filled):
    assert send(as_dot, filled | {"name": ""}, "3").status_code == 422
    assert send(as_dot, filled | {"name": ""}, "-1").status_code == 422
    assert nothing_is_made()


def test_answers_leave_the_inputs_alone(as_dot, filled):
    """An input that is swapped would lose the value that was typed into it."""
    for form, step in (
        (filled, "1"),
        (filled, "2"),
        (filled | {"name": ""}, "1"),
        (filled | {"name": ""}, ""),
    ):
        answer = send(as_dot, form, step)
        assert answer["HX-Reswap"] == "none"
        assert "<input" not in text(answer)


def test_the_review_says_what_will_be_made_and_what_is_known_of_the_instance(as_dot, filled):
    checks = [{"name": "sudo", "mark": "passed", "sentence": "Becomes root without a password."}]
    Instance.objects.update(checks=checks)
    shown = text(send(as_dot, filled, "2"))
    for words in (
        "acs/ecs/web/svc", "web-main", "svc", "every 7 days", "Becomes root without a password.",
        "works as <span", "keyturn", "for the web fleet", "team=web",
    ):  # fmt: skip
        assert words in shown


def test_an_initial_value_that_breaks_the_password_policy_is_only_a_warning(as_dot, filled):
    answer = send(as_dot, filled | {"value": "canary-weak"}, "2")
    assert answer.status_code == 200
    assert "does not meet the password policy" in text(answer)
    assert "at least 32 characters" in text(answer)
    assert "canary-weak" not in text(answer)
    assert send(as_dot, filled | {"value": "canary-weak"}).status_code == 200
    made = Secret.objects.get()
    page = text(as_dot.get(reverse("secret", args=["main", made.pk])))
    assert "The current password does not meet the password policy." in page
    kept = send(as_dot, filled | {"value": "Aa1-" * 8, "name": "other", "username": "other"}, "2")
    assert kept.status_code == 200
    assert "does not meet the password policy" not in text(kept)


def test_dates_are_previewed_and_a_period_out_of_bounds_is_named(as_dot):
    factories.region()
    where = reverse("secret_create_dates", args=["main"])
    assert text(as_dot.get(where, {"period": "30", "unit": "days"})).count("<time") == 5
    for period, unit in (("5", "hours"), ("366", "days"), ("9" * 30, "days"), ("-7", "days")):
        assert "6 hours to 365 days" in text(as_dot.get(where, {"period": period, "unit": unit}))
    assert "Enter a whole number" in text(as_dot.get(where, {"period": "x", "unit": "days"}))


def test_set_times_are_reviewed_and_kept(as_dot, filled):
    times = {
        "recurrence": "cron",
        "cron": "0 2 1 * *",
        "zone": "Asia/Shanghai",
        "jitter": "15",
        "catch_up": "skip",
    }
    shown = text(send(as_dot, filled | times, "2"))
    for words in (
        "On, at 02:00 on the first day of every month", "0 2 1 * *", "in Asia/Shanghai",
        "delayed by up to 15 min", "Wait for the next date",
    ):  # fmt: skip
        assert words in shown
    send(as_dot, filled | times)
    kept = Schedule.objects.get()
    assert (kept.cron, kept.zone, kept.jitter.seconds, kept.catch_up) == (
        "0 2 1 * *", "Asia/Shanghai", 900, "skip",
    )  # fmt: skip
    assert f"{kept.next_at:%H}" == "18"


def test_new_schedules_are_offered_a_small_random_delay(as_dot):
    factories.region()
    page = text(as_dot.get(WHERE))
    assert 'name="jitter" value="10"' in page
    assert page.count("between <time") == 5


# ---------------------------------------------------------------- OK


def test_ok_makes_a_secret_whose_value_the_host_is_asked_about(as_dot, dot, filled):
    answer = send(as_dot, filled)
    assert answer.status_code == 200
    assert "View secret details" in text(answer)
    secret = Secret.objects.get()
    assert secret.name == "acs/ecs/web/svc"
    assert secret.created_by == dot.principal
    assert versions.value(secret.labelled("current")).password.reveal() == VALUE
    assert {tag.key: tag.value for tag in secret.tags.all()} == {"team": "web", "stage": "production"}
    assert secret.schedule.period == timedelta(days=7)
    assert secret.runs.get().kind == Run.Kind.VERIFY


@pytest.mark.django_db(transaction=True)
def test_ok_wakes_a_worker_once_the_secret_is_stored(client, dot, filled):
    client.force_login(dot)
    send(client, filled)
    [message] = messages.waiting()
    assert VALUE not in message


def test_without_a_value_the_first_rotation_makes_one(as_dot, filled):
    send(as_dot, filled | {"value": "", "generate": "on", "rotate_now": "on"})
    secret = Secret.objects.get()
    assert secret.labelled("current") is None
    assert secret.runs.get().kind == Run.Kind.ROTATE


def test_with_rotation_off_the_period_does_not_matter(as_dot, filled):
    assert send(as_dot, filled | {"rotation": "off", "period": "", "unit": "days"}).status_code == 200
    assert not Secret.objects.get().schedule.is_on


def test_pressing_ok_twice_makes_one_secret(as_dot, filled):
    send(as_dot, filled)
    answer = send(as_dot, filled)
    assert answer.status_code == 422
    assert "is in use in Main" in text(answer)
    assert Secret.objects.count() == 1


def test_without_script_the_form_is_one_page_that_works(as_dot, filled):
    page = text(as_dot.get(WHERE))
    assert page.count("<fieldset data-step") == 3
    answer = send(as_dot, filled, htmx=False)
    assert answer.status_code == 302
    assert answer["Location"] == reverse("secret", args=["main", Secret.objects.get().pk])


def test_without_script_a_wrong_form_comes_back_with_all_but_the_value(as_dot, filled):
    answer = send(as_dot, filled | {"name": "no spaces here"}, htmx=False)
    shown = text(answer)
    assert answer.status_code == 422
    assert "no spaces here" in shown
    assert "for the web fleet" in shown
    assert 'id="wizard_name_error"' in shown
    assert VALUE not in shown


# ---------------------------------------------------------------- what bad input gets


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"name": "spaces are wrong"}, "letters, digits and / _ + = . @ -"),
        ({"name": "x" * 185}, "letters, digits and / _ + = . @ -"),
        ({"name": "acs/ecs/"}, "letters, digits and / _ + = . @ -"),
        ({"name": "line\nbreak"}, "letters, digits and / _ + = . @ -"),
        ({"username": "root;reboot"}, "An OS user has 1 to 32"),
        ({"username": "-rf"}, "An OS user has 1 to 32"),
        ({"instance": "nobody"}, "No instance of Main has this name"),
        ({"value": "", "generate": ""}, "Enter the password that works now"),
        ({"generate": "on"}, "not both"),
        ({"value": "a\nb"}, "line break"),
        ({"value": "a\rb"}, "line break"),
        ({"value": "a\x00b"}, "a NUL"),
        ({"value": "a\x1bb"}, "control character"),
        ({"value": "x" * 512}, "at most 511 bytes"),
        ({"length": "8"}, "14 to 127 characters"),
        ({"sets": []}, "Choose at least one set"),
        ({"sets": ["digits"], "length": "20"}, "at least 128 are needed"),
        ({"sets": ["digits"], "excluded": "0123456789"}, "at least one character"),
        ({"description": "x" * 4097}, "at most 4096 characters"),
        ({"tags": "a=1\na=2"}, "is listed twice"),
        ({"tags": "=1"}, "key=value"),
        ({"tags": "\n".join(f"k{n}=v" for n in range(21))}, "at most 20 tags"),
        ({"period": "5", "unit": "hours"}, "6 hours to 365 days"),
        ({"recurrence": "cron", "cron": "0 2,5 * * *"}, "are 3 hours apart"),
        ({"recurrence": "cron", "cron": "0 2 * * *", "zone": "Mars"}, "No time zone has this name"),
        ({"jitter": "2000"}, "0 to 1440 minutes"),
        ({"type": "rds"}, "Select a valid choice"),
        ({"kind": "sms"}, "Select a valid choice"),
        ({"kind": "key_pair"}, "Paste the private key"),
        ({"kind": "key_pair", "private_key": VALUE}, "not a private key in OpenSSH or PEM form"),
        ({"kind": "key_pair", "key_algorithm": "dsa", "generate": "on"}, "Select a valid choice"),
    ],
)
def test_each_wrong_input_gets_its_own_sentence_and_makes_nothing(as_dot, filled, wrong, sentence):
    for htmx in (True, False):
        answer = send(as_dot, filled | wrong, htmx=htmx)
        assert answer.status_code == 422
        assert sentence in text(answer).replace("&#x27;", "'")
    assert nothing_is_made()


def test_a_name_in_use_is_named_even_while_its_secret_is_pending_deletion(as_dot, filled):
    taken = factories.secret(name="web/svc", username="other")
    assert "is in use in Main. Choose another name." in text(send(as_dot, filled, "1"))
    Secret.objects.filter(pk=taken.pk).update(deletion_planned_at=taken.created_at)
    assert "pending deletion" in text(send(as_dot, filled, "1"))


def test_an_instance_of_another_region_is_refused_with_both_names(as_dot, filled):
    factories.instance(name="web-north", region=factories.region("north"))
    shown = text(send(as_dot, filled | {"instance": "web-north"}, "1"))
    assert "web-north is in North. Choose an instance of Main" in shown


def test_an_account_that_another_secret_manages_is_refused_and_that_one_named(as_dot, filled, instance):
    other = factories.secret(instance=instance, username="svc")
    assert f"{other.name} manages svc on web-main already" in text(send(as_dot, filled, "1"))
    assert send(as_dot, filled).status_code == 422
    assert Secret.objects.count() == 1


def test_an_instance_nobody_has_tested_does_not_prevent_creation(as_dot, filled):
    Instance.objects.update(state="unreachable", credential=None)
    assert "Attach a management credential" in text(send(as_dot, filled, "2"))
    assert send(as_dot, filled).status_code == 200


# ---------------------------------------------------------------- the value


def test_no_answer_and_no_session_ever_holds_the_value(as_dot, filled):
    answers = [send(as_dot, filled | wrong, step, htmx=htmx)
               for wrong in ({}, {"name": ""}, {"period": "0"}, {"value": VALUE + "\n"})
               for step in ("1", "2")
               for htmx in (True, False)
               if htmx or wrong]  # fmt: skip
    answers += [send(as_dot, filled), as_dot.get("/main/secrets/"), as_dot.get(WHERE)]
    for answer in answers:
        assert VALUE not in text(answer)
        assert VALUE not in str(answer.headers)
        assert "canary-7b1e" not in text(answer)
    sessions = clients.kept_sessions()
    assert sessions
    assert "canary-7b1e" not in str(sessions)


def test_a_value_keeps_its_spaces(as_dot, filled):
    send(as_dot, filled | {"value": "  spaces around it  "})
    assert (
        versions.value(Secret.objects.get().labelled("current")).password.reveal() == "  spaces around it  "
    )


def test_two_people_do_not_see_each_other_in_their_wizards(as_dot, filled, client):
    send(as_dot, filled, "1")
    other = Client()
    other.force_login(factories.user("eve", "administrators"))
    assert "web/svc" not in text(other.get(WHERE))
