"""``idlewatt wallet export --out``: the file is the backup that the checklist asks for."""

from __future__ import annotations

import json
import stat

from click.testing import CliRunner

from app.cli.wallet import command


def test_a_written_export_ends_the_warning_that_there_is_no_backup(tmp_path, monkeypatch):
    """Who did what the warning says kept it for ever: only the app's question for the words ended it."""
    monkeypatch.setenv("IDLEWATT_PASSPHRASE", "a long passphrase")
    runner, home, out = CliRunner(), ["--home", str(tmp_path / "home")], tmp_path / "backup.json"

    def run(*arguments: str) -> str:
        done = runner.invoke(command, [*arguments, *home], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    def backed_up() -> bool:
        return json.loads(run("show", "--json"))["backed_up"]

    address = run("new").strip()
    assert json.loads(run("export"))["address"].lower() == address.removeprefix("0x").lower()
    assert not backed_up()
    run("export", "--out", str(out))
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert backed_up()
