import json

import pytest

from models.chain import verify
from models.errors import FelsinaError
from models.signing import sign_record
from privacy.deployment import certificates
from privacy.deployment.city import City
from privacy.deployment.invitation import acceptance, read_invitation
from privacy.ledger import Ledger
from tests.privacy.deployment.conftest import (
    AGREEMENT,
    Newcomer,
    invitation_of,
    make_city,
    make_terms,
)


@pytest.fixture
def newcomer(city, tmp_path):
    return Newcomer(invitation_of(city, "hera", tmp_path), tmp_path / "hera")


def kinds(city):
    return [entry.kind for entry in entries(city)]


def entries(city):
    return verify(city.ledger_path, city.key.public_key())


def test_a_city_is_made_whole_and_once(city, parts):
    modes = {p.name: p.stat().st_mode & 0o077 for p in city.folder.glob("*.key")}
    assert modes == {"ca.key": 0, "city.key": 0, "server.key": 0}
    with pytest.raises(FelsinaError, match="exists; a city is made once"):
        make_city(city.folder, parts[0])
    with pytest.raises(FelsinaError, match="HOST:PORT"):
        make_city(city.folder.with_name("other"), parts[0], address="nowhere")
    assert not city.folder.with_name("other").exists()
    with pytest.raises(FelsinaError, match="no city's folder"):
        City(city.folder / "partners")


def test_an_invitation_holds_all_that_a_partner_needs_and_shows_edits(city, tmp_path):
    path = invitation_of(city, "hera", tmp_path)
    read = read_invitation(path)
    assert (read.partner, read.agreement, read.plan) == ("hera", AGREEMENT, city.plan)
    assert read.bundle_sha256 == city.bundle_sha256
    assert "PRIVATE" not in path.read_text()
    record = json.loads(path.read_text())
    for name, value in (
        ("address", "elsewhere:1"),
        ("bundle_sha256", "0" * 64),
        ("agreement", "You hand over everything."),
    ):
        path.write_text(json.dumps(record | {name: value}))
        with pytest.raises(FelsinaError, match=r"hera\.invitation was edited"):
            read_invitation(path)
    path.write_text("no json")
    with pytest.raises(FelsinaError, match=r"hera\.invitation: no invitation"):
        read_invitation(path)


def test_whoever_was_invited_joins_once_and_comes_back(city, newcomer):
    answer = city.enrol("hera", newcomer.sent())
    assert kinds(city) == ["open", "agreement", "dataset", "budget"]
    verify(city.ledger_path, city.key.public_key(), [answer["receipt"]])
    key = certificates.public_pem(newcomer.key.public_key())
    assert city.admitted("hera", key)
    assert not city.admitted("hera", key.replace(b"A", b"B"))
    assert not city.admitted("iren", key)
    again = city.enrol("hera", newcomer.sent())  # after a kill, say
    assert "BEGIN CERTIFICATE" in again["certificate"]
    assert kinds(city) == ["open", "agreement", "dataset", "budget"]
    with pytest.raises(FelsinaError, match="has joined"):
        city.invite("hera", AGREEMENT, make_terms())


def test_who_was_not_invited_learns_nothing(city, newcomer, tmp_path):
    said = set()
    stolen = json.loads(newcomer.sent())
    for partner, token in (("hera", "x" * 43), ("iren", stolen["token"]), ("../ca", "x")):
        with pytest.raises(FelsinaError) as caught:
            city.enrol(partner, json.dumps(stolen | {"token": token}).encode())
        said.add(str(caught.value))
    assert said == {"the invitation is not known here; ask the city for a new one"}
    city.enrol("hera", newcomer.sent())
    thief = Newcomer(tmp_path / "hera.invitation", tmp_path / "thief")
    with pytest.raises(FelsinaError, match="used with another key"):
        city.enrol("hera", thief.sent())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"token": 1}, "token"),
        ({"weight": -500.0}, "weight"),
        ({"weight": float("inf")}, "enrolment"),
        ({"weight": 1e9}, "private training weighs its units"),
        ({"noise_multiplier": None}, "names its noise"),
        ({"noise_multiplier": 0.1}, "looser"),
        ({"sampling_rate": 0.9}, "looser"),
        ({"request": "no request"}, "certificate request"),
        ({"digests": {}}, "digests"),
        ({"dataset": "../homes"}, "dataset"),
        ({"more": 1}, "more"),
    ],
)
def test_an_enrolment_that_is_wrong_leaves_nothing_behind(city, newcomer, changes, said):
    sent = json.loads(newcomer.sent()) | changes
    with pytest.raises(FelsinaError, match=said) as caught:
        city.enrol("hera", json.dumps(sent).encode())
    assert "\n" not in str(caught.value)
    assert kinds(city) == ["open"]
    assert city.member("hera").state == "invited"


