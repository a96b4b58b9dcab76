"""Clients that call GetSecretValue all the time, each on a connection of its own.

`python -m tests.bench.callers AWS|ACS3 PORT REGION CLIENTS CALLS`, then on its standard input the key's
id, its secret and the names of the secrets, a line each. Prints the milliseconds of each call, and of the
processor for all of them, as JSON.
"""

from __future__ import annotations

import http.client
import itertools
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from secrets_app.crypto.plaintext import Plaintext
from tests import acs, sigv4

Call = tuple[str, str, bytes, dict[str, str]]


def of_aws(key_id: str, secret: str, port: int, region: str, names: list[str]) -> Callable[[str], Call]:
    """Signed once for each secret: AWS's signature may be sent again for five minutes."""
    signed: dict[str, Call] = {}
    for name in names:
        body = json.dumps({"SecretId": name}).encode()
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        headers = {"content-type": sigv4.JSON, "host": f"localhost:{port}", "x-amz-date": stamp,
                   "x-amz-target": "secretsmanager.GetSecretValue"}  # fmt: skip
        digest = sigv4.signature(
            secret, stamp, region, "secretsmanager", ("POST", "/", ""), headers, sigv4.sha256(body)
        )
        scope = f"{key_id}/{stamp[:8]}/{region}/secretsmanager/aws4_request"
        named = ";".join(sorted(headers))
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders={named}, Signature={digest}"
        )
        signed[name] = ("POST", "/", body, headers)
    return signed.__getitem__


def of_alibaba(key_id: str, secret: str, port: int, region: str, names: list[str]) -> Callable[[str], Call]:
    """Signed for each call: a nonce counts once."""
    signer = acs.Signer(key_id, Plaintext(secret), scheme="ACS3")

    def sign(name: str) -> Call:
        asked = {"SecretName": name, "VersionStage": "ACSCurrent", "RegionId": region}
        host = {"host": f"localhost:{port}"}
        query, headers, body = signer.signed("GetSecretValue", asked, more=host)
        return "POST", f"/?{query}", body, headers

    return sign


def call(
    port: int, sign: Callable[[str], Call], names: Iterator[str], calls: int, start: threading.Barrier
) -> Iterator[float]:
    connection = http.client.HTTPConnection("localhost", port, timeout=60)
    connection.connect()
    start.wait()
    for name in itertools.islice(names, calls):
        method, path, body, headers = sign(name)
        began = time.perf_counter()
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        text = answer.read()
        taken = (time.perf_counter() - began) * 1000
        if answer.status != 200:
            raise SystemExit(f"a call was answered {answer.status}: {text[:300]!r}")
        yield taken


def main() -> None:
    kind, region = sys.argv[1], sys.argv[3]
    port, clients, calls = (int(sys.argv[number]) for number in (2, 4, 5))
    key_id, secret, *names = sys.stdin.read().split()
    sign = (of_aws if kind == "AWS" else of_alibaba)(key_id, secret, port, region, names)
    start, taken, failed = threading.Barrier(clients), list[float](), list[BaseException]()

    def work(number: int) -> None:
        mine = itertools.cycle(names[number % len(names) :] + names[: number % len(names)])
        try:
            taken.extend(list(call(port, sign, mine, calls, start)))
        except (Exception, SystemExit) as error:  # noqa: BLE001  # the first one ends the program
            failed.append(error)
            start.abort()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    began, used = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.join()
    if failed:
        raise SystemExit(f"a client failed: {failed[0]!r}")
    used = (time.process_time() - used) * 1000
    print(json.dumps({"seconds": time.perf_counter() - began, "taken": taken, "processor": used}))


if __name__ == "__main__":
    main()
