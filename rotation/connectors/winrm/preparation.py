"""What an administrator runs on a Windows host: to let Keyturn in, to take that back, to compare.

Nothing here is secret: the password is entered on the host. `names.account_problem` says whether an account's
name can stand in these commands, as it does here. No real Windows has confirmed them.
"""

from __future__ import annotations

from collections.abc import Sequence

#: Prints the SHA-256 of the certificate that WinRM shows, on the host itself.
COMPARE = (
    "$print = (Get-Item WSMan:\\localhost\\Listener\\*\\CertificateThumbprint).Value; "
    '$raw = (Get-Item "Cert:\\LocalMachine\\My\\$print").RawData; '
    "[BitConverter]::ToString([Security.Cryptography.SHA256]::Create().ComputeHash($raw)) -replace '-'"
)
COMPARE_EXAMPLE, COMPARE_NEVER = "Cert:\\LocalMachine\\My", "openssl s_client"
#: Prints the name by which NTLM calls the host, on the host itself.
COMPARE_NAME, NAME_EXAMPLE, NAME_NEVER = "$env:COMPUTERNAME", "WIN-01", "nslookup"

DOES = (
    "Run this once on each instance, in PowerShell as an administrator. It makes WinRM listen with a new "
    "self-signed certificate, opens the port to Keyturn only, creates the account if its name has no domain, "
    "and makes it an administrator. Enter the password of this credential when it asks. No real Windows has "
    "confirmed these commands."
)
UNDOES = (
    "takes the administrator's rights from the account, closes the port, ends listening with TLS, and "
    "removes a local account."
)

_RULE = "Keyturn WinRM"
_FILTER = "HKLM:\\SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\Policies\\System"


def command(username: str, _public_key: str) -> str:
    """Return the commands that make WinRM listen with TLS and let this account in as an administrator.

    They stand in one block: pasted line by line, what follows a question would be taken for its answer. The
    service is started without `Enable-PSRemoting`, which would open the port without TLS to all addresses. A
    local administrator other than the built-in one has its rights over the network only without the filter
    that `LocalAccountTokenFilterPolicy` turns off.
    """
    lines = [
        "$console = Read-Host 'IP address that Keyturn connects from'",
        "Set-Service WinRM -StartupType Automatic",
        "Start-Service WinRM",
        "$made = New-SelfSignedCertificate -DnsName $env:COMPUTERNAME "
        "-CertStoreLocation Cert:\\LocalMachine\\My",
        "New-Item WSMan:\\localhost\\Listener -Transport HTTPS -Address * "
        "-CertificateThumbPrint $made.Thumbprint -Force",
        f"New-NetFirewallRule -DisplayName '{_RULE}' -Direction Inbound -Protocol TCP -LocalPort 5986 "
        "-RemoteAddress $console -Action Allow",
    ]
    if _is_local(username):
        lines += [
            f"$password = Read-Host -AsSecureString 'Password of {username}'",
            f"New-LocalUser '{username}' -PasswordNeverExpires -Password $password",
            f"Set-ItemProperty {_FILTER} LocalAccountTokenFilterPolicy 1",
        ]
    return _block([*lines, f"Add-LocalGroupMember -SID S-1-5-32-544 -Member '{username}'"])


def opposite(username: str, _public_key: str) -> str:
    """Return the commands that take that back; what the host had before it is not known here."""
    lines = [
        f"Remove-LocalGroupMember -SID S-1-5-32-544 -Member '{username}'",
        f"Remove-NetFirewallRule -DisplayName '{_RULE}'",
        "Get-ChildItem WSMan:\\localhost\\Listener | Where-Object Keys -contains 'Transport=HTTPS' | "
        "Remove-Item -Recurse",
    ]
    if _is_local(username):
        lines.append(f"Remove-LocalUser '{username}'")
    return _block(lines)


def _block(lines: Sequence[str]) -> str:
    """One block that is read whole before any of it runs, and that ends at the first failure."""
    return (
        "\n".join(["& {", *(f"  {line}" for line in ("$ErrorActionPreference = 'Stop'", *lines)), "}"]) + "\n"
    )


def _is_local(username: str) -> bool:
    """Whether the name may be of an account on the host itself: it names no domain."""
    return "\\" not in username and "@" not in username
