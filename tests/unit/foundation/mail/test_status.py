import re

import pytest

from foundation.mail import status


def codes() -> dict[str, str]:
    return {
        name: value for name, value in vars(status).items() if name[0].isupper() and isinstance(value, str)
    }


def test_every_code_is_well_formed() -> None:
    named = {name: value for name, value in codes().items() if name not in ("WAIT",)}
    assert len(named) > 30
    for value in named.values():
        assert re.fullmatch(r"[245]\.\d{1,3}\.\d{1,3}", value)


@pytest.mark.parametrize(("name", "value"), [item for item in codes().items() if item[1][:1] in ("4", "5")])
def test_every_failure_has_an_explanation_of_its_own(name: str, value: str) -> None:
    explanation = status.explain(value)
    assert explanation.sentence.endswith(".")
    assert explanation.mend.endswith(".")
    assert status.permanent(value) is value.startswith("5")


def test_unknown_details_are_explained_by_their_subject() -> None:
    assert status.explain("5.2.99") == status.explain("5.2.0")
    assert status.explain("4.1.1").sentence == status.explain("5.1.1").sentence
    assert "not told" in status.explain("5.9.9").sentence
    assert "not told" in status.explain("nonsense").sentence
    assert "delivered" in status.explain("2.1.5").sentence
