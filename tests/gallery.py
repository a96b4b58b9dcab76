"""A site with a secret in every state, and every screen of it, for pictures and for axe.

Rows stand in the database as their writers leave them; no host is talked to.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.core.wsgi import get_wsgi_application
from django.db import connections
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Browser, BrowserContext, Page, Response

from console.process import heartbeats
from rotation import instance_checks, leases, reasons, runs
from rotation.bulk import bulk_actions
from rotation.connectors import base
from rotation.inventory import identities
from rotation.managed import credential_state, deletion, dependants
from rotation.models import BulkAction, Instance, ManagedAccount, Run, Schedule
from secrets_app.crypto import key_pairs
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.keys import key_states, rewraps
from secrets_app.models import AuditEvent, Key, Secret, User
from secrets_app.secrets import versions
from tests import (
    clients,  # noqa: F401  # the test client's cookie
    factories,
    gallery_access,
    gallery_dialogs,
    gallery_generic,
    gallery_settings,
)
from tests.chromium import PATH as CHROMIUM  # noqa: F401  # of who skips without it
from tests.waiting import PATIENCE

NAMES = (
    "web/deploy",
    "web/nginx",
    "db/dba",
    "db/backup",
    "edge/admin",
    "ci/runner",
    "mail/postfix",
    "erp/batch",
)
OUTCOMES = (("succeeded", "", ""), ("failed", "old", "policy"), ("blocked", "", "host_key_changed"))


@dataclass(frozen=True)
class Screen:
    """One page, or one dialog as the page that it also is, or what a press on the page opens."""

    name: str
    path: str
    press: gallery_dialogs.Press | None = None

    def open(self, page: Page) -> Response | None:
        answer = page.goto(self.path)
        if self.press is not None:
            self.press(page)
        return answer


def seed() -> User:
    """Fill the database; return who looks at it."""
    factories.once(_seed, "gallery")
    return User.objects.get(username="ann")


def _seed() -> None:
    viewer = factories.user("ann", "administrators")
    region = factories.region()
    credential = factories.credential()
    servers = [
        factories.instance(region=region, credential=credential, name=name)
        for name in ("web-01", "db-01", "edge-01", "ci-01")
    ]
    for server, state in zip(servers, Instance.State, strict=False):
        Instance.objects.filter(pk=server.pk).update(state=state, last_contact_at=timezone.now())
    _change_host_key(servers[2])
    _windows()
    factories.instance(region=region, credential=credential, name="new-01", approved=False)
    made = [
        factories.secret(
            instance=servers[n % len(servers)],
            username=name.partition("/")[2],
            name=name,
            initial="an-initial-value-1" if n % 2 else None,
            tags={"team": "platform"} if n < 2 else None,
        )
        for n, name in enumerate(NAMES)
    ]
    for number, secret in enumerate(made):
        _history(secret, number)
    _states(made)
    _earlier_value(made[1])
    _key_pair(servers[0])
    _purged(servers[1])
    _decisions(servers[0])
    gallery_access.seed()
    gallery_settings.seed()
    _keys(servers[1])
    _bulk(made, viewer)


def _windows() -> None:
    """An instance with a certificate that waits for its comparison."""
    shown = base.HostKey("x509", "MIIB", "0A1B" * 16)
    windows = {"wire": "winrm", "os": "windows", "port": 5986}
    factories.instance(name="win-01", keys=[shown], approved=False, **windows)
    _dependants(factories.instance(name="win-02", keys=[shown], **windows))


def _dependants(server: Instance) -> None:
    """What runs as a Windows account: chosen and updated, failed, gone, left alone, and new."""
    secret = factories.windows_secret(instance=server, failed=["Contoso Backup Agent"])
    actor, account = factories.administrator(), secret.managed
    named = [("service", "Contoso Backup Agent"), ("task", "\\Jobs\\Nightly report"), ("pool", "Shop")]
    dependants.note(account, base.Facts(dependants=(base.Dependant("service", "Legacy Sync"),)))
    dependants.choose(secret, [*named, ("task", "\\Jobs\\Old export")], actor=actor, restarts=True)
    rows = {row.name: row for row in account.dependants.all()}
    dependants.settle([rows["\\Jobs\\Nightly report"], rows["Shop"]], "done", "", "It has the current value.")
    gone = reasons.sentence("dependant_gone")
    dependants.settle([rows["\\Jobs\\Old export"]], "gone", "dependant_gone", gone)
    new = base.Dependant("service", "Queue Worker", is_running=True)
    shown = tuple(base.Dependant(row.kind, row.name) for row in rows.values())
    dependants.note(account, base.Facts(dependants=(new, *shown)))


def _keys(server: Instance) -> None:
    """A key that is disabled, one that is to be destroyed, one whose values are being moved."""
    actor = factories.administrator()
    made = {
        name: key_states.create(f"team/{name}", description="For the team", actor=actor)
        for name in ("payments", "retired", "moving")
    }
    for number, name in enumerate(("payments", "moving")):
        factories.settle(
            factories.secret(
                instance=server,
                username=f"pay{number}",
                name=f"pay/{name}",
                initial="an-initial-value-1",
                key=made[name],
            )
        )
    key_states.disable(made["payments"], actor=actor)
    key_states.plan_destruction(made["retired"], days=7, actor=actor)
    for _ in range(2):
        key_states.new_version(made["moving"], actor=actor)
    old = made["moving"].versions.get(number=2)
    key_states.plan_destruction(made["moving"], days=30, actor=actor, version=old)
    rewraps.start(made["moving"], made["moving"], actor=actor)


def _bulk(made: list[Secret], viewer: User) -> None:
    """Background actions that have ended: a bell that polls would disturb tests that wait for other polls."""
    actor = viewer.principal
    secrets = [*made[:4], *made[6:], factories.generic_secret(name="api/token")]
    first = bulk_actions.start("rotate", [one.pk for one in secrets], actor=actor, token="first")
    bulk_actions.carry(first.pk, wake=lambda run: None)
    for number, run in enumerate(Run.objects.filter(campaign=first.pk).order_by("created_at", "pk")):
        lease = leases.claim(run.pk, "worker-1/1/1")
        assert lease
        outcome, truth, code = OUTCOMES[number % 3]
        leases.end(lease, outcome, truth=truth, code=code, sentence="The host said so." if code else "")
    bulk_actions.settle()
    bulk_actions.note_seen(first)  # else the first look at it would change the bell on every page after
    tags = {"tags": {"env": "prod"}}
    second = bulk_actions.start("tag", [made[0].pk], actor=actor, token="second", choices=tags)
    bulk_actions.carry(second.pk, wake=lambda run: None)


def _decisions(server: Instance) -> None:
    """What waits for a person: a check to override, a value nobody can ask about, a host that drifted."""
    actor = factories.administrator()
    made = {
        name: factories.secret(
            instance=server, username=name, name=f"ask/{name}", initial="an-initial-value-1"
        )
        for name in ("blocked", "doubt", "drifted", "root", "gone")
    }
    for secret in made.values():
        factories.settle(secret)
    run = runs.start(made["blocked"], actor=actor, is_leak=True)
    _end(run, "blocked", code="must_change", sentence="The account must change its password first.")
    run = runs.start(made["doubt"], actor=actor)
    lease = leases.claim(run.pk, "worker-1/1/1")
    assert lease
    held = versions.Value("doubt", password=Plaintext("a-second-value-1"))
    version = versions.stage(made["doubt"], held, origin="generated", actor=actor)
    leases.hold(lease, version=version, attempts=1)
    versions.mark_offered(version)
    leases.end(lease, "failed", truth="unknown", code="unknown", sentence="The connection broke.")
    Credential = ManagedAccount.Credential
    credential_state.note(made["doubt"].managed, Credential.UNVERIFIED, "The connection broke.", "unknown")
    told = f"{reasons.sentence('changed_outside')} No kept value works there."
    credential_state.note(made["drifted"].managed, Credential.OUT_OF_SYNC, told, "changed_outside")
    credential_state.note(made["gone"].managed, Credential.GONE, "ann: the instance is gone.", "gone")
    ManagedAccount.objects.filter(secret=made["root"]).update(
        credential=Credential.IN_SYNC, ends_sessions=True, drift_checked_at=timezone.now()
    )
    ended = runs.drift(made["root"], actor=actor)
    _end(ended, "succeeded")
    look = instance_checks.check_account(server, "deploy", "password", actor=actor)
    _end(look, "blocked", code="locked", sentence="The account has no usable password.")


def _end(run: Run, outcome: str, **said: str) -> None:
    lease = leases.claim(run.pk, "worker-1/1/1")
    assert lease
    leases.end(lease, outcome, **said)


def _earlier_value(secret: Secret) -> None:
    """A second value, so that there is one to go back to."""
    new = versions.Value(secret.managed.username, password=Plaintext("a-second-value-1"))
    actor = factories.administrator()
    versions.promote(versions.stage(secret, new, origin="generated", actor=actor))


def _key_pair(server: Instance) -> None:
    initial = key_pairs.generate("ed25519").private_key.reveal()
    made = factories.secret(
        instance=server,
        username="git",
        name="web/git",
        kind="key_pair",
        key_algorithm="ed25519",
        initial=initial,
    )
    factories.settle(made)


def _purged(server: Instance) -> None:
    made = factories.secret(instance=server, username="gone", name="db/gone", initial="an-initial-value-1")
    factories.settle(made)
    deletion.purge(made, actor=factories.administrator(), reason="Server retired")


def _change_host_key(server: Instance) -> None:
    run = instance_checks.scan(server, actor=factories.administrator())
    Run.objects.filter(pk=run.pk).update(state="ended", outcome="succeeded", started_at=timezone.now())
    identities.see_host_keys(server, [base.HostKey("ssh-ed25519", "AAAAother", f"SHA256:{'x' * 43}")])


def _history(secret: Secret, number: int) -> None:
    """Rotations over a month, most of which succeeded."""
    factories.settle(secret)
    for day in range(number, 30, 3):
        run = runs.start(secret, actor=factories.administrator())
        lease = leases.claim(run.pk, "worker-1/1/1")
        assert lease
        for name in ("create", "preflight", "set"):
            leases.finish(lease, leases.begin(lease, name), "done", "The step was taken.")
        outcome, truth, code = OUTCOMES[day % 3 if day % 4 == 0 else 0]
        leases.end(lease, outcome, truth=truth, code=code, sentence="The host said so." if code else "")
        at = timezone.now() - timedelta(days=day, hours=number)
        Run.objects.filter(pk=run.pk).update(created_at=at, started_at=at, ended_at=at + timedelta(seconds=2))


def _states(made: list[Secret]) -> None:
    now = timezone.now()
    for number, (secret, state) in enumerate(zip(made, ManagedAccount.Credential, strict=False)):
        ManagedAccount.objects.filter(secret=secret).update(
            credential=state, verified_at=now, rotated_at=now - timedelta(days=number * 9)
        )
        Schedule.objects.filter(secret=secret).update(
            is_on=number % 4 != 3,
            period=timedelta(days=(7, 30, 60, 90)[number % 4]),
            next_at=now + timedelta(days=number * 3 - 2),
        )
    Schedule.objects.filter(secret=made[1]).update(
        cron="0 2 * * 0", zone="Europe/Berlin", jitter=timedelta(minutes=10), period=timedelta(days=7)
    )
    Secret.objects.filter(pk=made[-1].pk).update(
        deletion_planned_at=now, deletion_due_at=now + timedelta(days=4), deletion_reason="Server retired"
    )
    runs.start(made[4], actor=factories.administrator())


def screens() -> list[Screen]:
    """Every screen of the seeded site, for an administrator; some rows are made here."""
    gallery_generic.seed()
    gallery_dialogs.seed(User.objects.get(username="ann"))
    secret, instance = Secret.objects.get(name__endswith="web/deploy"), Instance.objects.get(name="edge-01")
    failed = Run.objects.filter(outcome="failed").earliest("created_at")
    active = Run.objects.active().filter(kind="rotate").earliest("created_at")
    full, keys, pending, gone = (
        f"/main/secrets/{Secret.objects.get(name__endswith=name).pk}/"
        for name in ("web/nginx", "web/git", "erp/batch", "db/gone")
    )
    blocked, doubt, drifted, root, vanished = (
        f"/main/secrets/{Secret.objects.get(name=f'acs/ecs/ask/{name}').pk}/"
        for name in ("blocked", "doubt", "drifted", "root", "gone")
    )
    default, disabled, retired, moving = (
        f"/keys/{Key.objects.get(alias=alias).pk}/"
        for alias in ("keyturn/default", "team/payments", "team/retired", "team/moving")
    )
    stopped, looked = Run.objects.get(code="must_change"), Run.objects.get(username="deploy")
    web = f"/main/instances/{Instance.objects.get(name='web-01').pk}/"
    earlier = Secret.objects.get(name__endswith="web/nginx").labelled("previous")
    assert earlier
    windows = Instance.objects.get(name="win-01")
    win = f"/main/instances/{windows.pk}/"
    depended = f"/main/secrets/{Secret.objects.get(managed__instance__name='win-02').pk}/"
    one, host = f"/main/secrets/{secret.pk}/", f"/main/instances/{instance.pk}/"
    ended = AuditEvent.objects.filter(action="kms:RotationEnded").latest("sequence")
    paths = {
        "overview": "/all/overview/", "get-started": "/get-started/", "secrets": "/all/secrets/",
        "secrets-none": "/all/secrets/?q=nothing-like-it", "secret": one,
        "secret-versions": f"{one}?tab=versions", "secret-history": f"{one}?tab=history",
        "secret-rotate": f"{one}rotate/", "secret-value": f"{one}value/",
        "secret-tags": f"{full}?tab=tags", "secret-full": full,
        "secret-full-versions": f"{full}?tab=versions", "secret-reveal": f"{full}value/",
        "secret-edit": f"{full}edit/", "secret-schedule": f"{full}schedule/",
        "secret-delete": f"{full}delete/",
        "secret-rotate-back": f"{full}versions/{earlier.pk}/rotate-back/",
        "secret-keys": keys, "secret-keys-rotate": f"{keys}rotate/", "secret-keys-value": f"{keys}value/",
        "secret-pending": pending, "secret-restore": f"{pending}restore/", "secret-purged": gone,
        "secrets-deleted": "/all/secrets/?status=deleted",
        "secret-create": "/main/secrets/create/", "secret-create-region": "/all/secrets/create/",
        "instances": "/all/instances/", "instance": host, "instance-edit": f"{host}edit/",
        "instance-approve": f"{host}approve/", "instance-attach": f"{host}attach/",
        "instance-register": "/main/instances/register/", "rotations": "/all/rotations/",
        "run-failed": f"/main/rotations/{failed.pk}/", "run-active": f"/main/rotations/{active.pk}/",
        "credentials": "/credentials/", "credential-create": "/credentials/create/",
        "credential": f"/credentials/{instance.credential_id}/", "change-password": "/change-password/",
        "sign-out": "/sign-out/",
        "run-blocked": f"/main/rotations/{stopped.pk}/",
        "run-override": f"/main/rotations/{stopped.pk}/override/",
        "run-look": f"/main/rotations/{looked.pk}/", "secret-blocked": blocked, "secret-doubt": doubt,
        "secret-resolve": f"{doubt}resolve/", "secret-drifted": drifted,
        "secret-reconcile": f"{drifted}reconcile/", "secret-options": f"{root}edit/", "secret-root": root,
        "secret-gone": vanished, "instance-own-login": f"{web}own-login/",
        "audit": "/audit/", "audit-none": "/audit/?actor=nobody-like-it",
        "audit-event": f"/audit/{ended.pk}/",
        "audit-look-up": "/audit/look-up/", "secret-audit": f"{full}?tab=audit",
        "keys": "/keys/", "key-create": "/keys/create/", "key": default,
        "key-disable": f"{default}disable/", "key-rewrap": f"{default}rewrap/", "key-disabled": disabled,
        "key-retired": retired, "key-moving": moving, "key-destroy": f"{moving}destroy/",
        "secret-key-away": f"/main/secrets/{Secret.objects.get(name__endswith='pay/payments').pk}/",
        "bulk-actions": "/background/",
        "bulk-action": f"/background/{BulkAction.objects.get(token='first').pk}/",
        "secret-dependants": depended, "secret-dependants-choice": f"{depended}dependants/",
        "secret-dependants-retry": f"{depended}dependants/retry/",
        "windows": win, "windows-approve": f"{win}approve/",
        "windows-credential": f"/credentials/{windows.credential_id}/",
        "help": "/help/", "help-screens": "/help/screens/", "help-actions": "/help/actions/",
        "help-new": "/help/new/", "help-found": "/help/?q=rotate+immediately",
        "not-found": "/nowhere/",
    }  # fmt: skip
    paths |= gallery_access.paths() | gallery_generic.paths() | gallery_settings.paths()
    paths |= gallery_dialogs.paths()
    pressed = [Screen(name, *how) for name, how in gallery_dialogs.pressed().items()]
    return [*(Screen(name, path) for name, path in paths.items()), *pressed]


@contextlib.contextmanager
def serve() -> Iterator[str]:
    """Serve this process's database on a port of its own; yields the address."""
    server = ThreadedWSGIServer(("127.0.0.1", 0), _Quiet, connections_override={})
    server.set_app(StaticFilesHandler(get_wsgi_application()))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://localhost:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
        connections.close_all()


