"""Scripts that run in a web container, and print one line of JSON. A value that they print goes by a pipe."""

START = """
import json, os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "console.settings"
import django
django.setup()
from django.db import transaction
from rotation import runs, tasks
from rotation.connectors.ssh.connector import SshScanner
from rotation.inventory import identities, instances, management
from rotation.managed import creation
from rotation.models import Instance, ManagedAccount, ManagementCredential, Run
from secrets_app import regions
from secrets_app.models import Principal, Secret
from secrets_app.people import users
from secrets_app.secrets import versions
actor = Principal.objects.filter(groups__name=users.ADMINISTRATORS).order_by("created_at").first()
region = regions.account().regions.order_by("created_at").first()
"""

CREDENTIAL = (
    START
    + """
made = management.create_credential(
    "Servers", "keyturn", sudo=ManagementCredential.Sudo.PASSWORDLESS, actor=actor
)
print(json.dumps(made.public_key))
"""
)

REGISTER = (
    START
    + """
credential = ManagementCredential.objects.get()
for name in ("host-a", "host-b"):
    with transaction.atomic():
        instance = instances.register(
            name, region=region, address=name, port=22, actor=actor, credential=credential
        )
        keys = SshScanner().scan(instances.place(instance), timeout=10)
        identities.see_host_keys(instance, keys)
        identities.approve_host_keys(instance, [key.fingerprint for key in keys], actor=actor)
    for account in ("app", "deploy", "dba"):
        creation.create(f"{name}-{account}", region=region, instance=instance, username=account, actor=actor)
print(json.dumps([str(region.code), *map(str, Secret.objects.values_list("pk", flat=True))]))
"""
)

ROTATE = (
    START
    + """
for secret in Secret.objects.all():
    with transaction.atomic():
        tasks.wake(runs.start(secret, actor=actor))
print(json.dumps(Run.objects.filter(kind=Run.Kind.ROTATE).count()))
"""
)

RUNS = (
    START
    + """
rotations = Run.objects.filter(kind=Run.Kind.ROTATE)
workers = {str(run.pk): run.worker.partition("/")[0] for run in rotations}
held = {str(pk) for pk in rotations.filter(state="running").values_list("pk", flat=True)}
print(json.dumps({"active": rotations.active().count(), "all": rotations.count(),
                  "succeeded": rotations.filter(outcome="succeeded").count(),
                  "held": {pk: worker for pk, worker in workers.items() if pk in held}, "last": workers,
                  "said": [run.sentence for run in rotations.exclude(outcome__in=["succeeded", ""])]}))
"""
)

VALUES = (
    START
    + """
found = []
for account in ManagedAccount.objects.select_related("secret", "instance"):
    value = versions.value(account.secret.labelled("current"))
    found.append([account.instance.name, account.username, value.password.reveal()])
print(json.dumps(found))
"""
)

#: In a host: whether each account's hash is that of the value that comes on standard input.
ACCEPTS = """
import crypt, json, spwd, sys
print(json.dumps([crypt.crypt(word, spwd.getspnam(user).sp_pwdp) == spwd.getspnam(user).sp_pwdp
                  for user, word in json.load(sys.stdin)]))
"""
