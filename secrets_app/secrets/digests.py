"""Digests that PostgreSQL makes of all the rows that decide about a read of a value.

One statement for many reads: each access key with its principal and what opens its secret, the rights of each
principal, all regions, each secret with its labels and versions. Every column counts, also one that is added
later, but for those that a read itself changes. Rows of one name are put in order by their contents, as an
array of texts, whose form leaves no doubt where one ends.
"""
# Names of tables and columns from the models, and no value, stand in the text of this statement.
# ruff: noqa: S608

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from django.contrib.auth.models import Group, Permission
from django.db import models

from secrets_app import prepared
from secrets_app.models import (
    AccessKey,
    Account,
    Attachment,
    GroupSeal,
    Key,
    KeyVersion,
    Label,
    Policy,
    Principal,
    Region,
    SealedValue,
    Secret,
    SecretGroupGrant,
    SecretPrincipalGrant,
    SecretVersion,
    User,
)


class LastRead(NamedTuple):
    """When a secret was read last, and by whom, as its row says."""

    at: datetime | None
    by: UUID | None


class Proof(NamedTuple):
    """That the rows behind one name have these contents."""

    kind: str  # key, rights, regions or secret
    name: str
    digest: bytes


def proofs(
    keys: Iterable[str], principals: Iterable[UUID], secrets: Sequence[tuple[UUID, str]]
) -> dict[Proof, LastRead]:
    """What is so now of these access keys by their ids, of these principals, and of these secrets.

    Secrets by region and name. And of the regions, always. There is no proof of what is not there. Beside it
    stands when a secret was read last, which a read changes and no digest is of.
    """
    regions, names = [region for region, _ in secrets], [name for _, name in secrets]
    rows = prepared.asked(_SQL, list(keys), list(principals), regions, names)
    return {Proof(kind, name, bytes(digest)): LastRead(at, by) for kind, name, digest, at, by in rows}


def _table(model: type[models.Model]) -> str:
    return f'"{model._meta.db_table}"'


def _row(model: type[models.Model], alias: str, *without: str) -> str:
    """All columns of a table, but for some, as one text."""
    names = [field.column for field in model._meta.concrete_fields if field.name not in without]
    columns = [f'{alias}."{name}"' for name in names]
    return f"ROW({', '.join(columns)})::text"


def _statement() -> str:
    members = Principal.groups.through
    owner = members._meta.get_field("principal").column
    keys = f"""
        SELECT 'key', a.key_id, ARRAY[{_row(AccessKey, "a")}, {_row(Principal, "p")}, {_row(User, "u")},
            {_row(SealedValue, "s")}, {_row(KeyVersion, "v")}, {_row(Key, "k")}]::text
        FROM {_table(AccessKey)} a JOIN {_table(Principal)} p ON p.id = a.principal_id
        LEFT JOIN {_table(User)} u ON u.id = p.user_id JOIN {_table(SealedValue)} s ON s.id = a.sealed_id
        JOIN {_table(KeyVersion)} v ON v.id = s.key_version_id JOIN {_table(Key)} k ON k.id = v.key_id
        WHERE a.key_id = ANY((SELECT keys FROM given)::text[])"""
    its = "ANY((SELECT principals FROM given)::uuid[])"
    member = f"{_table(members)} m JOIN {_table(Group)} g ON g.id = m.group_id"
    attached = f"ARRAY['policy', {_row(Attachment, 't')}, {_row(Policy, 'y')}]::text"
    policy = f"JOIN {_table(Policy)} y ON y.id = t.policy_id"
    permission = f"JOIN {_table(Permission)} c ON c.id = t.permission_id"
    granted = {
        table: f"ARRAY['grant', {_row(table, 't')}, c.codename]::text"
        for table in (SecretPrincipalGrant, SecretGroupGrant)
    }
    rights = [
        f"SELECT 'rights', p.id::text, {_row(Principal, 'p')} FROM {_table(Principal)} p WHERE p.id = {its}",
        f"""SELECT 'rights', m.{owner}::text, ARRAY['group', g.id::text, g.name, {_row(GroupSeal, "x")}]::text
            FROM {member} LEFT JOIN {_table(GroupSeal)} x ON x.group_id = g.id WHERE m.{owner} = {its}""",
        f"""SELECT 'rights', t.principal_id::text, {attached} FROM {_table(Attachment)} t {policy}
            WHERE t.principal_id = {its}""",
        f"""SELECT 'rights', m.{owner}::text, {attached} FROM {member}
            JOIN {_table(Attachment)} t ON t.group_id = g.id {policy} WHERE m.{owner} = {its}""",
        f"""SELECT 'rights', t.principal_id::text, {granted[SecretPrincipalGrant]}
            FROM {_table(SecretPrincipalGrant)} t {permission} WHERE t.principal_id = {its}""",
        f"""SELECT 'rights', m.{owner}::text, {granted[SecretGroupGrant]} FROM {member}
            JOIN {_table(SecretGroupGrant)} t ON t.group_id = g.id {permission} WHERE m.{owner} = {its}""",
    ]
    regions = f"""
        SELECT 'regions', '', ARRAY[{_row(Region, "r")}, {_row(Account, "n")}]::text
        FROM {_table(Region)} r JOIN {_table(Account)} n ON n.id = r.account_id"""
    wanted = f"""wanted w JOIN {_table(Secret)} s
        ON s.region_id = w.region AND s.name = w.name AND s.purged_at IS NULL"""
    secret = f"""
        SELECT 'secret', w.region || '/' || w.name, {_row(Secret, "s", "last_read_at", "last_read_by")},
            s.last_read_at, s.last_read_by_id
        FROM {wanted}"""
    labels = f"""
        SELECT 'secret', w.region || '/' || w.name, ARRAY[{_row(Label, "l")}, {_row(SecretVersion, "v")},
            {_row(SealedValue, "x", "ciphertext")}, sha256(x.ciphertext)::text,
            {_row(KeyVersion, "k")}, {_row(Key, "y")}]::text
        FROM {wanted} JOIN {_table(Label)} l ON l.secret_id = s.id
        JOIN {_table(SecretVersion)} v ON v.id = l.version_id
        LEFT JOIN {_table(SealedValue)} x ON x.id = v.sealed_id
        LEFT JOIN {_table(KeyVersion)} k ON k.id = x.key_version_id
        LEFT JOIN {_table(Key)} y ON y.id = k.key_id"""
    others = "\nUNION ALL ".join([keys, *rights, regions, labels])
    return f"""
        WITH given AS MATERIALIZED (SELECT %s::text[] AS keys, %s::uuid[] AS principals),
        wanted AS MATERIALIZED (SELECT * FROM unnest(%s::uuid[], %s::text[]) AS u(region, name))
        SELECT kind, name, sha256(convert_to(array_agg(part ORDER BY part)::text, 'UTF8')), max(read_at),
            (array_agg(read_by) FILTER (WHERE read_by IS NOT NULL))[1]
        FROM (
            {secret} UNION ALL
            SELECT kind, name, part, NULL, NULL FROM ({others}) AS others(kind, name, part)
        ) AS parts(kind, name, part, read_at, read_by)
        GROUP BY kind, name"""


_SQL: Final = _statement()
