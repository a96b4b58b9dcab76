"""Settings, once, for every place Keyturn runs in; the defaults are production's.

Everything that differs between two installations is read from the environment here and nowhere else.
"""

from __future__ import annotations

import os
import tomllib
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from urllib.parse import quote, urlsplit

from django.core.exceptions import ImproperlyConfigured

from console import env, mail_settings, metrics_settings, openid_settings
from secrets_app.crypto import key_files, key_pairs

BASE_DIR = Path(__file__).resolve().parent.parent
# Of Keyturn: pyproject.toml is its one home.
with (BASE_DIR / "pyproject.toml").open("rb") as file:
    PRODUCT_VERSION = str(tomllib.load(file)["project"]["version"])
HOME = Path.home()

# ---------------------------------------------------------------- where things are

DATA_DIR = env.path(
    "KEYTURN_DATA", Path(os.environ.get("XDG_DATA_HOME") or HOME / ".local/share") / "keyturn"
)
# Apart from the data folder: who copies the one must not have the other.
ROOT_KEY_FILE = env.path(
    "KEYTURN_ROOT_KEY_FILE",
    Path(os.environ.get("XDG_CONFIG_HOME") or HOME / ".config") / "keyturn" / "root.key",
)
# Where the root key is (`secrets_app.root_keys.addresses`); "file:" is the file above.
ROOT_KEY = env.root_key("KEYTURN_ROOT_KEY", "file:")
# These make and prove the audit trail; a process that only writes the database must not have them.
AUDIT_KEY_FILE = env.path("KEYTURN_AUDIT_KEY_FILE", ROOT_KEY_FILE.with_name("audit.key"))
SEAL_KEY_FILE = env.path("KEYTURN_SEAL_KEY_FILE", ROOT_KEY_FILE.with_name("seal.key"))
CHECKPOINT_KEY_FILE = env.path("KEYTURN_CHECKPOINT_KEY_FILE", ROOT_KEY_FILE.with_name("checkpoint.key"))
AUDIT_EXPORT_FILE = env.path("KEYTURN_AUDIT_EXPORT_FILE", DATA_DIR / "audit-checkpoints.jsonl")
# A writer of the database who has this key too can forge a session.
SECRET_KEY_FILE = env.path("KEYTURN_SECRET_KEY_FILE", ROOT_KEY_FILE.with_name("session.key"))
# Each backup is encrypted to these age public keys; without one, none is taken.
BACKUP_RECIPIENTS = env.words("KEYTURN_BACKUP_RECIPIENTS", "")
BACKUP_FOLDER = env.path("KEYTURN_BACKUP_FOLDER", DATA_DIR / "backups")
BACKUP_KEEP = env.number("KEYTURN_BACKUP_KEEP", 14, least=1, most=1000)
PUBLIC_URL = env.url("KEYTURN_PUBLIC_URL", "https://localhost", schemes=("http", "https"))


def _secret_key() -> str:
    """Django's key: sessions and CSRF tokens only, never a secret's value. `up` makes the file."""
    if SECRET_KEY_FILE.exists():
        try:
            return key_files.read_private(SECRET_KEY_FILE)
        except key_files.Unreadable as error:
            raise ImproperlyConfigured(str(error)) from None
    # Without the file every process has a key of its own: nothing breaks, but no user stays signed in.
    return os.urandom(48).hex()


SECRET_KEY = _secret_key()
DEBUG = False
ALLOWED_HOSTS = env.words(
    "KEYTURN_HOSTS", ",".join({urlsplit(PUBLIC_URL).hostname or "", "localhost", "127.0.0.1"})
)

# ---------------------------------------------------------------- what it is made of

INSTALLED_APPS = [
    "console.apps.ConsoleConfig",
    "rotation.apps.RotationConfig",
    "secrets_app.apps.SecretsConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.socialaccount",
    "allauth.usersessions",
    "guardian",
    "django_htmx",
    "lucide",
]

