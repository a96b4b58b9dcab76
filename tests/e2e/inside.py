"""Runs scripts in a site's own database, each in a fork: none finds what another one has left in memory.

`python -m tests.e2e.inside` reads JSON, a line each: first the site's environment, then scripts. For each
script it answers a line with the exit status, what was printed and what was complained of. The environment
comes by the pipe, so that this process is none of those that the site's name marks in /proc.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import traceback
from typing import Any, NoReturn

PATIENCE = 240  # seconds for one script, on a crowded machine


class Inside:
    """The process, as a test has it: what it has to say comes back by a pipe, secret values too."""

    def __init__(self, checkout: Any, environment: dict[str, str]) -> None:
        self.environment = environment
        plain = {name: text for name, text in environment.items() if not name.startswith("KEYTURN_")}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.inside"],
            cwd=checkout, env=plain, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._tell(environment)

    def run(self, script: str) -> Any:
        """Return the JSON that a script prints. Raises AssertionError with its last words."""
        self._tell(script)
        out = self._process.stdout
        assert out is not None
        assert select.select([out], [], [], PATIENCE)[0], "a script inside the site did not end"
        answer = json.loads(out.readline())
        assert answer["status"] == 0, answer["err"][-2000:]
        return json.loads(answer["out"] or "null")

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _tell(self, what: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()


def main() -> None:
    os.environ.update(json.loads(sys.stdin.readline()))
    import django

    django.setup()
    for line in sys.stdin:
        print(json.dumps(_run(json.loads(line))), flush=True)


def _run(script: str) -> dict[str, Any]:
    out, err = os.memfd_create("out"), os.memfd_create("err")  # memory: a script may print a secret value
    try:
        if not (pid := os.fork()):
            _be(script, out, err)
        _, status = os.waitpid(pid, 0)
        return {"status": os.waitstatus_to_exitcode(status), "out": _read(out), "err": _read(err)}
    finally:
        os.close(out)
        os.close(err)


def _be(script: str, out: int, err: int) -> NoReturn:
    """Become the script: whatever it does ends here, and not in the process that waits for it."""
    status = 1
    try:
        os.dup2(out, 1)
        os.dup2(err, 2)
        exec(compile(script, "script", "exec"), {"__name__": "__main__"})  # noqa: S102 - a test's own words
        status = 0
    except BaseException:  # noqa: BLE001 - a fork must not go on as its parent
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _read(file: int) -> str:
    return os.pread(file, os.fstat(file).st_size, 0).decode(errors="replace")


if __name__ == "__main__":
    main()
