"""Each command line of `manage.py` in a process of its own, forked from one that has loaded the product.

What `manage.py` loads for any command is loaded once; what a command itself imports, its own process imports.
The text below is given to `python -c` in a checkout, since the image of the product does not hold the tests.
"""

import json
import os
import runpy
import sys
import tempfile

import django


def ended(*words: str) -> tuple[int, str]:
    """Run `manage.py` with `words`; return its status and what it says on standard error."""
    with tempfile.TemporaryFile() as said, open(os.devnull, "w") as nowhere:
        if not (pid := os.fork()):
            os.dup2(nowhere.fileno(), 1)
            os.dup2(said.fileno(), 2)
            sys.argv = ["manage.py", *words]
            # Ends with SystemExit, and so does this process.
            runpy.run_path("manage.py", run_name="__main__")
            sys.exit()
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        said.seek(0)
        return status, said.read().decode()


if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "console.settings"
    django.setup()
    print(json.dumps({command: ended(command, "--help") for command in sys.argv[1:]}))
