"""Settings: one validated schema, unknown names refused with the nearest known ones."""

import dataclasses

import pytest

from DDSAM2SlicerLib.core.errors import SettingsError, suggest
from DDSAM2SlicerLib.core.settings import EngineSettings


def test_dictionary_round_trip_is_equal():
    settings = EngineSettings(zoom=False, zoom_margin=0.3, memory_rule="diverse", threads=2)
    assert EngineSettings.from_dict(settings.to_dict()) == settings
    assert settings != EngineSettings()


def test_missing_names_keep_their_defaults():
    assert EngineSettings.from_dict({"zoom": False}) == EngineSettings(zoom=False)


def test_unknown_name_is_refused_with_near_matches():
    with pytest.raises(SettingsError, match=r"Unknown setting 'memory_rul'\. Did you mean 'memory_rule'"):
        EngineSettings.from_dict({"memory_rul": "recent"})


def test_unknown_name_without_near_match_lists_all():
    with pytest.raises(SettingsError, match=r"Accepted: fill_holes_px, .*zoom_margin"):
        EngineSettings.from_dict({"qqqq": 1})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"zoom": 1}, "'zoom' is 1; it must be of type bool"),
        ({"threads": True}, "'threads' is True; it must be of type int"),
        ({"threads": 1.5}, "must be of type int"),
        ({"threads": -1}, "must be at least 0"),
        ({"zoom_margin": "wide"}, "must be of type float"),
        ({"zoom_margin": 1.01}, "must be from 0.05 to 1.0"),
        ({"zoom_margin": float("nan")}, "must be from 0.05 to 1.0"),
        ({"memory_rule": "recnt"}, "Did you mean 'recent'"),
        ({"precision": "fp64"}, "Did you mean|Accepted"),
    ],
)
def test_value_outside_of_the_schema_is_refused(values, message):
    with pytest.raises(SettingsError, match=message):
        EngineSettings.from_dict(values)


def test_whole_number_is_accepted_for_a_real_one():
    assert isinstance(EngineSettings(zoom_margin=1).zoom_margin, float)


def test_settings_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        EngineSettings().zoom = False


def test_every_setting_explains_itself():
    assert all(field.metadata["text"].endswith(".") for field in dataclasses.fields(EngineSettings))


def test_suggestion_names_near_matches_or_everything():
    assert suggest("nanno", ["nano", "tiny"]) == "Did you mean 'nano'?"
    assert suggest("xyz", ["tiny", "nano"]) == "Accepted: nano, tiny."
