"""A home keeps to itself: owner-only, one node at a time, and clear about what is wrong."""

import subprocess
import sys

import pytest

from app.home import Home, HomeBusyError, HomeError


def test_a_new_home_is_readable_by_its_owner_only(tmp_path):
    home = Home(tmp_path / "deep" / "home").prepare()

    assert home.root.stat().st_mode & 0o777 == 0o700
    assert home.keystore.stat().st_mode & 0o777 == 0o700


def test_the_option_wins_over_the_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("IDLEWATT_HOME", str(tmp_path / "variable"))

    assert Home.resolve(tmp_path / "option").root == tmp_path / "option"
    assert Home.resolve(None).root == tmp_path / "variable"


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(HomeError, match="file/home can't be used") as failure:
        Home(tmp_path / "file" / "home").prepare()
    assert "--home" in failure.value.fix


def test_a_second_node_is_refused_while_the_first_runs(tmp_path):
    home = Home(tmp_path).prepare()
    with home.locked():
        assert home.is_locked()
        with pytest.raises(HomeBusyError, match="already running"), home.locked():
            pass
    assert not home.is_locked()


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    home = Home(tmp_path).prepare()
    script = "import sys; from pathlib import Path; from app.home import Home\n" \
        "with Home(Path(sys.argv[1])).locked(): print('held', flush=True); sys.stdin.read()"  # fmt: skip
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        assert home.is_locked()
        holder.kill()
    assert not home.is_locked()


def test_a_deep_home_gets_a_socket_path_that_the_system_can_bind(tmp_path):
    home = Home(tmp_path / ("deep" * 40)).prepare()

    assert len(str(home.control_socket)) < 100
