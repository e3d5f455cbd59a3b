"""Chromium for tests that look at pages; where it must be there, a skipped test fails."""

from __future__ import annotations

import os
import shutil

import pytest

CHROMIUM = shutil.which("chromium")
REQUIRED = "TEXTDIFF_REQUIRE_BROWSER"
"""Environment variable; CI sets it."""
# Without background networking, which would ask for hosts that a closed network refuses.
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


@pytest.fixture(scope="session")
def browser():
    """A running Chromium, driven by Playwright."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    if CHROMIUM is None:
        pytest.skip("needs Chromium (Debian: apt-get install chromium)")
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Let a skipped browser test fail where the browser is required."""
    report = yield
    if report.skipped and item.get_closest_marker("browser") and os.environ.get(REQUIRED):
        report.outcome, report.longrepr = "failed", f"skipped, and {REQUIRED} is set: {report.longrepr}"
    return report
