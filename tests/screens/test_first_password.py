"""The first password: on a terminal, or in a file that goes when it is worth nothing."""

from __future__ import annotations

import io
import stat

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from console.management.commands import setup
from console.sign_in import first_password
from secrets_app.models import User
from tests.factories import PASSWORD

pytestmark = pytest.mark.django_db(transaction=True)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _folder(settings, tmp_path):
    settings.DATA_DIR = tmp_path


def set_up(printed: io.StringIO) -> str:
    setup.Command(stdout=printed)._prepare_people()
    return printed.getvalue()


def password_of(text: str) -> str:
    return text.partition("Password    ")[2].partition("\n")[0]


def test_a_terminal_is_shown_it_and_no_file_is_made():
    shown = password_of(set_up(Terminal()))
    assert User.objects.get().check_password(shown)
    assert not first_password.file().exists()


def test_what_may_be_kept_by_somebody_names_a_file_of_its_owner_only():
    printed = set_up(io.StringIO())
    kept = first_password.file().read_text().strip()
    assert User.objects.get().check_password(kept)
    assert str(first_password.file()) in printed
    assert kept not in printed
    assert stat.S_IMODE(first_password.file().stat().st_mode) == 0o600


def test_the_file_goes_when_another_password_is_chosen_and_not_before():
    set_up(io.StringIO())
    first = first_password.file().read_text().strip()
    browser = Client()
    signed_in = browser.post(reverse("account_login"), {"login": "admin", "password": first})
    assert signed_in.status_code == 302
    set_up(io.StringIO())
    assert first_password.file().exists()
    chosen = {"oldpassword": first, "password1": PASSWORD, "password2": PASSWORD}
    assert browser.post(reverse("account_change_password"), chosen).status_code == 302
    assert not first_password.file().exists()
    assert not User.objects.get().check_password(first)


def test_the_file_goes_when_the_way_in_is_given_anew_on_the_server():
    set_up(io.StringIO())
    call_command("recover", "admin", stdout=io.StringIO())
    assert not first_password.file().exists()


def test_a_file_that_is_left_over_goes_at_the_next_start():
    set_up(io.StringIO())
    User.objects.update(must_change_password=False)
    set_up(io.StringIO())
    assert not first_password.file().exists()


def test_a_folder_that_takes_no_file_is_named_with_the_way_out(settings, tmp_path):
    settings.DATA_DIR = tmp_path / "missing"
    with pytest.raises(CommandError, match="recover admin"):
        set_up(io.StringIO())


def test_after_the_change_one_is_signed_in_and_told_so():
    set_up(io.StringIO())
    first = first_password.file().read_text().strip()
    browser = Client()
    browser.post(reverse("account_login"), {"login": "admin", "password": first})
    chosen = {"oldpassword": first, "password1": PASSWORD, "password2": PASSWORD}
    page = browser.post(reverse("account_change_password"), chosen, follow=True)
    assert page.status_code == 200
    assert "Your other sessions have ended; this one continues." in page.content.decode()
    assert "Sign in with the new password" not in page.content.decode()
    assert browser.get(reverse("sessions")).status_code == 200
