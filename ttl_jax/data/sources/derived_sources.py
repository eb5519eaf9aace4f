"""Sources made from other sources: live rain, structures, photographs as pairs."""

from collections.abc import Callable

from ttl_jax.data.rain import live_rain
from ttl_jax.data.sources.photographs import (
    DrawnPhotograph,
    LivePair,
    NoPairsError,
    Pair,
    Photograph,
)
from ttl_jax.data.sources.source import Source
from ttl_jax.data.structures import drawing

_NUM_VARIANTS = 4  # drawings of structures on each photograph


class _OnClean(Source):
    """Pairs made from the clean photographs of another source."""

    def __init__(self, name, path, parse):
        super().__init__(name)
        self._clean = parse(path)
        self.parts = (self._clean,)
        self.root = self._clean.root
        self._prefix = name.removesuffix(path)  # name without that of the other source
        self.absolute = f"{self._prefix}{self._clean.absolute}"

    def relative(self, name):
        """Returns a name without `root`: "rain:a.png" for "rain:folder/a.png"."""
        below = name.removeprefix(self._prefix)
        kind = "" if below == name else f"{self._prefix.partition(':')[0]}:"
        return f"{kind}{self._clean.relative(below)}"

    def photographs(self, role: str) -> list[Photograph]:
        raise ValueError(
            f"{self.name!r} consists of pairs, so use it as a source of pairs; name "
            f"another source of {role} photographs."
        )


class LiveRain(_OnClean):
    """Rain rendered on the photographs of another source, anew for each crop."""

    is_live = True

    def __init__(self, make_rain: Callable[[], live_rain.Rain], name, path, parse):
        super().__init__(name, path, parse)
        self._make_rain = make_rain

    def pairs(self) -> list[Pair]:
        rain = self._make_rain()
        return [
            LivePair.on(clean, f"{self._prefix}{clean.name}", rain)
            for clean in self._clean.open("clean")
        ]


class StreakRain(LiveRain):
    """Streaks taken from the pairs of a source."""

    def __init__(self, name, path, parse):
        pairs, on, clean = path.partition(" on ")
        if not on or " on " in clean:
            raise ValueError(
                f"{name!r} must name two sources, as in 'streaks:PAIRS on CLEAN', with "
                "exactly one ' on ' between them."
            )
        source = parse(pairs)
        super().__init__(
            lambda: live_rain.Streaks(source.open("pairs")), name, clean, parse
        )
        self.parts = (source, self._clean)
        self.absolute = f"streaks:{source.absolute} on {self._clean.absolute}"


class Identity(_OnClean):
    """The photographs of another source, each paired with itself."""

    def pairs(self) -> list[Pair]:
        return [Pair(clean, clean) for clean in self._clean.open("clean")]


class Structures(_OnClean):
    """Thin structures drawn on the photographs of another source."""

    def photographs(self, role: str) -> list[Photograph]:
        if role != "clean":
            raise ValueError(
                f"{self.name!r} has rain-free photographs, so use it as a source of clean "
                f"photographs or in pairs; name another source of {role} photographs."
            )
        return [
            DrawnPhotograph.on(clean, f"{self._prefix}{clean.name}#{i}", drawing.draw)
            for clean in self._clean.open("clean")
            for i in range(1, _NUM_VARIANTS + 1)
        ]

    def pairs(self) -> list[Pair]:
        raise NoPairsError(
            f"{self.name!r} has photographs but no pairs; for pairs, use "
            f"identity:{self.name} or rain:{self.name}."
        )
