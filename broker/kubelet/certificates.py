"""TLS of the kubelet API: which certificate it shows, and whose clients it believes.

Both may change while it runs: cert-manager and the cluster rotate them. So they are read again for each
handshake, which is rare (the API server keeps its connections) and costs less than the handshake itself.
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
    """A certificate, with its chain where it has one, and its private key, both PEM."""

    certificate: bytes
    key: bytes


def read_pem(path: Path) -> bytes:
    """Read a file.

    Raises:
        ConfigurationError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as exc:
        raise ConfigurationError(f"{path}: {exc.strerror}") from exc


def self_signed(node_name: str, addresses: Iterable[str], *, now: datetime) -> KeyPair:
    """Make a certificate for a node's name and addresses, as a kubelet does that is given none.

    It is good for ten years, since nobody is there to renew it; the key never leaves this process.

    Args:
        node_name: the node's name, a DNS name as all names of nodes are.
        addresses: IP addresses or DNS names.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, node_name[:64])])  # what X.520 has room for
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))  # clocks differ
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
    """The TLS context of a server whose certificate and client CA may change.

    Args:
        serving: gives the certificate that is to be shown now.
        client_ca: gives the CAs that clients' certificates may come from now, PEM; empty to ask for none.

    Raises:
        ConfigurationError: what is there at the start cannot be used.
    """

    def __init__(self, serving: Callable[[], KeyPair], client_ca: Callable[[], bytes]) -> None:
        self._serving = serving
        self._client_ca = client_ca
        self._read: tuple[KeyPair, bytes] | None = None
        self.context = _bare_context()
        self.context.sni_callback = self._at_handshake
        self.reload()

    def reload(self) -> None:
        """Take what is there now, where it has changed.

        Raises:
            ConfigurationError: it cannot be used; what was there before stays in force.
        """
        read = self._serving(), self._client_ca()
        if read == self._read:
            return
        self._current = _context(*read)
        # Whether a client is asked for a certificate is settled before the handshake gets to the callback.
        self.context.verify_mode = self._current.verify_mode
        self._read = read

    def _at_handshake(
        self, connection: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _: ssl.SSLContext
    ) -> None:
        try:
            self.reload()
        except ConfigurationError as exc:  # half written, perhaps: the next handshake looks again
            log.warning("kept the certificates that were in force", error=str(exc))
        connection.context = self._current


def _bare_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A resumed session would not look at the client's certificate again.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    return context


def _context(serving: KeyPair, client_ca: bytes) -> ssl.SSLContext:
    context = _bare_context()
    with _readable(serving.certificate) as certificate, _readable(serving.key) as key:
        try:
            context.load_cert_chain(certificate, key, password=_refuse_password)
        except (OSError, ValueError) as exc:  # an SSLError, or that a pipe cannot be read twice
            raise ConfigurationError("the serving certificate: not PEM, or not that of its key") from exc
    if client_ca:
        try:
            context.load_verify_locations(cadata=client_ca.decode("ascii"))
        except (ssl.SSLError, ValueError) as exc:
            raise ConfigurationError("the CA of clients: not PEM certificates") from exc
        context.verify_mode = ssl.CERT_OPTIONAL
    return context


def _refuse_password() -> str:
    raise ValueError("the key is encrypted")  # and OpenSSL would ask for its password on the terminal


@contextmanager
def _readable(content: bytes) -> Iterator[str]:
    """Give content as a path, for OpenSSL takes nothing else: a pipe, so that no key gets onto a disk."""
    reader, writer = os.pipe()
    try:
        try:
            os.set_blocking(writer, False)
            if os.write(writer, content) < len(content):
                raise ConfigurationError("the serving certificate or its key is larger than any can be")
        finally:
            os.close(writer)
        yield f"/dev/fd/{reader}"
    finally:
        os.close(reader)
