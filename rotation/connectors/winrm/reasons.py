"""What each reason means that only a host with WinRM, PowerShell and local Windows accounts can give."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from rotation.connectors import reasons
from rotation.connectors.reasons import ACCOUNT, LOGIN, PASSES, SERVER, Advice, Heard, Reason, Table

#: What Windows refuses in words of its own, under codes that every wire has.
BAD_USER: Final = (
    "The account name is none of a local Windows account: at most 20 letters, digits and . _ - only."
)
BAD_VALUE: Final = "The password is empty, longer than 127 characters, or holds a line break or NUL."
FOREIGN: Final = (
    "Another console manages this account. Remove its mark under HKLM\\SOFTWARE\\Keyturn on the instance "
    "once it no longer does."
)

_CERTIFICATE: Final = Advice(
    "Give WinRM on the instance a certificate that is in order, or approve the certificate itself after "
    "comparing its fingerprint.",
    "instance",
)

WINRM: Final = reasons.table(
    Reason(
        "account_expired",
        "The account has expired. Extend it on the instance; a rotation does not.",
        ACCOUNT,
        stops=True,
        of_account=True,
        heard=Heard.ACCOUNT | Heard.PROBE,
    ),
    Reason(
        "certificate_changed",
        "The instance shows a certificate that is not approved; nothing was sent, no login was attempted.",
        Advice(
            "Compare the new certificate's fingerprint on the instance itself, and approve it on the "
            "instance's page. If the certificate was not renewed, find out first who answers at the address.",
            "instance",
        ),
    ),
    Reason(
        "certificate_expired",
        "The instance's certificate has expired; nothing was sent, no login was attempted.",
        _CERTIFICATE,
    ),
    Reason(
        "certificate_early",
        "The instance's certificate is not valid yet; nothing was sent, no login was attempted.",
        Advice(
            "Compare the clocks of the instance and of Keyturn's machine; one of them may be wrong. "
            "Otherwise give WinRM a certificate that is valid now.",
            "instance",
        ),
    ),
    Reason(
        "certificate_name",
        "The instance's certificate is for another name; nothing was sent, no login was attempted.",
        _CERTIFICATE,
    ),
    Reason(
        "certificate_untrusted",
        "The instance's certificate is not signed by the approved authority; nothing was sent, no login was "
        "attempted.",
        _CERTIFICATE,
    ),
    Reason(
        "check_failed",
        "The instance's own password check failed without a verdict.",
        SERVER,
    ),
    Reason(
        "constrained",
        "PowerShell runs in Constrained Language Mode for the management account, in which passwords cannot "
        "be changed.",
        Advice("Exempt the management account from that policy on the instance.", "instance"),
    ),
    Reason(
        "disabled",
        "The account is disabled. Enable it on the instance if it is in use; a rotation does not.",
        ACCOUNT,
        stops=True,
        of_account=True,
        heard=Heard.ACCOUNT | Heard.PROBE,
    ),
    Reason(
        "domain_controller",
        "The instance is a domain controller, which has no local accounts.",
        Advice("Rotate accounts of the domain in the directory.", "instance"),
        stops=True,
        of_account=True,
        heard=Heard.ACCOUNT,
    ),
    Reason(
        "laps",
        "Windows LAPS manages the password of this account, and changes it on its own.",
        Advice(
            "Decide which of the two manages the account: end the LAPS policy for it, or delete the secret."
        ),
        stops=True,
        of_account=True,
        heard=Heard.ACCOUNT | Heard.CHANGE,
    ),
    Reason(
        "kdc_away",
        "No key distribution center of the management account's domain answered Keyturn; no login was "
        "attempted.",
        Advice(
            "Check that Keyturn's machine reaches a domain controller on port 88, TCP and UDP, and "
            "what krb5.conf or the DNS says of the realm.",
            "credential",
        ),
        waits=True,
        is_away=True,
    ),
    Reason(
        "kerberos_account",
        "The domain says that the management account is locked, disabled or expired, or must change "
        "its password.",
        Advice("Correct the account in the domain, then test the connection.", "credential"),
    ),
    Reason(
        "kerberos_address",
        "The instance is registered by an IP address, and Kerberos needs its name in the domain; no "
        "login was attempted.",
        Advice("Change the instance's address to its name in the domain's DNS.", "instance"),
    ),
    Reason(
        "kerberos_clock",
        "The clocks of Keyturn's machine, the domain and the instance are too far apart for Kerberos.",
        Advice("Set the clocks right; Kerberos allows five minutes. Then test the connection.", "instance"),
    ),
    Reason(
        "kerberos_expired",
        "The Kerberos ticket of the management account expired during the call.",
        PASSES,
        waits=True,
    ),
    Reason(
        "kerberos_failed",
        "The login by Kerberos failed for a reason that Keyturn does not know.",
        Advice(
            "Try the same from Keyturn's machine: kinit with the management account, then kvno HTTP/ "
            "and the instance's name.",
            "credential",
        ),
    ),
    Reason(
        "kerberos_missing",
        "Keyturn's machine has no Kerberos library; no login was attempted.",
        Advice(
            "Install it on each machine that runs Keyturn: the package libgssapi-krb5-2 of Debian and "
            "Ubuntu, or krb5-libs of Red Hat. Then test the connection.",
            "credential",
        ),
    ),
    Reason(
        "kerberos_off",
        "The instance does not offer Kerberos, by which this management account logs in; no other "
        "login was tried.",
        Advice(
            "Allow Negotiate or Kerberos for WinRM on the instance (winrm get "
            "winrm/config/service/auth), or attach a management credential that logs in by NTLM.",
            "instance",
        ),
    ),
    Reason(
        "kerberos_password",
        "The domain refuses the password of the management account; the instance was told nothing.",
        Advice("Create a management credential with the account's password, and attach it.", "credential"),
    ),
    Reason(
        "kerberos_realm",
        "Keyturn's machine does not know where the realm of the management account is; no login was "
        "attempted.",
        Advice(
            "Check the realm in the account's name. Name its key distribution centers in "
            "/etc/krb5.conf on Keyturn's machine, or let it resolve the domain's DNS.",
            "credential",
        ),
    ),
    Reason(
        "kerberos_service",
        "The domain knows no service HTTP of the name under which the instance is registered, or its "
        "key is not the instance's.",
        Advice(
            "Register the instance under its name in the domain, and check the service principal "
            "names: setspn -Q HTTP/ and that name.",
            "instance",
        ),
    ),
    Reason(
        "kerberos_unknown",
        "The domain has no account of the management account's name; no login was attempted.",
        Advice(
            "Create a management credential with the right name, account@REALM, and attach it.", "credential"
        ),
    ),
    Reason(
        "kerberos_unproven",
        "The instance took the ticket and did not show that it is the service it is for; nothing was "
        "sent to it.",
        Advice("Find out first who answers at the instance's address.", "instance"),
    ),
    Reason(
        "locked_out",
        "The account is locked out after too many wrong passwords. A rotation does not unlock it.",
        ACCOUNT,
        stops=True,
        of_account=True,
        heard=Heard.ACCOUNT | Heard.PROBE,
    ),
    Reason(
        "name_changed",
        "The instance calls itself by a computer name that is not approved; no login was attempted.",
        Advice(
            "Compare the name on the instance itself, and approve it on the instance's page. If it was not "
            "renamed or moved, find out first who answers at its address.",
            "instance",
        ),
    ),
    Reason(
        "near_lock_out",
        "The account is too near its lock-out: a wrong password more could lock it, so none was tried.",
        PASSES,
        waits=True,
        heard=Heard.PROBE,
    ),
    Reason(
        "no_mark",
        "The generation mark could not be written under HKLM\\SOFTWARE\\Keyturn on the instance.",
        SERVER,
        heard=Heard.CHANGE,
    ),
    Reason(
        "no_network_logon",
        "The account may not log on over the network, so a login cannot test its password.",
        ACCOUNT,
        of_account=True,
        heard=Heard.PROBE,
    ),
    Reason(
        "no_powershell",
        "The instance has no Windows PowerShell in C:\\Windows\\System32.",
        SERVER,
    ),
    Reason(
        "no_winrm",
        "No WinRM answered at the instance's address and port: nothing listens there, what listens is not "
        "WinRM, or a firewall is between.",
        Advice(
            "Check the instance's address and port, and that WinRM listens there (winrm enumerate "
            "winrm/config/listener).",
            "instance",
        ),
        waits=True,
        is_away=True,
    ),
    Reason(
        "ntlm_off",
        "The instance does not offer NTLM, by which Keyturn logs in; no password was tried.",
        Advice(
            "Allow Negotiate for WinRM on the instance (winrm get winrm/config/service/auth), and incoming "
            "NTLM for this account (Network security: Restrict NTLM).",
            "instance",
        ),
    ),
    Reason(
        "not_winrm",
        "What answers at the instance's address and port is not WinRM; no login was attempted.",
        Advice(
            "Check the instance's address and port, and what listens there (winrm enumerate "
            "winrm/config/listener).",
            "instance",
        ),
        waits=True,
        is_away=True,
    ),
    Reason(
        "web_page",
        "A web page answers in the place of WinRM, as a proxy or a sign-in page of the network does; no "
        "login was attempted.",
        Advice(
            "Find out what stands between Keyturn and the instance, and whether the address and port are "
            "right.",
            "instance",
        ),
        waits=True,
        is_away=True,
    ),
    Reason(
        "not_administrator",
        "The management account has no administrator's rights on the instance.",
        LOGIN,
        heard=Heard.CHANGE,
    ),
    Reason(
        "odd_answer",
        "The instance's answer to a script was not the one that the script gives.",
        SERVER,
    ),
    Reason(
        "shells_full",
        "The management account has too many WinRM shells open on the instance just now.",
        PASSES,
        waits=True,
        is_away=True,
    ),
)

#: The lines of a checklist that only such a host has.
LINES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "administrator": "Administrator's rights",
        "certificate": "Certificate",
        "clock": "Clock",
        "dependants": "Dependants",
        "name": "Computer name",
        "powershell": "PowerShell",
        "password_rules": "Password rules",
    }
)

#: Everything that may be reported over WinRM.
ALL: Final[Table] = MappingProxyType({**reasons.COMMON, **WINRM})

#: What may be wrong with an account, so that its password is not changed.
ACCOUNT_PROBLEMS: Final = reasons.heard(ALL, Heard.ACCOUNT)


def sentence(code: str) -> str:
    """What to show for a reason. Raises `KeyError` for a code that has none."""
    return FOREIGN if code == "foreign_console" else ALL[code].sentence


def heard(of: Heard) -> frozenset[str]:
    """Return the codes that are believed from any of these scripts."""
    return reasons.heard(ALL, of)
