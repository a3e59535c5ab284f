"""Other people's clients, one family a file."""

from clients import exim, http, postfix, programs, scripts


def everybody(tools):
    """Those that send a letter as they get it, by SMTP."""
    return [*scripts.clients(tools), *programs.clients(), postfix.Postfix(tools), exim.Exim(tools)]


def by_http(house, tenant):
    """The other door."""
    return [http.Rfc822(house, tenant), http.Json(house, tenant)]


def composers(tools):
    """Those that also make the letter."""
    return scripts.composers(tools)


def pools(tools):
    """Those that keep several sessions and use them again."""
    return scripts.pools(tools)
