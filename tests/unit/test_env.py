"""A wrong setting stops the start with the variable's name; it never becomes a default in silence."""

import re
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from console import env

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def given(monkeypatch):
    return lambda text: monkeypatch.setenv("KEYTURN_TRIAL", text)


def test_an_unset_or_empty_variable_has_the_default(given):
    assert env.text("KEYTURN_TRIAL", "default") == "default"
    given("  ")
    assert env.text("KEYTURN_TRIAL", "default") == "default"


@pytest.mark.parametrize(("text", "meant"), [("1", True), ("Yes", True), ("off", False), ("FALSE", False)])
def test_a_flag_is_read_in_words(given, text, meant):
    given(text)
    assert env.flag("KEYTURN_TRIAL", not meant) is meant


def test_a_flag_that_is_neither_names_its_variable(given):
    given("perhaps")
    with pytest.raises(ImproperlyConfigured, match="KEYTURN_TRIAL"):
        env.flag("KEYTURN_TRIAL", False)


@pytest.mark.parametrize("text", ["0", "201", "-1", "8.5", "many", "--8", "²"])
def test_a_number_out_of_its_limits_or_not_one_names_its_variable(given, text):
    given(text)
    with pytest.raises(ImproperlyConfigured, match="KEYTURN_TRIAL"):
        env.number("KEYTURN_TRIAL", 8, least=1, most=200)


@pytest.mark.parametrize("text", ["1", "200"])
def test_a_number_at_its_limit_is_taken(given, text):
    given(text)
    assert env.number("KEYTURN_TRIAL", 8, least=1, most=200) == int(text)


def test_words_are_separated_by_commas(given):
    given(" a.example, b.example ,,")
    assert env.words("KEYTURN_TRIAL", "") == ["a.example", "b.example"]


def test_a_relative_path_is_refused(given):
    given("data/keyturn")
    with pytest.raises(ImproperlyConfigured, match="KEYTURN_TRIAL"):
        env.path("KEYTURN_TRIAL", Path("/var/lib/keyturn"))


def test_a_path_may_begin_at_home(given, monkeypatch):
    monkeypatch.setenv("HOME", "/home/ann")
    given("~/keyturn")
    assert env.path("KEYTURN_TRIAL", Path("/")) == Path("/home/ann/keyturn")


def test_the_message_about_a_wrong_url_does_not_repeat_its_password(given):
    given("mysql://keyturn:a-password@db/keyturn")
    with pytest.raises(ImproperlyConfigured, match="KEYTURN_TRIAL") as caught:
        env.database("KEYTURN_TRIAL", "sqlite:////tmp/db")
    assert "a-password" not in str(caught.value)


def test_a_database_is_a_file_or_a_server(given):
    given("sqlite:///srv/a%20b/db")
    assert env.database("KEYTURN_TRIAL", "") == {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": "/srv/a b/db",
    }
    given("postgresql://keyturn:p%40ss@db:5433/keys?sslmode=require")
    assert env.database("KEYTURN_TRIAL", "") == {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "keys",
        "USER": "keyturn",
        "PASSWORD": "p@ss",
        "HOST": "db",
        "PORT": "5433",
        "OPTIONS": env._PATIENCE | {"sslmode": "require"},
    }


def test_a_choice_that_is_not_offered_names_its_variable(given):
    given("dsa")
    with pytest.raises(ImproperlyConfigured, match="KEYTURN_TRIAL"):
        env.choice("KEYTURN_TRIAL", "rsa-2048", ["rsa-2048", "ed25519"])


def test_the_documentation_names_every_setting_once_and_no_other():
    files = [
        ROOT / "console/settings.py",
        ROOT / "console/openid_settings.py",
        ROOT / "console/mail_settings.py",
        ROOT / "console/metrics_settings.py",
    ]
    read = {name for file in files for name in re.findall(r'"(KEYTURN_[A-Z_]+)"', file.read_text())}
    first_cells = re.findall(r"^\| (`KEYTURN_[^|]+)\|", (ROOT / "docs/configuration.md").read_text(), re.M)
    named = [name for cell in first_cells for name in re.findall(r"KEYTURN_[A-Z_]+", cell)]
    assert sorted(named) == sorted(read)


DATABASE_SCHEMES = ("sqlite", "postgresql", "postgres")


@pytest.mark.parametrize("mark", "#/?%[")
def test_a_mark_in_a_password_that_is_not_encoded_is_explained_with_its_variable(given, mark):
    given(f"postgresql://keyturn:hun{mark}ter2@db/keyturn")
    with pytest.raises(ImproperlyConfigured, match=r"KEYTURN_TRIAL .*percent-encoded.*%23") as caught:
        env.database("KEYTURN_TRIAL", "")
    assert "ter2" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["redis:/x", "redis://", "redis://broker/x", "postgresql:///", "postgresql://db", "postgresql://db/a/b",
     "postgresql://db:many/keyturn", "sqlite://keyturn.db", "sqlite:keyturn.db", "https://"],
)  # fmt: skip
def test_a_url_that_is_not_whole_is_refused(given, text):
    given(text)
    with pytest.raises(ImproperlyConfigured, match="KEYTURN_TRIAL"):
        env.secret_url("KEYTURN_TRIAL", "", schemes=(*DATABASE_SCHEMES, "redis", "https"))


