"""TLS of the kubelet API: the serving certificate, and the CA of client certificates.

Both may be rotated while the broker runs, by cert-manager and by the cluster. Both are therefore read again for
each handshake. Handshakes are rare, since the API server keeps its connections, and cost more than reading the
files.
"""

import os
import ssl
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import msgspec
import structlog

from broker.errors import ConfigurationError

log = structlog.get_logger()


class KeyPair(NamedTuple):
    """A certificate, with an optional chain, and its private key, both in PEM."""

    certificate: bytes
    key: bytes


def read_pem(path: Path) -> bytes:
    """Read a file.

    Raises:
        ConfigurationError: the file cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as exc:
        raise ConfigurationError(f"{path}: {exc.strerror}") from exc


def self_signed(node_name: str, addresses: Iterable[str], *, now: datetime) -> KeyPair:
    """Return a new self-signed certificate, as a kubelet without a certificate does.

    The certificate is valid for ten years, since it is not renewed; its key exists in memory alone. A child makes
    it: the library, with its copy of OpenSSL, would take 9 MB of this process from then on.

    Args:
        node_name: name of the node, a DNS name.
        addresses: IP addresses or DNS names.
        now: current time.
    """
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        # Python warns of a fork beside other threads. The child uses nothing that they may hold.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            from broker.kubelet.self_signed import generate  # noqa: PLC0415 - in this process only

            with os.fdopen(writer, "wb") as pipe:
                pipe.write(msgspec.json.encode(generate(node_name, addresses, now=now)))
        except Exception:
            log.exception("no self-signed certificate")
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        content = pipe.read()
    os.waitpid(child, 0)
    return msgspec.json.decode(content, type=KeyPair)


class Certificates:
    """TLS context of a server whose certificate and client CA may change.

    Args:
        serving: returns the present serving certificate.
        client_ca: returns the present CAs of client certificates, in PEM; empty: no client certificates.

    Raises:
        ConfigurationError: the first certificate or CA is invalid.
    """

    def __init__(self, serving: Callable[[], KeyPair], client_ca: Callable[[], bytes]) -> None:
        self._serving = serving
        self._client_ca = client_ca
        self._read: tuple[KeyPair, bytes] | None = None
        self.context = _bare_context()
        self.context.sni_callback = self._at_handshake
        self.reload()

    def reload(self) -> None:
        """Load certificate and CA, if they have changed.

        Raises:
            ConfigurationError: the new ones are invalid; the previous ones stay in use.
        """
        read = self._serving(), self._client_ca()
        if read == self._read:
            return
        self._current = _context(*read)
        # The request for a client certificate is decided before the handshake calls `sni_callback`.
        self.context.verify_mode = self._current.verify_mode
        self._read = read

    def _at_handshake(
        self, connection: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _: ssl.SSLContext
    ) -> None:
        try:
            self.reload()
        except ConfigurationError as exc:  # perhaps half written: the next handshake retries
            log.warning("invalid certificates; the previous ones stay in use", error=str(exc))
        connection.context = self._current


def _bare_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A resumed session would skip the check of the client certificate.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    return context


def _context(serving: KeyPair, client_ca: bytes) -> ssl.SSLContext:
    context = _bare_context()
    with _readable(serving.certificate) as certificate, _readable(serving.key) as key:
        try:
            context.load_cert_chain(certificate, key, password=_refuse_password)
        except (OSError, ValueError) as exc:  # an SSLError, or a second read of the pipe
            raise ConfigurationError("the serving certificate: not PEM, or does not match its key") from exc
    if client_ca:
        try:
            context.load_verify_locations(cadata=client_ca.decode("ascii"))
        except (ssl.SSLError, ValueError) as exc:
            raise ConfigurationError("the CA of clients: not PEM certificates") from exc
        context.verify_mode = ssl.CERT_OPTIONAL
    return context


def _refuse_password() -> str:
    raise ValueError("the key is encrypted")  # without this callback, OpenSSL prompts on the terminal


@contextmanager
def _readable(content: bytes) -> Iterator[str]:
    """Yield a path to content, as required by OpenSSL: that of a pipe, so that no key is written to a disk."""
    reader, writer = os.pipe()
    try:
        try:
            os.set_blocking(writer, False)
            if os.write(writer, content) < len(content):
                raise ConfigurationError("the serving certificate or its key is too large")
        finally:
            os.close(writer)
        yield f"/dev/fd/{reader}"
    finally:
        os.close(reader)
