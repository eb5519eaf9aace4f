"""Sources made from other sources: live rain, structures, photographs as pairs."""

import abc

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
    """A source made from the clean photographs of another one."""

    def __init__(self, name, path, parse):
        super().__init__(name)
        self._clean = parse(path)
        self.parts = (self._clean,)
        self._prefix = name.removesuffix(path)  # name without that of the other source


class LiveRain(_OnClean):
    """Rain rendered on the photographs of another source, anew for each crop."""

    def photographs(self, role: str) -> list[Photograph]:
        raise ValueError(
            f"{self.name!r} renders pairs, so it can be one of the pairs; as {role} "
            "photographs name real ones."
        )

    def pairs(self) -> list[Pair]:
        rain = self._make_rain()
        return [
            LivePair.on(clean, f"{self._prefix}{clean.name}", rain)
            for clean in self._clean.open("clean")
        ]

    @abc.abstractmethod
    def _make_rain(self) -> live_rain.Rain:
        """The rain of all pairs."""


class PhysicalRain(LiveRain):
    """Rain as a camera sees it."""

    def _make_rain(self):
        return live_rain.Physical()


class AdditiveRain(LiveRain):
    """Streaks added to the pixels."""

    def _make_rain(self):
        return live_rain.Additive()


class StreakRain(LiveRain):
    """Streaks taken from the pairs of a source."""

    def __init__(self, name, path, parse):
        pairs, on, clean = path.partition(" on ")
        if not on or " on " in clean:
            raise ValueError(
                f"{name!r} must name two sources, as 'streaks:PAIRS on CLEAN', with "
                "' on ' between them and nowhere else."
            )
        super().__init__(name, clean, parse)
        self._pairs = parse(pairs)
        self.parts = (self._pairs, self._clean)

    def _make_rain(self):
        return live_rain.Streaks(self._pairs.open("pairs"))


class Structures(_OnClean):
    """Thin structures drawn on the photographs of another source."""

    def photographs(self, role: str) -> list[Photograph]:
        if role != "clean":
            raise ValueError(
                f"{self.name!r} holds rain-free photographs, so it can be one of the "
                f"clean ones or part of pairs; as {role} photographs name others."
            )
        return [
            DrawnPhotograph.on(clean, f"{self._prefix}{clean.name}#{i}", drawing.draw)
            for clean in self._clean.open("clean")
            for i in range(1, _NUM_VARIANTS + 1)
        ]

    def pairs(self) -> list[Pair]:
        raise NoPairsError(
            f"{self.name!r} holds photographs alone; for pairs of them name "
            f"identity:{self.name} or rain:{self.name}."
        )


class Identity(_OnClean):
    """The photographs of another source, each paired with itself."""

    def photographs(self, role: str) -> list[Photograph]:
        raise ValueError(
            f"{self.name!r} makes pairs, so it can be one of the pairs; as {role} "
            f"photographs name {self._clean.name}."
        )

    def pairs(self) -> list[Pair]:
        return [Pair(clean, clean) for clean in self._clean.open("clean")]
