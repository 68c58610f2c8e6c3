"""The stage of the end-to-end tests, for the contracts that a server has to keep as well."""

from tests.e2e.conftest import keys, pytest_runtest_makereport, server

__all__ = ["keys", "pytest_runtest_makereport", "server"]