# Where traces are sent: a collector of OpenTelemetry's, by OTLP over HTTP.
OTLP = env.optional_url("KEYTURN_OTLP", schemes=("http", "https"))
MIDDLEWARE = [
    "console.interfaces.alibaba.door.OnlyTls",
    "django.middleware.security.SecurityMiddleware",
    "console.middleware.SecurityHeaders",
    "console.middleware.RequestId",
    *(["console.process.traces.Requests"] if OTLP else []),
    "console.middleware.Probes",
    "console.interfaces.aws.door.Door",
    "console.interfaces.alibaba.door.Door",
    "console.readable.Readable",
    "console.compression.Compression",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "console.middleware.SealedMode",
    "console.sessions.store.Sessions",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "console.sessions.expiry.SessionLimits",
    "console.sign_in.known_devices.Remember",
    "console.middleware.RequestContext",
    "console.middleware.FirstPassword",
    "console.middleware.LinkFirst",
    "console.middleware.SecondFactor",
]

ROOT_URLCONF = "console.urls"
WSGI_APPLICATION = "console.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "OPTIONS": {
            "loaders": [
                (
                    "django.template.loaders.cached.Loader",
                    ["console.template_files.Loader", "django.template.loaders.app_directories.Loader"],
                )
            ],
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "console.context.layout",
            ],
            "builtins": [
                "django_htmx.templatetags.django_htmx",
                "lucide.templatetags.lucide",
                "console.templatetags.console",
            ],
        },
    }
]

# ---------------------------------------------------------------- the store

DATABASES = {
    "default": env.database(
        "KEYTURN_DATABASE_URL",
        f"sqlite://{quote(str(DATA_DIR / 'keyturn.sqlite3'))}",
        password="KEYTURN_DATABASE_PASSWORD",
    )
}
IS_SQLITE = DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3"
if IS_SQLITE:
    # Deferred transactions answer "database is locked" as soon as two processes write; immediate ones wait.
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; "
        # A destroyed value leaves its bytes in no free page of the file.
        "PRAGMA secure_delete=ON;",
    }
    DATABASES["default"]["CONN_MAX_AGE"] = 60
else:
    DATABASES["default"]["CONN_MAX_AGE"] = 60
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
ATOMIC_REQUESTS = False

# Where each value is written before a host is told it; the empty text for nowhere.
JOURNAL = env.journal("KEYTURN_JOURNAL", DATABASES["default"])
JOURNAL_REQUIRED = env.flag("KEYTURN_JOURNAL_REQUIRED", True)
JOURNAL_PASSWORD_FILE = env.optional_path("KEYTURN_JOURNAL_PASSWORD_FILE")

BROKER_URL = env.secret_url(
    "KEYTURN_BROKER_URL", "embedded://localhost", schemes=("embedded", "redis", "rediss")
)
# Not Redis, and not Django's table: both unpickle what they read, before any user has signed in.
CACHES = {"default": {"BACKEND": "console.cache.Cache"}}

# ---------------------------------------------------------------- where instances may be

# What is near to this machine alone (loopback, link-local) is open only where a network in it is named.
ALLOWED_NETWORKS = env.networks("KEYTURN_ALLOWED_NETWORKS", "0.0.0.0/0,::/0")
FORBIDDEN_NETWORKS = env.networks("KEYTURN_FORBIDDEN_NETWORKS", "")  # these win
DEMO_NETWORKS = ("127.64.0.0/10", "127.128.0.0/10")  # of the demo's hosts
if env.flag("KEYTURN_DEMO", False):  # `up` says so
    ALLOWED_NETWORKS += tuple(ip_network(text) for text in DEMO_NETWORKS)
# Never an instance's, even in an allowed network. The last is the name of web in docker-compose.yml.
OWN_SERVICES = (*env.services(DATABASES["default"], BROKER_URL, PUBLIC_URL, JOURNAL, OTLP), ("web", 8000))

# Webhooks lead to public addresses over https. These networks of one's own are open to them too, also without
# TLS; where hosts are named, only to those.
WEBHOOK_NETWORKS = env.networks("KEYTURN_WEBHOOK_NETWORKS", "")
WEBHOOK_HOSTS = env.words("KEYTURN_WEBHOOK_HOSTS", "")

# None where no mail server is configured: then nothing is sent.
MAIL = mail_settings.read()
# None where no port is configured: then no metrics are served.
METRICS = metrics_settings.read()

# ---------------------------------------------------------------- people

