"""``felsina privacy canary``."""

import json
from dataclasses import replace

import pytest

from pipelines import cli
from pipelines.commands import canary
from privacy.accounting import Epsilon, SampledGaussian
from privacy.audit_run import PrivateAudit
from privacy.canary import Audit

SETTINGS = """
unit = "household"
nominal_units = 50
sampling_rate = 0.5
delta = 1e-3
steps = 10
epsilon = 2.0
noise_multiplier = 6.0
architecture = {width = 8}
"""


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run the command with an audit that found ``epsilon``; exit code, stdout, stderr."""
    path = tmp_path / "private.toml"
    path.write_text(SETTINGS)

    def said(epsilon: float, *words: str, ceiling: float = 4.1) -> tuple[int, str, str]:
        def audited(settings, units, listener, canaries, *, seed, public):
            audit = Audit(canaries, 200, 120, epsilon, settings.delta, 0.95, 0.6, 1.99, ceiling)
            listener.progress("audit", 1.0)
            return PrivateAudit(
                white_box=audit,
                black_box=replace(audit, epsilon=0.0, auc=0.51),
                settings=settings,
                claimed=SampledGaussian(0.5, 6.0, 10),
                epsilon=Epsilon(1.99, 2.0, 2.1, settings.delta),
                noise_multiplier=6.0,
                stand_in=units.spec.dataset,
                units=units.graph.nodes,
                pattern="gaps",
                seed=seed,
                seconds=1.0,
            )

        monkeypatch.setattr(canary, "audit_private", audited)
        argv = ["felsina", "privacy", "canary", "--settings", str(path), *words]
        monkeypatch.setattr("sys.argv", argv)
        with pytest.raises(SystemExit) as end:
            cli.main()
        return (end.value.code or 0, *capsys.readouterr())

    return said


def test_a_claim_that_stands_is_exit_0(run):
    code, out, err = run(0.4)
    assert code == 0
    assert "claim        epsilon 1.99 at delta 0.001, noise 6" in out
    assert "lower bound  epsilon 0.4 at 95% confidence: 120 of 200 guesses right" in out
    assert "AUC 0.600 by all noisy sums, 0.510 by the loss alone" in out
    assert "not contradicted (a bound from below proves nothing" in out
    assert "no private row was read" in out
    assert "Audit by canaries" in err


def test_a_claim_that_is_refuted_is_exit_1(run):
    code, out, _ = run(3.0)
    assert code == 1
    assert "CONTRADICTED" in out
    code, out, _ = run(3.0, "--json")
    assert code == 1
    assert json.loads(out)["contradicts"] is True


def test_an_audit_without_power_says_so(run):
    code, out, _ = run(0.4, ceiling=1.5)
    assert code == 0
    assert "says nothing" in out
    assert "could refute epsilon 1.5 at most" in out


def test_bad_input_is_exit_2(run, tmp_path):
    code, _, err = run(0.4, "--set", "steps=0")
    assert code == 2
    assert "steps" in err
    code, _, err = run(0.4, "--set", "noise_multiplier=0.5")
    assert code == 2
    assert "spend epsilon" in err
    (tmp_path / "private.toml").unlink()
    code, _, err = run(0.4)
    assert code == 2
    assert "private.toml: cannot be read: No such file" in err
