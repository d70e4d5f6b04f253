"""The sweep of mitigation.md."""