AUTH_USER_MODEL = "secrets_app.User"
AUTHENTICATION_BACKENDS = ["console.sign_in.backends.Backend"]
# Not its backend: `policies.decide` alone says what is allowed, and reads grants as one of its sources.
ANONYMOUS_USER_NAME = None
GUARDIAN_MONKEY_PATCH_USER = False
PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "home"
ACCOUNT_ADAPTER = "console.sign_in.adapters.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"username"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
# Other sessions end even so: each holds a hash of the password it was opened with.
ACCOUNT_LOGOUT_ON_PASSWORD_CHANGE = False
ACCOUNT_PRESERVE_USERNAME_CASING = True
ACCOUNT_SESSION_REMEMBER = False
# Failed ones: ten a minute from one address, five in five minutes at one name; counted before any hashing.
# And two passwords a second of all users together: hashing costs more than asking. One network may use up a
# third of that, right passwords included. A browser in which the user has signed in before is counted
# separately, five failures in five minutes; "login" would count it with its neighbours.
# And so many round trips to an identity provider: each sends requests to another company's machine.
ACCOUNT_RATE_LIMITS = {
    "login_failed_here": "10/m/ip",
    "login_failed": "5/300s/key",  # a second factor counts by this too, after the right password
    "login_failed_device": "5/300s/key",
    "passwords_of_one": "40/m/key",
    "passwords_of_all": "120/m/key",
    "login": None,
    "openid": "60/m/ip",
    "test_mail": "5/600s/user",  # each one is a message that a server of others takes
}
ACCOUNT_REAUTHENTICATION_TIMEOUT = 300
ACCOUNT_FORMS = {"change_password": "console.forms.account.password.ChangePassword"}

MFA_ADAPTER = "console.sign_in.adapters.MfaAdapter"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_FORMS = {
    "add_webauthn": "console.forms.account.second_factor.AddPasskey",
    "activate_totp": "console.forms.account.second_factor.ActivateTotp",
    "authenticate": "console.forms.account.second_factor.Authenticate",
    "authenticate_webauthn": "console.forms.account.second_factor.AuthenticatePasskey",
    "reauthenticate": "console.forms.account.second_factor.Reauthenticate",
    "reauthenticate_webauthn": "console.forms.account.second_factor.ReauthenticatePasskey",
}
MFA_TOTP_ISSUER = "Keyturn"
MFA_TOTP_TOLERANCE = 1  # a phone's clock may be half a minute off
MFA_RECOVERY_CODE_DIGITS = 12
# Administrators open nothing before they have a second factor; without it they may postpone one.
REQUIRE_MFA = env.flag("KEYTURN_REQUIRE_MFA", False)

# None where no identity provider is configured: then nothing of it is there.
OIDC = openid_settings.read()
SOCIALACCOUNT_ADAPTER = "console.sign_in.openid_adapter.IdentityAdapter"
# An identity signs in only if an invitation or the user's own session linked it; never by an e-mail address.
SOCIALACCOUNT_AUTO_SIGNUP = False
SOCIALACCOUNT_EMAIL_AUTHENTICATION = False
SOCIALACCOUNT_EMAIL_AUTHENTICATION_AUTO_CONNECT = False
SOCIALACCOUNT_LOGIN_ON_GET = False
SOCIALACCOUNT_STORE_TOKENS = False
SOCIALACCOUNT_REQUESTS_TIMEOUT = 5  # seconds, for each thing that a provider is asked

SESSION_ENGINE = "console.sessions.store"
SESSION_COOKIE_NAME = "keyturn_session"
SESSION_COOKIE_AGE = int(timedelta(hours=12).total_seconds())
SESSION_EXPIRE_AT_BROWSER_CLOSE = True
SESSION_IDLE = timedelta(minutes=env.number("KEYTURN_IDLE_MINUTES", 15, least=2, most=720))

# ---------------------------------------------------------------- the wire

# Browsers keep Secure cookies on http://localhost too, so there is no weaker setting for a trial.
SESSION_COOKIE_SECURE = True
CSRF_COOKIE_SECURE = True
SESSION_COOKIE_HTTPONLY = True
CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_NAME = "keyturn_csrf"
CSRF_FAILURE_VIEW = "console.errors.csrf_failure"
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL]
IS_HTTPS = PUBLIC_URL.startswith("https://")
SECURE_SSL_REDIRECT = IS_HTTPS
SECURE_REDIRECT_EXEMPT = [r"^(livez|readyz|healthz)$"]
SECURE_HSTS_SECONDS = int(timedelta(days=365).total_seconds()) if IS_HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = IS_HTTPS
SECURE_HSTS_PRELOAD = IS_HTTPS
SECURE_REFERRER_POLICY = "no-referrer"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
if env.flag("KEYTURN_BEHIND_PROXY", False):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

