"""TLS of the kubelet API: the serving certificate, and the CA of client certificates.

Both may be rotated while the broker runs, by cert-manager and by the cluster. Both are therefore read again for
each handshake. Handshakes are rare, since the API server keeps its connections, and cost more than reading the
files.
"""

import ipaddress
import os
import ssl
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

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

    The certificate is valid for ten years, since it is not renewed; its key exists in memory alone.

    Args:
        node_name: name of the node, a DNS name.
        addresses: IP addresses or DNS names.
        now: current time.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, node_name[:64])])  # the limit of X.520
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))  # tolerance for different clocks
        .not_valid_after(now + timedelta(days=3650))
        .add_extension(
            x509.SubjectAlternativeName([_general_name(n) for n in dict.fromkeys([node_name, *addresses])]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return KeyPair(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


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