class _Quiet(WSGIRequestHandler):
    def log_message(self, *args: object) -> None:
        """Say nothing: what a page answers is looked at by whoever asked."""


def signed_in(browser: Browser, address: str, cookie: str, *, scheme: str, width: int) -> BrowserContext:
    """A browser window of a person whose session is `cookie`."""
    context = browser.new_context(
        color_scheme=scheme,  # type: ignore[arg-type]
        viewport={"width": width, "height": 900},
        base_url=address,
    )
    be_patient(context)
    context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": cookie, "url": address}])
    return context


def be_patient(context: BrowserContext) -> None:
    """Give every step the suite's patience, and leave toasts until they are closed.

    Playwright's own is 30 s, and a machine that does much else may show a page for the first time when the
    eight seconds of its toast are over.
    """
    context.set_default_timeout(PATIENCE * 1000)
    context.add_init_script(
        "const later = window.setTimeout.bind(window);"
        "window.setTimeout = (what, ms, ...rest) => (ms === 8000 ? 0 : later(what, ms, ...rest));"
    )
    context.on("page", _go_when_history_is_settled)


def _go_when_history_is_settled(page: Page) -> None:
    """Have `goto` wait while a dialog's entry is taken back, which would abort it; links do by themselves."""
    go = page.goto

    def goto(url: str, **options: Any) -> Response | None:
        page.locator("html[data-going]").wait_for(state="detached")
        return go(url, **options)

    page.goto = goto  # type: ignore[method-assign]


def stay(page: Page, address: str, viewer: User) -> None:
    """Keep worker and beat present and the sign-in fresh; many pictures take longer than both last."""
    for process in ("worker", "beat"):
        heartbeats.show(process)
    page.context.add_cookies(
        [{"name": settings.SESSION_COOKIE_NAME, "value": session(viewer), "url": address}]
    )


def session(viewer: User) -> str:
    client = Client()
    client.force_login(viewer)
    return str(client.cookies[settings.SESSION_COOKIE_NAME].value)
