"""What an administrator pastes into PowerShell is PowerShell, and runs as one block."""

from __future__ import annotations

import tree_sitter
import tree_sitter_powershell

from rotation.connectors.winrm import names, preparation

LANGUAGE = tree_sitter.Language(tree_sitter_powershell.language())
ACCOUNTS = ("keyturn", "CORP\\keyturn", "keyturn@corp.example")


def root(script: str) -> tree_sitter.Node:
    return tree_sitter.Parser(LANGUAGE).parse(script.encode()).root_node


def test_the_commands_and_their_opposite_parse_for_every_form_of_an_account():
    assert root("& { Get-Item '").has_error  # the parser notices
    assert not root(preparation.COMPARE).has_error
    for account in ACCOUNTS:
        assert names.account_problem(account) == ""
        for script in (preparation.command(account, ""), preparation.opposite(account, "")):
            assert not root(script).has_error, script


def test_a_paste_is_one_block_so_that_no_line_answers_a_question():
    for account in ACCOUNTS:
        for script in (preparation.command(account, ""), preparation.opposite(account, "")):
            statements = [node for node in root(script).named_children if node.type == "statement_list"]
            assert len(statements) == 1
            assert [node.type for node in statements[0].named_children] == ["pipeline"], script


def test_the_port_is_opened_to_the_console_only_and_no_password_stands_in_a_line():
    script = preparation.command("keyturn", "")
    rule = next(line for line in script.splitlines() if "New-NetFirewallRule" in line)
    assert "-RemoteAddress $console" in rule
    assert "Read-Host -AsSecureString" in script
    assert "Enable-PSRemoting" not in script


def test_an_account_of_a_domain_is_neither_created_nor_removed():
    for account in ACCOUNTS[1:]:
        both = preparation.command(account, "") + preparation.opposite(account, "")
        assert "New-LocalUser" not in both
        assert "Remove-LocalUser" not in both


def test_no_name_that_is_allowed_ends_the_quotes_it_stands_in():
    for name in ("a'b", "a\u2019b", "a b", "a;b", "a`b", "a\nb", "$a"):
        assert names.account_problem(name)
