import ssl
import stat
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from models.errors import FelsinaError
from privacy.deployment import certificates, service


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("authority")
    certificates.create_authority(made, "bologna")
    certificates.create_server(made, "twin.example")
    return made


def loaded(content):
    return x509.load_pem_x509_certificate(content)


def test_private_keys_are_their_owners_alone(folder):
    for name in ("ca.key", "server.key"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
    kept = certificates.load_node_key(folder / "server.key").private_numbers()
    assert certificates.create_node_key(folder / "server.key").private_numbers() == kept


def test_the_chain_verifies_by_an_independent_verifier(folder):
    store = Store([loaded((folder / "ca.crt").read_bytes())])
    server = loaded((folder / "server.pem").read_bytes())
    for host in ("twin.example", "localhost"):
        PolicyBuilder().store(store).build_server_verifier(x509.DNSName(host)).verify(server, [])
    other = PolicyBuilder().store(store).build_server_verifier(x509.DNSName("other.example"))
    with pytest.raises(VerificationError):
        other.verify(server, [])
    key = certificates.create_node_key(folder / "p.key")
    client = loaded(certificates.certify(folder, certificates.request_of(key, "hera"), "hera"))
    PolicyBuilder().store(store).build_client_verifier().verify(client, [])
    host = PolicyBuilder().store(store).build_server_verifier(x509.DNSName("localhost"))
    with pytest.raises(VerificationError):  # a partner's certificate is no server's
        host.verify(client, [])


def test_the_city_gives_the_name_whatever_the_request_says(folder):
    key = certificates.create_node_key(folder / "q.key")
    request = certificates.request_of(key, "somebody-else")
    given = certificates.certify(folder, request, "hera")
    der = ssl.PEM_cert_to_DER_cert(given.decode())
    assert certificates.who_shows(der) == ("hera", certificates.public_pem(key.public_key()))


def test_a_request_that_is_none_is_refused(folder):
    key = certificates.create_node_key(folder / "r.key")
    request = certificates.request_of(key, "hera")
    for bad in ("", request.replace("M", "N"), request[:200]):
        with pytest.raises(FelsinaError, match="certificate request"):
            certificates.key_of_request(bad)
    for curve in (ec.SECP256K1(), ec.SECP256R1(), ec.SECP521R1()):  # no node of a SuperLink's
        with pytest.raises(FelsinaError, match=r"certificate request.*P-384"):
            certificates.key_of_request(
                certificates.request_of(ec.generate_private_key(curve), "hera")
            )
    read = certificates.key_of_request(request)
    assert isinstance(read, ec.EllipticCurvePublicKey)
    (folder / "broken.key").write_bytes(b"no key")
    with pytest.raises(FelsinaError, match=r"broken\.key.*restore"):
        certificates.load_node_key(folder / "broken.key")


def test_the_city_renews_what_it_shows_whenever_it_begins(city, monkeypatch):
    monkeypatch.setattr(certificates, "SERVER_DAYS", 0)
    certificates.create_server(city.folder, "localhost")
    shown = city.folder / "server.pem"
    assert certificates.ends_on(shown) < datetime.now(UTC)
    monkeypatch.undo()

    def ended(*given):
        raise FelsinaError("this far")

    monkeypatch.setattr(service, "SuperLink", ended)
    key = (city.folder / "server.key").read_bytes()
    with pytest.raises(FelsinaError, match="this far"):
        service.serve_run(city, "first", lambda text, share: None)
    assert certificates.ends_on(shown) > datetime.now(UTC) + timedelta(days=800)
    assert (city.folder / "server.key").read_bytes() == key
