"""Other people's clients, one family a file."""

from clients import exim, postfix, programs, scripts


def everybody(tools):
    """Those that send a letter as they get it."""
    return [*scripts.clients(tools), *programs.clients(tools), postfix.Postfix(tools), exim.Exim(tools)]


def composers(tools):
    """Those that also make the letter."""
    return scripts.composers(tools)
