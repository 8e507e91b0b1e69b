from __future__ import annotations

from pathlib import Path

import pytest

from tests.suites import __main__ as program
from tests.suites.row import Row, SourceError, Sources
from tests.suites.sdist import ROOT, unpacked


def nowhere() -> Path:
    raise SourceError("there is no sdist.")


SOURCES = Sources(sdist=nowhere, shared=ROOT)


def run(monkeypatch: pytest.MonkeyPatch, *rows: Row) -> int:
    monkeypatch.setattr(program, "SUITES", {"ours": lambda _sources: rows})
    return program.run(["ours"], SOURCES)


def test_a_line_holds_when_all_passed_or_as_many_as_it_needs(monkeypatch, capsys):
    assert run(monkeypatch, Row(what="a", tried=3, passed=3), Row(what="b", tried=10, passed=9, least=9)) == 0
    assert [line.split()[4] for line in capsys.readouterr().out.splitlines()[1:3]] == ["ok", "ok"]


def test_a_line_that_misses_its_aim_fails_the_run(monkeypatch, capsys):
    assert run(monkeypatch, Row(what="a", tried=3, passed=2, note="first: x"), Row(what="b", tried=1, passed=1)) == 1
    assert "FAILED   first: x" in capsys.readouterr().out


def test_a_suite_whose_files_are_missing_is_left_out_with_the_reason(capsys):
    assert program.run(["templates"], SOURCES) == 0
    assert "templates      left out: there is no sdist." in capsys.readouterr().out


def test_an_sdist_that_was_unpacked_before_is_not_downloaded_again(tmp_path):
    version = next(
        line.split("==")[1].split(" ")[0]
        for line in (ROOT / "requirements.lock").read_text().splitlines()
        if line.startswith("llama-cpp-python==")
    )
    (tmp_path / f"llama_cpp_python-{version}").mkdir()
    assert unpacked(tmp_path) == tmp_path / f"llama_cpp_python-{version}"


def test_the_environment_of_the_reference_has_a_lock_of_its_own():
    wanted = (ROOT / "tests/suites/requirements.in").read_text().split()
    pinned = (ROOT / "tests/suites/requirements.lock").read_text()
    assert all(f"{one} \\\n    --hash=sha256:" in pinned for one in wanted)


def test_a_name_that_is_no_suite_is_refused_with_those_that_are(capsys):
    assert program.command_line().parse_args([]).suites == []
    assert program.command_line().parse_args(["templates", "schemas"]).suites == ["templates", "schemas"]
    with pytest.raises(SystemExit):
        program.command_line().parse_args(["template"])
    assert "there is no suite 'template'; choose from vocabularies, templates," in capsys.readouterr().err
