"""Settings: options over environment over file, remembered without losing what a person wrote."""

from decimal import Decimal

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
        ("[energy]\nprice_per_kwh = -1", r"energy\.price_per_kwh"),
        ('[energy]\nprice_per_kwh = "cheap"', r"energy\.price_per_kwh"),
        ("[energy]\nprice = 1", "unknown field `price`"),
        ("[energy]\ncpu_w = 0", r"energy\.cpu_w"),
        ('[[energy.tariff]]\nfrom = "22:00"\nto = "06:00"\nprice_per_kwh = 0.1', r"needs energy\.price_per_kwh"),
        ('[availability]\nhours = ["always"]', r"availability\.hours"),
        ("[availability]\nhours = 7", r"availability\.hours"),
        ("[availability]\nmax_temperature_c = 500", r"availability\.max_temperature_c"),
        ('[availability]\npause_for = [""]', r"availability\.pause_for"),
        ("availability = 3", "availability"),
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


def test_a_price_of_power_is_taken_as_it_is_written(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(
        '[energy]\nprice_per_kwh = 0.1\n[[energy.tariff]]\nfrom = "22:00"\nto = "06:00"\nprice_per_kwh = "0.07"\n'
        "[availability]\nmax_temperature_c = 83\nresume_after_s = 1.5\n"
    )
    config = Config.load(path)

    assert (config.energy.price_per_kwh, config.energy.tariff[0].price_per_kwh) == (Decimal("0.1"), Decimal("0.07"))
    assert (config.availability.max_temperature_c, config.availability.resume_after_s) == (83.0, 1.5)


def test_overlapping_tariffs_are_refused_with_the_file_to_mend(tmp_path):
    path = tmp_path / "config.toml"
    part = '[[energy.tariff]]\nfrom = "22:00"\nto = "06:00"\nprice_per_kwh = 0.1\n'
    path.write_text(f"[energy]\nprice_per_kwh = 0.3\n{part}{part}")

    with pytest.raises(ConfigError, match="overlap") as failure:
        Config.load(path)
    assert str(path) in failure.value.fix


def test_unknown_settings_are_left_alone(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text('colour = "red"\nslots = 2\n')

    assert Config.load(path).slots == 2


def test_unwritable_settings_are_said_in_one_line(tmp_path):
    path = tmp_path / "config.toml"
    path.mkdir()

    with pytest.raises(ConfigError, match="can't be written"):
        remember(path, slots=3)
