"""Own authorities, proxies, redirects, and a list of models that hangs: each works, or the message says what to set."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from stillroom.common.records import Request, SamplingParams, Usage, user
from stillroom.errors import InputError, MissingFile, StillroomError, TeacherDown
from stillroom.sampling.fake_server.answers import SENTENCE
from stillroom.sampling.fake_server.server import FakeServer
from stillroom.sampling.teachers.openai import OpenAISettings, http, network
from tests.conftest import ModelServer, Reply, completion, served_by, stillroom, write_sums

KEY = "q9X7-a1B2c3D4e5F6g7H8"


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    network.certificates.cache_clear()
    yield
    network.certificates.cache_clear()


async def ask(base_url: str, base: Path = Path(), **settings: Any) -> str:
    made = OpenAISettings.model_validate({"kind": "openai", "model": "m", "base_url": base_url, **settings})
    teacher = made.make(base)
    try:
        return (await teacher.sample(Request("t", 0, user("q"), SamplingParams(), 1), Usage())).text
    finally:
        await teacher.close()


async def refused(base_url: str, **settings: Any) -> StillroomError:
    """What the teacher raises."""
    with pytest.raises(StillroomError) as caught:
        await ask(base_url, **settings)
    return caught.value


# -- certificates ------------------------------------------------------------------------------------------------


class Secure(NamedTuple):
    """A server that speaks TLS, and the file with its certificate."""

    server: ModelServer
    certificate: Path

    @property
    def url(self) -> str:
        return self.server.url.replace("http:", "https:")


def secured(server: ModelServer, folder: Path, name: str = "IP:127.0.0.1") -> Secure:
    """The server with a certificate that it signed itself."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl that makes a certificate")
    key, certificate = folder / "key.pem", folder / "own.pem"
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    named = ["-days", "2", "-subj", "/CN=test", "-addext", f"subjectAltName={name}"]
    subprocess.run([*made, *named, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listening = server._http
    listening.socket = context.wrap_socket(listening.socket, server_side=True)
    return Secure(server, certificate)


@pytest.fixture
def secure(model_server: ModelServer, tmp_path: Path) -> Secure:
    return secured(model_server, tmp_path)


async def test_a_certificate_that_nobody_knows_is_refused_and_the_setting_named(
    secure: Secure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    error = await refused(secure.url)
    assert isinstance(error, InputError)
    for said in (secure.url, "not trusted: self", "teacher.ca_file", "SSL_CERT_FILE"):
        assert said in str(error)
    assert secure.server.bodies == []


async def test_an_own_authority_is_trusted(secure: Secure) -> None:
    assert await ask(secure.url, base=secure.certificate.parent, ca_file="own.pem") == "4"
    assert await ask(secure.url, ca_file=str(secure.certificate)) == "4"


async def test_so_is_the_one_in_the_environment(secure: Secure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(secure.certificate))
    assert await ask(secure.url) == "4"


async def test_a_certificate_for_another_host_is_not_a_matter_of_authorities(
    model_server: ModelServer, tmp_path: Path
) -> None:
    secure = secured(model_server, tmp_path, name="DNS:elsewhere.example")
    error = await refused(secure.url, ca_file=str(secure.certificate))
    assert "not valid for" in str(error)
    assert "correct teacher.base_url" in str(error)


async def test_tls_where_none_is_spoken(model_server: ModelServer) -> None:
    error = await refused(model_server.url.replace("http:", "https:"))
    assert isinstance(error, InputError)
    assert "does not speak TLS: write http:// in teacher.base_url" in str(error)


@pytest.mark.parametrize(
    ("content", "kind", "said"),
    [
        (None, MissingFile, "which is not a file"),
        (b"hello\n", InputError, "BEGIN CERTIFICATE"),
        (b"", InputError, "PEM"),
    ],
)
async def test_a_file_without_a_certificate_is_refused_before_anything_is_asked(
    model_server: ModelServer, tmp_path: Path, content: bytes | None, kind: type[InputError], said: str
) -> None:
    if content is not None:
        (tmp_path / "ca.pem").write_bytes(content)
    settings = OpenAISettings(kind="openai", model="m", base_url=model_server.url, ca_file="ca.pem")
    with pytest.raises(kind, match=f"teacher.ca_file names .*ca.pem.*{said}"):
        settings.make(tmp_path)


def test_a_run_ends_with_the_message(secure: Secure, tmp_path: Path) -> None:
    teacher = {**served_by(secure.server), "base_url": secure.url}
    path = write_sums(tmp_path / "recipe", tasks=2, teacher=teacher)
    ended = stillroom("run", path, "--out", tmp_path / "out")
    assert ended.returncode == 2
    assert "teacher.ca_file" in ended.stderr
    shutil.copy(secure.certificate, tmp_path / "recipe" / "ca.pem")
    options = ("--set", "teacher.ca_file=ca.pem", "--set", "filters=[finished]", "--out", tmp_path / "out")
    secure.server.script = lambda body: "#### 3"
    stillroom("run", path, *options)
    assert secure.server.bodies


# -- proxies -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["socks5://user:hunter22@127.0.0.1:1080", "socks5h://127.0.0.1:1080"])
async def test_a_socks_proxy_without_its_package_names_both(
    model_server: ModelServer, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setattr(network, "find_spec", lambda name: None)
    monkeypatch.setenv("ALL_PROXY", address)
    error = await refused(model_server.url)
    assert isinstance(error, InputError)
    for said in ("ALL_PROXY names a SOCKS proxy", "127.0.0.1:1080", "pip install aiohttp-socks", "NO_PROXY"):
        assert said in str(error)
    assert "hunter22" not in str(error)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert await ask(model_server.url) == "4"


async def test_a_proxy_that_is_not_there_is_named(model_server: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}"
    monkeypatch.setenv("http_proxy", f"http://user:hunter22@{place}")
    error = await refused(model_server.url)
    assert isinstance(error, TeacherDown)
    assert f"through the proxy http://{place} of http_proxy" in str(error)
    assert "hunter22" not in str(error)


async def test_a_proxy_without_a_scheme_is_one_for_http(
    model_server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", model_server.url.removeprefix("http://").removesuffix("/v1"))
    assert await ask("http://elsewhere.example/v1") == "4"


async def test_a_proxy_of_no_known_kind_is_refused(
    model_server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "ftp://127.0.0.1:21")
    error = await refused(model_server.url)
    assert isinstance(error, InputError)
    assert "ALL_PROXY names a proxy of the kind 'ftp'" in str(error)


class Socks(threading.Thread):
    """A SOCKS5 proxy for one connection at a time, which needs no password."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"socks5://127.0.0.1:{self._listening.getsockname()[1]}"
        self.asked: list[tuple[str, int]] = []

    def run(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            client.recv(client.recv(2)[1])  # how it may be asked who it is
            client.sendall(b"\x05\x00")
            _, _, _, kind = client.recv(4)
            host = socket.inet_ntoa(client.recv(4)) if kind == 1 else client.recv(client.recv(1)[0]).decode()
            port = int.from_bytes(client.recv(2), "big")
            self.asked.append((host, port))
            with socket.create_connection(("127.0.0.1", port)) as server:
                client.sendall(b"\x05\x00\x00\x01" + bytes(6))
                back = threading.Thread(target=self._copy, args=(server, client), daemon=True)
                back.start()
                self._copy(client, server)
                back.join(5)

    @staticmethod
    def _copy(source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65_536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self) -> None:
        self._listening.close()


async def test_a_socks_proxy_is_used(model_server: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("aiohttp_socks")
    with closing(Socks()) as proxy:
        proxy.start()
        port = int(model_server.url.rpartition(":")[2].removesuffix("/v1"))
        monkeypatch.setenv("ALL_PROXY", proxy.address.replace("socks5:", "socks5h:"))
        assert await ask(f"http://elsewhere.example:{port}/v1") == "4"
        assert set(proxy.asked) == {("elsewhere.example", port)}
        monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
        error = await refused(model_server.url)
    assert isinstance(error, TeacherDown)
    assert "through the proxy socks5://127.0.0.1:1 of ALL_PROXY" in str(error)


# -- redirects ---------------------------------------------------------------------------------------------------


@pytest.fixture
def other() -> Iterator[ModelServer]:
    server = ModelServer()
    yield server
    server.close()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_names_the_address_for_base_url_and_is_not_followed_elsewhere(
    model_server: ModelServer, other: ModelServer, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    gone = Reply({}, status, {"location": f"{other.url}/chat/completions"})
    model_server.script, model_server.models = (
        lambda body: gone,
        Reply({}, status, {"location": f"{other.url}/models"}),
    )
    error = await refused(model_server.url)
    assert isinstance(error, InputError)
    assert f"redirects to {other.url}/chat/completions" in str(error)
    assert str(error).endswith(f"set teacher.base_url to {other.url}")
    assert (other.bodies, other.headers, len(model_server.bodies)) == ([], [], 1)


@pytest.mark.parametrize(
    ("location", "said"),
    [
        (
            "https://sso.example/login?next=/v1",
            "redirects to https://sso.example/login, .* to the address that answers",
        ),
        ("", "redirects to another address"),
        ("//evil.example/\x1b[2J", "redirects to"),
    ],
)
async def test_a_redirect_to_a_page(model_server: ModelServer, location: str, said: str) -> None:
    model_server.script = lambda body: Reply({}, 302, {"location": location} if location else {})
    error = await refused(model_server.url)
    assert isinstance(error, InputError)
    with pytest.raises(InputError, match=said):
        raise error
    assert "\x1b" not in str(error)


# -- a list of models that hangs, is huge, or something else -----------------------------------------------------


@pytest.mark.parametrize("habit", ["models_hangs", "models_stalls", "models_endless"])
async def test_a_list_of_models_that_hangs_holds_nobody_up(habit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "LOOK_S", 0.05)
    server = FakeServer([habit])
    await server.start()
    assert await ask(server.url) == SENTENCE
    await server.close()
    assert server.asked == 1


@pytest.mark.parametrize(
    "models",
    [
        Reply({"error": "no such page"}, 404),
        Reply(b"<html>hello</html>", headers={"content-type": "text/html"}),
        Reply(b" " * (9 * 2**20)),
        Reply({}, 500),
        Reply({}, 302, {"location": "https://sso.example/login"}),
        Reply(drop=True),
    ],
)
async def test_a_list_of_models_of_any_kind_holds_nobody_up(model_server: ModelServer, models: Reply) -> None:
    model_server.models = models
    assert await ask(model_server.url) == "4"
    # Nor does it change what a 404 for a model says.
    model_server.script = lambda body: Reply({"error": {"message": "no model m"}}, 404)
    error = await refused(model_server.url)
    assert isinstance(error, InputError)
    assert "no model m" in str(error)


def test_the_settings_of_the_network_are_not_part_of_the_identity(tmp_path: Path) -> None:
    plain = OpenAISettings(kind="openai", model="m", base_url="http://a:1/v1")
    more = plain.model_copy(update={"ca_file": str(_some_authority(tmp_path)), "project": "p", "organization": "o"})
    assert plain.make(tmp_path).identity == more.make(tmp_path).identity
    assert completion()["choices"]


def _some_authority(folder: Path) -> Path:
    import certifi

    return Path(shutil.copy(certifi.where(), folder / "ca.pem"))