def test_one_key_is_one_partners(city, newcomer, tmp_path):
    city.enrol("hera", newcomer.sent())
    twin = Newcomer(invitation_of(city, "iren", tmp_path), tmp_path / "hera-again")
    twin.key = newcomer.key
    with pytest.raises(FelsinaError, match="another partner has this key"):
        city.enrol("iren", twin.sent(digests={"series.parquet": "1" * 64}))
    assert city.member("iren").state == "invited"


def test_a_wrong_enrolment_tells_neither_log_nor_sender_what_it_held(city, newcomer):
    sent = json.loads(newcomer.sent())
    token = sent["token"]
    for changed in (
        {name: value for name, value in sent.items() if name != "request"},
        sent | {"accepted": "x" * 10_000},
        sent | {"dataset": sent},
        sent | {"x" * 10_000: 1},
    ):
        with pytest.raises(FelsinaError) as caught:
            city.enrol("hera", json.dumps(changed).encode())
        assert token not in str(caught.value)
        assert len(str(caught.value)) < 400
    city.enrol("hera", newcomer.sent())
    assert all(token not in path.read_text() for path in (city.folder / "partners").iterdir())


def test_terms_may_be_stricter_and_have_to_be_signed(city, newcomer):
    looser = make_terms(epsilon=9.0)
    with pytest.raises(FelsinaError, match="looser"):
        city.enrol("hera", newcomer.sent(looser))
    stricter = make_terms(epsilon=2.5)
    signed_otherwise = sign_record(acceptance(newcomer.invitation, looser), newcomer.signer)
    with pytest.raises(FelsinaError, match="another text, plan or bundle"):
        city.enrol("hera", newcomer.sent(stricter, accepted=signed_otherwise))
    edited = json.loads(newcomer.sent())["accepted"] | {"plan_sha256": "0" * 64}
    with pytest.raises(FelsinaError, match="acceptance: was edited"):
        city.enrol("hera", newcomer.sent(accepted=edited))
    city.enrol("hera", newcomer.sent(stricter))
    assert entries(city)[1].body["epsilon"] == 2.5


def test_on_what_basis_units_take_part_is_entered(city, newcomer):
    basis = "contract, GDPR art. 6(1)(b)"
    city.enrol("hera", newcomer.sent(basis=basis))
    city.enrol("hera", newcomer.sent(basis=basis))
    consents = [entry.body for entry in entries(city) if entry.kind == "consent"]
    assert consents == [{"partner": "hera", "dataset": "homes", "units": 4, "basis": basis}]


def test_the_same_rows_in_two_hands_are_refused(city, newcomer, tmp_path):
    city.enrol("hera", newcomer.sent())
    other = Newcomer(invitation_of(city, "iren", tmp_path), tmp_path / "iren")
    digests = json.loads(newcomer.sent())["digests"]
    with pytest.raises(FelsinaError, match="let one partner bring it"):
        city.enrol("iren", other.sent(digests=digests))
    assert city.member("iren").state == "invited"


def test_who_withdrew_is_out_until_invited_anew(city, newcomer, tmp_path):
    with pytest.raises(FelsinaError, match="has not joined"):
        city.withdraw("hera", None)
    city.enrol("hera", newcomer.sent())
    city.withdraw("hera", "another strategy")
    key = certificates.public_pem(newcomer.key.public_key())
    assert not city.admitted("hera", key)
    with pytest.raises(FelsinaError, match="not known here"):
        city.enrol("hera", newcomer.sent())
    assert kinds(city)[-1] == "withdrawal"
    (tmp_path / "hera.invitation").unlink()
    back = Newcomer(invitation_of(city, "hera", tmp_path), tmp_path / "hera-again")
    city.enrol("hera", back.sent())
    assert kinds(city)[-3:] == ["agreement", "dataset", "budget"]


def test_a_withdrawal_that_was_killed_keeps_the_partner_out_and_is_finished(
    city, newcomer, monkeypatch
):
    city.enrol("hera", newcomer.sent())

    def killed(*given):
        raise KeyboardInterrupt

    for step in ((Ledger, "record"), (City, "_keep")):
        with monkeypatch.context() as patched:
            patched.setattr(*step, killed)
            with pytest.raises(KeyboardInterrupt):
                city.withdraw("hera", None)
        said = kinds(city)[-1] == "withdrawal"
        assert not said or city.member("hera").withdrawn  # or its node would join again
    city.withdraw("hera", None)
    assert kinds(city).count("withdrawal") == 1
    with pytest.raises(FelsinaError, match=r"has not joined \(withdrew\)"):
        city.withdraw("hera", None)


def test_terms_that_the_plan_would_exceed_are_not_offered(city):
    with pytest.raises(FelsinaError, match="delta"):
        city.invite("hera", AGREEMENT, make_terms(units=1000))
    with pytest.raises(FelsinaError, match="protect unit meter"):
        city.invite("hera", AGREEMENT, make_terms(unit="meter"))
    with pytest.raises(FelsinaError, match="invitation: partner"):
        city.invite("her a", AGREEMENT, make_terms())
    assert city.members() == []
