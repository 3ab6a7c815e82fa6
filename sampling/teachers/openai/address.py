"""Whether an address can be a server's: checked in a recipe, and wherever else one comes from."""

from __future__ import annotations

from urllib.parse import urlsplit


def no_address(url: str) -> str:
    """Why nothing can be reached at this address, whoever it names; empty where something might."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:  # brackets of IPv6 that do not close, a port that is no number or above 65535
        return str(error).partition("'")[0].strip()[:60] or "its host is none"  # what is quoted may be a secret
    if not url.isprintable() or any(c.isspace() for c in url):
        return "it holds a space or a character that cannot be seen"
    if not host:
        return "it names no host"
    return "its port is 0" if port == 0 else ""


def check_address(url: str) -> None:
    """Raises ValueError for what is no base URL, or holds what belongs elsewhere. Never repeats the address."""
    why = no_address(url)
    parts = urlsplit("" if why else url)
    if not url.startswith(("http://", "https://")) or url.startswith(("http:///", "https:///")):
        raise ValueError("base_url must begin with http:// or https://, such as http://localhost:8000/v1")
    if why:
        raise ValueError(f"base_url is no address ({why}): it looks like http://localhost:8000/v1")
    if "@" in parts.netloc:
        raise ValueError("base_url holds a user name or password: put the key in an environment variable")
    if parts.query or parts.fragment:
        raise ValueError("base_url must end with its path: a key in a query belongs in an environment variable")