OWN = {"ENGINE": "django.db.backends.postgresql", "HOST": "db", "PORT": "", "OPTIONS": {}}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("postgresql://keyturn:hunter2@other/journal", "no password"),
        ("postgresql://keyturn@other/journal?password=hunter2", "no password"),
        ("postgresql://keyturn@db/journal", "another machine"),
        ("postgresql://keyturn@db:5432/journal", "another machine"),
        ("postgresql://keyturn@other/", "database's name"),
        ("file:journal", "absolute path"),
        ("s3:/bucket/journal", "absolute path"),
        ("s3://key:hunter2@bucket/journal", "no password"),
        ("s3://bucket/journal?endpoint=https://key:hunter2@store.example.com", "no password"),
        ("s3://Not_A_Bucket/journal", "name a bucket"),
        ("s3://bucket/journal?secret=hunter2", "unknown"),
        ("s3://bucket/journal?endpoint=http://store.example.com", "https://"),
        ("s3://bucket/journal?endpoint=https://", "https://"),
        ("s3://bucket/journal?ca-file=ca.pem", "absolute path"),
    ],
)
def test_a_journal_that_would_be_lost_with_the_database_or_shows_a_password_is_refused(given, text, why):
    given(text)
    with pytest.raises(ImproperlyConfigured, match=why) as caught:
        env.journal("KEYTURN_TRIAL", OWN)
    assert "hunter2" not in str(caught.value)


def test_the_postgresql_of_the_journal_is_never_an_instances_address():
    at = env.services({"ENGINE": "django.db.backends.sqlite3"}, "postgresql://keyturn@other/journal")
    assert at == (("other", 5432),)
    stored = "s3://bucket/journal?region=main&endpoint=https://store.example.com:9000"
    at = env.services({"ENGINE": "django.db.backends.sqlite3"}, stored, "s3://bucket/journal")
    assert at == (("store.example.com", 9000),)


def test_a_journal_is_a_file_another_postgresql_or_a_bucket(given):
    for text in (
        "", "file:/mnt/journal", "postgresql://keyturn@other/journal?sslmode=require", "s3://bucket",
        "s3://bucket/a/b?region=main&endpoint=https://store.example.com:9000&ca-file=/etc/ca.pem",
        "s3://bucket/journal?endpoint=http://127.0.0.1:9000",
    ):  # fmt: skip
        given(text)
        assert env.journal("KEYTURN_TRIAL", OWN) == text


def test_the_collector_of_traces_is_a_url_without_a_password(given):
    for text in ("", "http://collector:4318", "https://collector.example.com/otlp"):
        given(text)
        assert env.optional_url("KEYTURN_TRIAL", schemes=("http", "https")) == text
    for text in ("collector:4318", "http://keyturn:hunter2@collector:4318"):
        given(text)
        with pytest.raises(ImproperlyConfigured) as caught:
            env.optional_url("KEYTURN_TRIAL", schemes=("http", "https"))
        assert "hunter2" not in str(caught.value)


def test_postgres_is_postgresql(given):
    given("postgres://keyturn@db/keys")
    assert env.database("KEYTURN_TRIAL", "")["ENGINE"] == "django.db.backends.postgresql"


def test_a_secret_may_stand_in_a_file(monkeypatch, tmp_path):
    (tmp_path / "url").write_text("postgresql://keyturn@db/keys\n")
    (tmp_path / "password").write_text("hun#ter2\n")
    monkeypatch.setenv("KEYTURN_TRIAL_FILE", str(tmp_path / "url"))
    monkeypatch.setenv("KEYTURN_WORD_FILE", str(tmp_path / "password"))
    found = env.database("KEYTURN_TRIAL", "", password="KEYTURN_WORD")
    assert (found["NAME"], found["PASSWORD"]) == ("keys", "hun#ter2")


def test_a_secret_stands_in_one_place(given, monkeypatch, tmp_path):
    (tmp_path / "word").write_text("postgresql://keyturn:other@db/keys")
    monkeypatch.setenv("KEYTURN_WORD_FILE", str(tmp_path / "word"))
    given("postgresql://keyturn:one@db/keys")
    with pytest.raises(ImproperlyConfigured, match="KEYTURN_WORD_FILE"):
        env.database("KEYTURN_TRIAL", "", password="KEYTURN_WORD")
    monkeypatch.setenv("KEYTURN_TRIAL_FILE", str(tmp_path / "word"))
    with pytest.raises(ImproperlyConfigured, match="KEYTURN_TRIAL_FILE"):
        env.database("KEYTURN_TRIAL", "")


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe"])
def test_a_file_without_a_secret_is_named_with_its_variable(monkeypatch, tmp_path, content):
    if content is not None:
        (tmp_path / "url").write_bytes(content)
    monkeypatch.setenv("KEYTURN_TRIAL_FILE", str(tmp_path / "url"))
    with pytest.raises(ImproperlyConfigured, match="KEYTURN_TRIAL_FILE"):
        env.database("KEYTURN_TRIAL", "sqlite:////tmp/db")


@pytest.mark.parametrize(
    "text", ["12345678901", "1234567890123", "12345678901x", "-12345678901", "\uff11" * 12]
)
def test_digits_of_another_length_or_none_name_their_variable(given, text):
    given(text)
    with pytest.raises(ImproperlyConfigured, match="KEYTURN_TRIAL has 12 or 16 digits"):
        env.digits("KEYTURN_TRIAL", lengths=(12, 16))


def test_digits_of_a_right_length_are_kept_as_they_are(given):
    given(" 000000000012 ")
    assert env.digits("KEYTURN_TRIAL", lengths=(12, 16)) == "000000000012"
