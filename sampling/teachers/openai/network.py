"""How a server is reached: whose certificates are trusted, and through which proxy.

Trusted are the authorities that browsers trust, or those in SSL_CERT_FILE and SSL_CERT_DIR; and the one that the
recipe names (`ca_file`), in addition. Certificates are always checked: there is no setting that turns that off.

Proxies are those of the environment: HTTPS_PROXY or HTTP_PROXY by the server's scheme, else ALL_PROXY; none for hosts
in NO_PROXY. A SOCKS proxy needs the package aiohttp-socks.

>>> Proxy("socks5h://user:secret@localhost:1080", "ALL_PROXY").name
'socks5h://localhost:1080'
"""

from __future__ import annotations

import functools
import os
import ssl
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from stillroom.common.secrets import keep_address
from stillroom.errors import InputError, MissingFile

if TYPE_CHECKING:
    from aiohttp.connector import BaseConnector

# OpenSSL's codes (X509_V_ERR_…, https://docs.openssl.org/3.0/man3/X509_STORE_CTX_get_error/) for a certificate whose
# authority is not known.
_UNKNOWN_AUTHORITY = {2, 18, 19, 20, 21}


@functools.cache
def certificates(ca_file: Path | None = None) -> ssl.SSLContext:
    """What trusts the usual authorities, and those in `ca_file`. Raises MissingFile or InputError for a bad file."""
    try:
        from certifi import where  # some Pythons find none of the system's certificates
    except ImportError:
        usual = None
    else:
        own = "SSL_CERT_FILE" in os.environ or "SSL_CERT_DIR" in os.environ
        usual = None if own else where()
    found = ssl.create_default_context(cafile=usual)
    if ca_file is None:
        return found
    if not ca_file.is_file():
        raise MissingFile(
            f"teacher.ca_file names {ca_file}, which is not a file: give the authority's certificate (PEM)"
        )
    try:
        found.load_verify_locations(cafile=ca_file)
    except OSError as error:  # ssl.SSLError is one
        raise InputError(
            f"teacher.ca_file names {ca_file}, which holds no certificate that can be read ({error}): give the "
            "authority's certificate in PEM, which begins with -----BEGIN CERTIFICATE-----"
        ) from None
    return found


def why_untrusted(error: BaseException) -> tuple[str, str]:
    """Why a TLS connection was not made, and what to do; the second is empty where nothing of ours helps."""
    if isinstance(error, ssl.SSLCertVerificationError):
        why = f"its certificate is not trusted: {error.verify_message.rstrip('.') or 'no reason given'}"
        if error.verify_code in _UNKNOWN_AUTHORITY:
            return why, (
                "if the server is yours, name the file with the certificate of its authority (or its own, where it "
                "signed itself) in teacher.ca_file, or in SSL_CERT_FILE"
            )
        return why, "correct teacher.base_url, or have the server's certificate renewed"
    reason = str(getattr(error, "reason", None) or error)
    if any(said in reason for said in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST")):
        return "it does not speak TLS", "write http:// in teacher.base_url if that is meant"
    return f"no TLS connection: {reason}", ""


class Proxy(NamedTuple):
    """A proxy: its address, and the environment variable that names it."""

    address: str
    variable: str

    @property
    def name(self) -> str:
        """The address for messages: without a user and a password."""
        parts = urlsplit(self.address)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"

    @property
    def socks(self) -> bool:
        """Whether it speaks SOCKS."""
        return urlsplit(self.address).scheme.startswith("socks")

    def connector(self, keepalive_s: float) -> BaseConnector:
        """Connections through a SOCKS proxy. Raises InputError where the package for it is not installed."""
        if find_spec("aiohttp_socks") is None:
            raise InputError(
                f"{self.variable} names a SOCKS proxy ({self.name}), which needs the package 'aiohttp-socks': "
                f"pip install aiohttp-socks; or unset {self.variable}; or list the server's host in NO_PROXY"
            )
        from aiohttp_socks import ProxyConnector

        scheme, _, rest = self.address.partition("://")
        remote = scheme in ("socks5h", "socks4a")  # the proxy looks up the host's name
        address = f"{scheme.rstrip('ha')}://{rest}"
        try:
            made: BaseConnector = ProxyConnector.from_url(
                address, rdns=remote or None, limit=0, keepalive_timeout=keepalive_s
            )
        except ValueError as error:
            raise InputError(f"{self.variable} names a proxy that cannot be used ({self.name}): {error}") from None
        return made


class Proxies:
    """The proxies of the environment, as they are when it is made. Raises InputError for one of no known kind."""

    def __init__(self) -> None:
        self._by_scheme = {scheme: self._read(scheme, value) for scheme, value in getproxies().items() if value}

    def of(self, url: str) -> Proxy | None:
        """The proxy for an address; None: it is asked directly."""
        if not self._by_scheme:
            return None
        parts = urlsplit(url)
        proxy = self._by_scheme.get(parts.scheme) or self._by_scheme.get("all")
        if proxy is None or proxy_bypass(parts.hostname or ""):
            return None
        kind = urlsplit(proxy.address).scheme
        if kind not in ("http", "https", "socks5", "socks5h", "socks4", "socks4a"):
            raise InputError(
                f"{proxy.variable} names a proxy of the kind {kind!r}: give http://host:port or socks5://host:port; "
                "or unset it, or list the server's host in NO_PROXY"
            )
        return proxy

    @staticmethod
    def _read(scheme: str, value: str) -> Proxy:
        keep_address(value)
        address = value if "://" in value else f"http://{value}"  # as curl reads it
        return Proxy(address, _variable(scheme, os.environ))


def _variable(scheme: str, environment: Mapping[str, str]) -> str:
    """The environment variable that names the proxy of a scheme."""
    name = f"{scheme}_proxy"
    return next((each for each in (name, name.upper()) if environment.get(each)), f"the system's {name}")
