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
    [
        ("slots = 0", "slots"),
        ('slots = "many"', "slots"),
        ('threads = "9999"', "threads"),
        (f"price_in_nano = {2**64}", "price_in_nano"),
        ('log_level = "loud"', "log_level"),
        ("keyring = 3", "keyring"),
        ('relay = "http://here"', "relay"),
        ("relay = 7", "relay"),
        ('chain = "x"', "chain"),
        ('chain = "http://[::1"', "chain"),
        ("slots = ", "config.toml"),
    ],
)
def test_a_bad_file_is_refused_by_name(tmp_path, text, named):
    path = tmp_path / "config.toml"
    path.write_text(text)

    with pytest.raises(ConfigError, match=named) as failure:
        Config.load(path)
    assert failure.value.fix


def test_a_file_that_is_none_or_no_text_is_refused_by_name(tmp_path):
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "bytes.toml").write_bytes(b"model = '\xff'")

    for name in ("folder.toml", "bytes.toml"):
        with pytest.raises(ConfigError, match=name):
            Config.load(tmp_path / name)


def test_a_bad_variable_is_refused_without_repeating_what_it_holds(tmp_path, monkeypatch):
    monkeypatch.setenv("IDLEWATT_SLOTS", "s3cret")

    with pytest.raises(ConfigError, match="slots") as failure:
        Config.load(tmp_path / "config.toml")
    assert "s3cret" not in failure.value.line()


def test_variables_are_read_as_what_the_setting_is(tmp_path, monkeypatch):
    monkeypatch.setenv("IDLEWATT_KEYRING", "true")
    monkeypatch.setenv("IDLEWATT_THREADS", "2")
    monkeypatch.setenv("IDLEWATT_RELAY", "wss://relay.example/")

    config = Config.load(tmp_path / "config.toml")

    assert (config.keyring, config.threads, config.relay) == (True, 2, "wss://relay.example")


def test_unknown_settings_are_left_alone(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text('colour = "red"\nslots = 2\n')

    assert Config.load(path).slots == 2


def test_unwritable_settings_are_said_in_one_line(tmp_path):
    path = tmp_path / "config.toml"
    path.mkdir()

    with pytest.raises(ConfigError, match="can't be written"):
        remember(path, slots=3)
