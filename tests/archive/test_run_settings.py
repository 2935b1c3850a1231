"""Settings as they are recorded: what is the default is not said."""

from modeling_chromagan.archive.run_settings import RunSettings


def test_defaults_are_not_recorded():
    assert RunSettings().recorded() == {}
    assert RunSettings(saturation=1.5, provenance=False).recorded() == {"saturation": 1.5, "provenance": False}


def test_a_profile_is_recorded_by_its_content(tmp_path):
    for name, content in (("a.icc", b"1"), ("b.icc", b"1"), ("c.icc", b"2")):
        (tmp_path / name).write_bytes(content)
    a, b, c = (RunSettings(profile=str(tmp_path / name)).recorded() for name in ("a.icc", "b.icc", "c.icc"))
    assert a == b != c
    assert RunSettings(profile="prophoto").recorded() == {"profile": "prophoto"}
