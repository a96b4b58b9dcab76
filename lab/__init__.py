"""Throwaway real hosts: OpenSSH, PAM, shadow and sudo in namespaces of this machine.

For the demo, the tests and the benchmarks. No product code but the `demo` command imports it,
and it imports no product code.
"""

from lab.fleet import Fleet, HostNotStarted
from lab.hosts import Gone, Host
from lab.image import Management, Spec

__all__ = ["Fleet", "Gone", "Host", "HostNotStarted", "Management", "Spec"]
