"""TLS of the kubelet API: handshakes over sockets."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from broker.errors import ConfigurationError
from broker.kubelet.certificates import Certificates, KeyPair, read_pem, self_signed
from tests.broker.certificates import Authority, Signed, load

Handshake = Callable[..., Any]


class Files:
    """Certificate, key and CA of a server, in files."""

    def __init__(self, directory: Path) -> None:
        self.certificate, self.key, self.ca = (directory / name for name in ("tls.crt", "tls.key", "ca.crt"))
        self.ca.touch()

    def write(self, signed: Signed) -> None:
        self.certificate.write_text(signed.certificate)
        self.key.write_text(signed.key)

    def serving(self) -> KeyPair:
        return KeyPair(read_pem(self.certificate), read_pem(self.key))

    def client_ca(self) -> bytes:
        return read_pem(self.ca)


@pytest.fixture
def files(tmp_path: Path, authority: Authority) -> Files:
    files = Files(tmp_path)
    files.write(authority.server())
    return files


@pytest.fixture
async def handshake(files: Files) -> AsyncIterator[Handshake]:
    """Function that connects to a server with these files; returns the user of the client certificate."""
    certificates = Certificates(files.serving, files.client_ca)

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        subject = (writer.get_extra_info("peercert") or {}).get("subject", ())
        writer.write(dict(field for names in subject for field in names).get("commonName", "nobody").encode())
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0, ssl=certificates.context)
    port = server.sockets[0].getsockname()[1]

    async def connect(trusted: str, client: Signed | None = None) -> str:
        context = ssl.create_default_context(cadata=trusted)
        if client:
            load(context, client)
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        try:
            return (await reader.read()).decode()
        finally:
            writer.close()

    yield connect
    server.close()
    await server.wait_closed()


async def test_the_certificate_is_read_from_the_files(handshake: Handshake, authority: Authority) -> None:
    assert await handshake(authority.pem) == "nobody"


async def test_a_rotated_certificate_is_served_without_restart(
    handshake: Handshake, files: Files, authority: Authority, other_authority: Authority
) -> None:
    await handshake(authority.pem)
    files.write(other_authority.server())
    assert await handshake(other_authority.pem) == "nobody"
    with pytest.raises(ssl.SSLCertVerificationError):
        await handshake(authority.pem)


async def test_an_incomplete_rotation_keeps_the_previous_certificate(
    handshake: Handshake, files: Files, authority: Authority, other_authority: Authority
) -> None:
    fresh = other_authority.server()
    files.certificate.write_text(fresh.certificate)  # and the key does not exist yet
    assert await handshake(authority.pem) == "nobody"
    files.key.unlink()
    assert await handshake(authority.pem) == "nobody"
    files.key.write_text(fresh.key)
    assert await handshake(other_authority.pem) == "nobody"


async def test_a_client_certificate_of_the_ca_is_accepted(
    handshake: Handshake, files: Files, authority: Authority
) -> None:
    files.ca.write_text(authority.pem)
    await handshake(authority.pem)  # a client that connects during the change is not authenticated yet
    assert await handshake(authority.pem, client=authority.client("kubectl")) == "kubectl"
    assert await handshake(authority.pem) == "nobody"


async def test_a_client_certificate_of_another_ca_is_rejected(
    handshake: Handshake, files: Files, authority: Authority, other_authority: Authority
) -> None:
    files.ca.write_text(authority.pem)
    await handshake(authority.pem)
    assert await handshake(authority.pem, client=other_authority.client("kubectl")) == ""


async def test_a_server_certificate_is_rejected_for_clients(
    handshake: Handshake, files: Files, authority: Authority
) -> None:
    files.ca.write_text(authority.pem)
    await handshake(authority.pem)
    assert await handshake(authority.pem, client=authority.server("kubectl")) == ""


async def test_a_replaced_ca_is_no_longer_trusted(
    handshake: Handshake, files: Files, authority: Authority, other_authority: Authority
) -> None:
    files.ca.write_text(authority.pem)
    await handshake(authority.pem)
    files.ca.write_text(other_authority.pem)
    assert await handshake(authority.pem, client=other_authority.client("kubectl")) == "kubectl"
    assert await handshake(authority.pem, client=authority.client("kubectl")) == ""


@pytest.mark.parametrize("name", ["node-1", "10.1.2.3", "fd00::1", "node-1.example"])
async def test_a_self_signed_certificate_covers_name_and_addresses(name: str) -> None:
    pair = self_signed("node-1", ["10.1.2.3", "fd00::1", "node-1.example", "node-1"], now=datetime.now(UTC))
    context = Certificates(lambda: pair, bytes).context
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    client = ssl.create_default_context(cadata=pair.certificate.decode())
    async with server:
        _, writer = await asyncio.open_connection(
            *server.sockets[0].getsockname(), ssl=client, server_hostname=name
        )
        writer.close()


def test_a_certificate_supports_a_long_node_name() -> None:
    pair = self_signed("node-" + "x" * 50 + ".example." + "y" * 50, [], now=datetime.now(UTC))
    Certificates(lambda: pair, bytes)


@pytest.mark.parametrize(
    ("spoilt", "message"), [("certificate", "serving certificate"), ("key", "serving certificate"), ("ca", "CA")]
)
def test_an_invalid_pem_file_prevents_the_start(files: Files, spoilt: str, message: str) -> None:
    getattr(files, spoilt).write_text("this is not PEM")
    with pytest.raises(ConfigurationError, match=message):
        Certificates(files.serving, files.client_ca)


def test_the_error_names_a_missing_file(files: Files) -> None:
    files.key.unlink()
    with pytest.raises(ConfigurationError, match=r"tls\.key: No such file"):
        Certificates(files.serving, files.client_ca)


def test_the_minimum_version_is_tls_1_2(files: Files) -> None:
    assert Certificates(files.serving, files.client_ca).context.minimum_version == ssl.TLSVersion.TLSv1_2
