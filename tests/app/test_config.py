"""Settings: options over environment over file, remembered without losing what a person wrote."""

import pytest

from app.config import Config, ConfigError, remember


def test_options_win_over_the_environment_and_that_over_the_file(tmp_path, monkeypatch):
    path = tmp_path / "config.toml"
    path.write_text('model = "file"\nslots = 2\nthreads = 3\n')
    monkeypatch.setenv("IDLEWATT_MODEL", "environment")
    monkeypatch.setenv("IDLEWATT_SLOTS", "5")

    config = Config.load(path, model="option")

    assert (config.model, config.slots, config.threads) == ("option", 5, 3)


def test_a_home_without_a_file_has_the_defaults(tmp_path):
    config = Config.load(tmp_path / "config.toml")

    assert (config.relay, config.model, config.slots) == (None, "demo", 4)


def test_remembering_keeps_a_persons_comments(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text("# mine\nslots = 2 # enough\n")

    remember(path, relay="ws://127.0.0.1:9000", chain=None)

    assert path.read_text() == '# mine\nslots = 2 # enough\nrelay = "ws://127.0.0.1:9000"\n'


@pytest.mark.parametrize(
    ("text", "named"),
    [("slots = 0", "slots"), ("slots = ", "config.toml"), ('relay = "http://here"', "relay"), ('chain = "x"', "chain")],
)
def test_a_bad_file_is_refused_by_name(tmp_path, text, named):
    path = tmp_path / "config.toml"
    path.write_text(text)

    with pytest.raises(ConfigError, match=named) as failure:
        Config.load(path)
    assert failure.value.fix


def test_unwritable_settings_are_said_in_one_line(tmp_path):
    path = tmp_path / "config.toml"
    path.mkdir()

    with pytest.raises(ConfigError, match="can't be written"):
        remember(path, slots=3)
