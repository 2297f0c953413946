"""What all tests share: the organisation under test tells what its servers said when a test fails."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.harness.organisation import Organisation


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[Any]:
    report = yield
    if report.failed:
        for value in getattr(item, "funcargs", {}).values():
            if isinstance(value, Organisation) and value.log:
                report.sections.append(("Log of the servers", value.shown_log()))
    return report