# A request's head and body are here within so many seconds, or it is answered 408.
REQUEST_SECONDS = env.number("KEYTURN_REQUEST_SECONDS", 20, least=1, most=600)
# PostgreSQL ends a statement of a web process after so many seconds, and its page is answered 503.
STATEMENT_SECONDS = env.number("KEYTURN_STATEMENT_SECONDS", 20, least=1, most=600)

# ---------------------------------------------------------------- work

# Loaded with the tasks; most commands need neither.
TASK_APPLICATION = "console.celery.app"
CELERY_BROKER_URL = BROKER_URL
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 3600,
    # A broker that does not answer delays no caller for longer: the work to send stands in a row.
    "socket_connect_timeout": 2,
    "socket_timeout": 5,
}
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_SEND_TASK_EVENTS = False
CELERY_WORKER_ENABLE_REMOTE_CONTROL = False
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_SCHEDULER = "console.process.heartbeats.Scheduler"
# Beat only ticks, at once when it starts and then every few seconds: what is due stands in rows.
_AT_ONCE = {"last_run_at": datetime.fromtimestamp(0, UTC)}
CELERY_BEAT_SCHEDULE = {
    "do what is due": {"task": "rotation.tasks.tick", "schedule": 2.0, **_AT_ONCE},
    # At each start, even if the head was signed before: while Keyturn is stopped the trail can be cut.
    "sign the audit trail": {"task": "rotation.tasks.sign_audit_trail", "schedule": 3600.0, **_AT_ONCE},
}
PERIODIC_WORK = {
    "start due rotations": ("rotation.tasks.start_due", timedelta(seconds=2)),
    "find runs left behind": ("rotation.tasks.sweep", timedelta(seconds=10)),
    "look for an older database": ("rotation.tasks.look_for_restore", timedelta(seconds=10)),
    "sign a long tail": ("rotation.tasks.sign_long_tail", timedelta(seconds=10)),
    "keep replicas in step": ("rotation.tasks.keep_replicas", timedelta(seconds=10)),
    "start drift checks": ("rotation.tasks.start_drift_checks", timedelta(minutes=1)),
    "purge deleted secrets": ("rotation.tasks.purge_due", timedelta(minutes=1)),
    "record repeated refusals": ("rotation.tasks.record_refusals", timedelta(minutes=1)),
    "look after keys": ("rotation.tasks.look_after_keys", timedelta(minutes=1)),
    "back up": ("rotation.tasks.back_up", timedelta(minutes=10)),
    "check the seals of records": ("rotation.tasks.check_seals", timedelta(minutes=5)),
    "export checkpoints": ("rotation.tasks.sign_audit_trail", timedelta(hours=1)),
    "record what is late": ("console.notices.tasks.look", timedelta(minutes=1)),
    # The last one of a tick: a receiver that is slow keeps no other work waiting.
    "tell people": ("console.notices.tasks.tell", timedelta(seconds=2)),
}
BEAT_WATCH = "console.notices.tasks.watch_worker"  # what beat does when it has shown that it runs
WORKER_THREADS = env.number("KEYTURN_WORKER_THREADS", 8, least=1, most=200)
CELERY_WORKER_CONCURRENCY = WORKER_THREADS
# Processes that `up` starts. One Python process uses one core; a few more wait for the same database.
WORKERS = env.number("KEYTURN_WORKERS", min(4, os.cpu_count() or 1), least=1, most=32)
ALIVE_FILE = env.text("KEYTURN_ALIVE_FILE", "")  # touched with each heartbeat of a worker or beat
RUNS_PER_REGION = env.number("KEYTURN_RUNS_PER_REGION", 50, least=1, most=1000)  # under way at once
# Who fetched a key just before the new one became current may still be logging on with it.
KEY_OVERLAP = timedelta(milliseconds=env.number("KEYTURN_KEY_OVERLAP_MS", 500, least=0, most=5000))
LEASE = timedelta(seconds=60)  # longer than every deadline a step has
FAILED_LOGINS_APART = timedelta(minutes=5)  # of one account, which a host may count and lock it for
KEY_ALGORITHM = env.choice("KEYTURN_KEY_ALGORITHM", "rsa-2048", key_pairs.ALGORITHMS)  # preselected
REVEAL_REASON = env.choice("KEYTURN_REVEAL_REASON", "required", ("required", "optional"))
READS_AT_MOST = env.number("KEYTURN_READS_AT_MOST", 30, least=1, most=10_000)  # of one person, in 10 minutes
REGION_NAMES = env.pairs("KEYTURN_REGION_NAMES")  # what programs call a region, and its code here
# A name that no region has becomes a region when a program makes the first secret in it.
OPEN_REGIONS = env.flag("KEYTURN_OPEN_REGIONS", False)
# Of the account that the first set-up makes; drawn at random where none is given.
ACCOUNT_NUMBER = env.digits("KEYTURN_ACCOUNT", lengths=(12, 16))
# Calls of programs in a second: of values and what is known of one secret, and of all else.
API_READS = env.number("KEYTURN_API_READS", 450, least=1, most=100_000)
API_OTHERS = env.number("KEYTURN_API_OTHERS", 40, least=1, most=100_000)
API_KEY_READS = env.number("KEYTURN_API_KEY_READS", 300, least=1, most=100_000)
API_KEY_OTHERS = env.number("KEYTURN_API_KEY_OTHERS", 30, least=1, most=100_000)
CHECKS_AT_MOST = env.number(
    "KEYTURN_CHECKS_AT_MOST", 60, least=1, most=10_000
)  # by one person, in 10 minutes
RUN_PRUNE_VERSIONS = 10  # versions without a label that a secret keeps
DRIFT_EVERY = timedelta(days=1)  # each account is checked so often for changes outside Keyturn
SCHEDULE_FAILURES = 5  # failed rotations in a row after which a schedule stops and a person decides
FAILPOINTS_ALLOWED = False  # only the tests' settings say otherwise

