"""The journal in a store with the interface of Amazon S3, by Amazon's own SDK.

Each line is an object of its own, written only where none of its name is (`If-None-Match: *`): no line takes
the place of another one, however many processes write at the same time. The names count down, so the first
in the store's list is the newest. A command makes the object `journal`, and no rotation: a bucket that was
set up again has none, and is not taken for the journal. A store that overwrites in spite of the condition is
refused.

Source: Amazon S3 API reference, PutObject ("If-None-Match") and ListObjectsV2 (the list is in the order of
the bytes of UTF-8, and consistent with what was written before).
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from secrets_app.journal.places import Away, Written

SCHEME: Final = "s3://"
OPTIONS: Final = frozenset({"region", "endpoint", "ca-file"})
SECONDS: Final = 5.0  # to connect, and between two bytes
TRIES: Final = 50  # for a name that no other process has taken meanwhile
BATCH: Final = 200
AT_ONCE: Final = 8  # objects that are read at the same time
EXTRA: Final = (
    "Amazon's SDK is not installed. It needs requirements-root-keys.lock; ./keyturn installs it while "
    "KEYTURN_JOURNAL names it."
)
_HIGHEST: Final = 10**12
_TAKEN: Final = frozenset({"PreconditionFailed", "ConditionalRequestConflict"})


class ObjectJournal:
    """The objects below one prefix of a bucket: `s3://BUCKET/PREFIX?region=...&endpoint=https://...`.

    The SDK finds its credentials as it does everywhere: environment, profile, container, instance.
    """

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self._bucket, self._options = parts.netloc, dict(parse_qsl(parts.query))
        prefix = parts.path.strip("/")
        self._prefix = f"{prefix}/" if prefix else ""

    def __str__(self) -> str:
        return f"{SCHEME}{self._bucket}/{self._prefix}".rstrip("/")

    def make(self) -> None:
        with self._asked() as store:
            self._require_conditions(store)
            if not self._put(store, "journal", b""):
                raise Away(f"There is a credential journal in {self}.")

    def append(self, line: bytes) -> None:
        with self._asked() as store:
            newest = self._newest(store)
            first = (self._number(newest) if newest else 0) + 1
            for number in range(first, first + TRIES):
                if self._put(store, f"lines/{_HIGHEST - number:012d}", line):
                    return
        raise Away(f"The credential journal in {self} is written by too many at the same time.")

    def check(self) -> None:
        with self._asked() as store:
            self._newest(store)
            self._require_conditions(store)

    def lines(self) -> Iterator[bytes]:
        with self._asked() as store:
            self._newest(store)
            pages = store.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=f"{self._prefix}lines/"
            )
            names = [found["Key"] for page in pages for found in page.get("Contents", ())]
            with ThreadPoolExecutor(AT_ONCE) as pool:
                # A batch at a time: what is asked for all at once is kept in memory all at once.
                for end in range(len(names), 0, -BATCH):
                    batch = reversed(names[max(0, end - BATCH) : end])
                    yield from pool.map(functools.partial(self._get, store), batch)

    def written(self) -> Written:
        with self._asked() as store:
            newest = self._newest(store)
        return Written(None, newest["LastModified"] if newest else None)

    # ---------------------------------------------------------------- one request

    def _newest(self, store: Any) -> Any:
        """The newest line in the store's own words; None while there is none. Raises `Away`."""
        listed = store.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, MaxKeys=2)
        found = listed.get("Contents", [])
        if not found or found[0]["Key"] != f"{self._prefix}journal":
            raise Away(f"There is no credential journal in {self}. Run: journal init.")
        is_line = len(found) > 1 and found[1]["Key"].startswith(f"{self._prefix}lines/")
        return found[1] if is_line else None

    def _number(self, found: Any) -> int:
        try:
            return _HIGHEST - int(found["Key"].rpartition("/")[2])
        except ValueError:
            raise Away(f"The credential journal in {self} holds an object that is no line.") from None

    def _put(self, store: Any, name: str, text: bytes) -> bool:
        """Write an object where there is none of this name; say whether that was so."""
        from botocore.exceptions import ClientError

        try:
            store.put_object(Bucket=self._bucket, Key=self._prefix + name, Body=text, IfNoneMatch="*")
        except ClientError as error:
            if _code(error) in _TAKEN:
                return False
            raise
        return True

    def _get(self, store: Any, key: str) -> bytes:
        return bytes(store.get_object(Bucket=self._bucket, Key=key)["Body"].read())

    def _require_conditions(self, store: Any) -> None:
        """Return if the store refuses to overwrite. Two tries: the first one makes the object."""
        if self._put(store, "probe", b"") and self._put(store, "probe", b""):
            raise Away(
                f"{self} overwrites what is there: this store knows no conditional writes (If-None-Match), "
                "and a line could take the place of another one."
            )

    @contextmanager
    def _asked(self) -> Iterator[Any]:
        """A client; whatever fails then says which place, and what is known of why."""
        try:
            from botocore.exceptions import BotoCoreError, ClientError
        except ImportError:
            raise Away(EXTRA) from None
        try:
            yield _client(*(self._options.get(name) for name in ("region", "endpoint", "ca-file")))
        except ClientError as error:
            raise Away(
                f"The credential journal in {self} cannot be used (the store answered {_code(error)})."
            ) from None
        except (BotoCoreError, OSError) as error:
            raise Away(f"The credential journal in {self} cannot be used ({type(error).__name__}).") from None


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))[:80]


@functools.lru_cache(maxsize=4)
def _client(region: str | None, endpoint: str | None, ca_file: str | None) -> Any:
    """A client, which threads may share and which is dear to make."""
    import boto3
    from botocore.config import Config

    return boto3.session.Session().client(
        "s3", region_name=region, endpoint_url=endpoint, verify=ca_file or True,
        # One try: the rotation asks again, and it waits meanwhile.
        config=Config(
            connect_timeout=SECONDS, read_timeout=SECONDS, retries={"total_max_attempts": 1},
            s3={"addressing_style": "path" if endpoint else "auto"}, max_pool_connections=AT_ONCE,
        ),
    )  # fmt: skip
