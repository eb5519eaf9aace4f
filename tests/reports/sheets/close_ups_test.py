"""Where images differ most, against counting it window by window."""

import numpy as np
import pytest

from ttl_jax.reports.sheets import close_ups
from ttl_jax.reports.sheets.close_ups import Box


def by_hand(panels, width, height):
    """The window of the largest variance, by NumPy's own variance; ties to the first."""
    variance = np.stack(panels).astype(float).var(axis=0).sum(-1)
    rows, columns = variance.shape
    top, left = rows // 20, columns // 20
    found = {
        Box(x, y, width, height): variance[y : y + height, x : x + width].sum()
        for y in range(top, rows - height - top + 1)
        for x in range(left, columns - width - left + 1)
    }
    return max(found, key=found.get)


@pytest.mark.parametrize("num_panels", [2, 5])
@pytest.mark.parametrize(("width", "height"), [(1, 1), (7, 4), (40, 36)])
def test_the_first_window_is_that_of_the_largest_variance(num_panels, width, height):
    rng = np.random.default_rng(0)
    panels = list(rng.integers(0, 256, (num_panels, 40, 60, 3), np.uint8))
    (found,) = close_ups.most_different(panels, 1, width, height)
    assert found == by_hand(panels, width, height)


def test_windows_are_found_in_the_order_of_their_differences_and_keep_clear():
    image = np.full((60, 100, 3), 100, np.uint8)
    changed = image.copy()
    changed[10:20, 10:20] = 130
    changed[30:40, 60:70] = 180
    found = close_ups.most_different([image, changed], 3, 10, 10)
    assert found[:2] == [Box(60, 30, 10, 10), Box(10, 10, 10, 10)]
    for i, one in enumerate(found):
        for other in found[:i]:
            apart_x = abs(one.x - other.x) >= 10 + 100 // 20
            apart_y = abs(one.y - other.y) >= 10 + 60 // 20
            assert apart_x or apart_y


def test_differences_at_the_border_are_not_chosen():
    image = np.full((60, 100, 3), 100, np.uint8)
    padded = image.copy()
    padded[:, :4] = padded[:2] = 255
    padded[28:33, 48:53] = 110
    (found,) = close_ups.most_different([image, padded], 1, 9, 9)
    assert found.x <= 48 and found.x + 9 >= 53 and found.y <= 28 and found.y + 9 >= 33


def test_ties_go_to_the_upper_left():
    images = [np.full((60, 100, 3), level, np.uint8) for level in (3, 250)]
    found = close_ups.most_different(images, 2, 10, 8)
    assert found == [Box(5, 3, 10, 8), Box(20, 3, 10, 8)]
    same = close_ups.most_different(images[:1] * 2, 1, 10, 8)
    assert same == [Box(5, 3, 10, 8)]


@pytest.mark.parametrize(
    ("count", "width", "height"), [(1, 101, 5), (1, 5, 61), (9, 30, 20)]
)
def test_too_many_windows_are_rejected(count, width, height):
    image = np.zeros((60, 100, 3), np.uint8)
    with pytest.raises(ValueError, match=rf"100 x 60.*{count} close-ups of {width} x"):
        close_ups.most_different([image, image], count, width, height)
