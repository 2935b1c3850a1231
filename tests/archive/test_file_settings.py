"""What the writers share."""

from fractions import Fraction

import numpy as np

from modeling_chromagan.archive.file_settings import Notes, to_8_bits, whole_milliseconds


def test_16_bits_become_the_nearest_8():
    every = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
    np.testing.assert_array_equal(to_8_bits(every, "JPEG", Notes()), np.rint(every / 257).astype(np.uint8))


def test_a_note_is_made_once():
    notes = Notes()
    for _ in range(3):
        to_8_bits(np.zeros((1, 1, 3), np.uint16), "JPEG", notes)
    assert notes == ["JPEG is written with 8 bits a channel: 16 bits are rounded"]


def test_rounded_times_do_not_drift():
    notes = Notes()
    third = Fraction(100, 3)
    durations = whole_milliseconds([third] * 300, "WebP", notes)
    assert (sum(durations), set(durations)) == (10_000, {33, 34})
    assert notes == ["WebP times frames in milliseconds: some are rounded"]
    assert whole_milliseconds([Fraction(40), None], "AVIF", kept := Notes()) == [40, 0]
    assert kept == []