# An uploaded file is a value: it is read in memory, never written to a folder; a large one is dropped.
FILE_UPLOAD_HANDLERS = ["django.core.files.uploadhandler.MemoryFileUploadHandler"]

# ---------------------------------------------------------------- words, time, files, logs

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False
STATIC_URL = "static/"
STATIC_ROOT = DATA_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}

LOG_FORMAT = env.choice("KEYTURN_LOG_FORMAT", "plain", ("plain", "json"))
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {
        "once": {"()": "console.process.logs.OncePerMinute"},
        "one_line": {"()": "console.process.logs.OneLine"},
    },
    "formatters": {
        "plain": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"},
        "json": {"()": "console.process.logs.as_json"},
    },
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "formatter": LOG_FORMAT,
            # JSON escapes what the other filter escapes, and has a field for a traceback.
            "filters": ["once", "one_line"] if LOG_FORMAT == "plain" else ["once"],
        }
    },
    "root": {"handlers": ["console"], "level": env.text("KEYTURN_LOG_LEVEL", "INFO")},
    "loggers": {
        "paramiko": {"level": "WARNING"},
        "fido2": {"level": "WARNING"},
        # What they write at DEBUG holds what a root key's service was sent, or what it answered.
        "boto3": {"level": "WARNING"},
        "botocore": {"level": "WARNING"},
        "urllib3": {"level": "WARNING"},
        "alibabacloud_credentials": {"level": "WARNING"},
        "apscheduler": {"level": "WARNING"},  # Alibaba's SDK refreshes its credentials by it
        # Its own handlers would mail a traceback with the values of variables.
        "django": {"handlers": [], "level": "INFO"},
        "django.request": {"level": "ERROR"},
        # A line for every tick of the schedule says nothing.
        "celery.beat": {"level": "WARNING"},
        "celery.worker.strategy": {"level": "WARNING"},
        "celery.app.trace": {"level": "WARNING"},
    },
}

# For every error reporter: it names places in the code, and shows no request data and no variables.
DEFAULT_EXCEPTION_REPORTER_FILTER = "console.process.error_reports.NothingHeld"

SILENCED_SYSTEM_CHECKS = [
    "auth.W004",  # the name is unique in any case, by a constraint on Lower(username)
    "guardian.W001",  # secrets_app.policy.decisions alone reads grants, and denies too; no backend adds to it
    "security.W002",  # X-Frame-Options comes from console.middleware.SecurityHeaders
]
