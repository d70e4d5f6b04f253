"""What the slope simulator must reproduce."""

from __future__ import annotations

from pipelines.domains.flood.slopes_verification import verify_slopes


def test_each_reference_is_met():
    checks = verify_slopes()
    assert len(checks) > 40
    assert [check for check in checks if not check.ok] == []
    names = [(check.case, check.quantity) for check in checks]
    assert len(set(names)) == len(names)
    assert all(check.case.startswith("slope ") for check in checks)
