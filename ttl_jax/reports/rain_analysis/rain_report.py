"""The analysis as a Markdown report: tables, figures, and how to read them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from ttl_jax.reports import markdown
from ttl_jax.reports.rain_analysis import rain_figures, rain_sets

MORE, LESS, UNDECIDED, TOO_FEW = "more", "less", "undecided", "too few scenes"

_CONTRASTS = {"niqe": "NIQE", "damage": "damage"}
_LIMITS = """\
- The same scene is rarely available with and without real rain. The damage of unpaired
  photographs also contains whatever else differs between the two collections: subject,
  camera, season, haze, earlier compression.
- NIQE's model was built from photographs that include those of Berkeley. Synthetic sets
  on these backgrounds start closer to natural; this affects their NIQE more than their
  damage, which is a difference.
- NIQE measures sharpness, noise and contrast, not rain. Haze, blur and noise raise it too.
- Equalising removes differences of size and of the last encoding, not of earlier ones. It
  scales large photographs down more, which removes more of the damage of fine streaks.
- Intervals resample the scenes of a set. They show how far its mean would move with other
  scenes of the same collection, not with another collection. Crops and frames of one scene
  that are neither near-duplicates nor listed in --scenes count as several scenes, which
  makes intervals too narrow. Sets are taken to be independent even if they share
  backgrounds.
- Sets of few scenes have no interval and no coverage; do not generalise their means.
- The features of NIQE do not know what an image shows. If synthetic rain covers real rain
  among them, a network may still tell them apart.
"""


def make_report(analysis: Mapping[str, Any]) -> str:
    """Returns the report, which shows the figures of `rain_figures.draw_all`.

    Args:
      analysis: Result of `analyzer.analyze`.
    """
    sections = {
        "Does real rain damage photographs more?": _contrasts(analysis),
        "Sets": _sets(analysis),
        "NIQE and damage": _means(analysis),
        "Does synthetic rain cover real rain?": _coverage(analysis),
        "A map of the features": _map(analysis),
        "Limits": [_LIMITS],
        "Excluded images": _excluded(analysis),
        "Settings": _settings(analysis),
    }
    parts = ["# Real and synthetic rain"]
    for title, paragraphs in sections.items():
        parts += [f"## {title}", *paragraphs]
    return "\n\n".join(parts) + "\n"


def _contrasts(analysis: Mapping[str, Any]) -> Iterator[str]:
    yield (
        "Real minus synthetic. Above zero, the real photographs are further from natural "
        "ones (NIQE), or rain moved them further away (damage). Brackets hold the interval "
        f"of {analysis['settings']['level']:.0%}; it is missing where there are too few "
        "scenes. The verdict is undecided where an interval contains zero or the forms "
        "disagree: what holds in one form only may be due to size or encoding."
    )
    rows = []
    for contrasts in _per_form(analysis, "contrasts"):
        first = next(iter(contrasts.values()))
        for key, title in _CONTRASTS.items():
            found = {form: contrast[key] for form, contrast in contrasts.items()}
            rows.append(
                {"real": first["real"], "synthetic": first["synthetic"], "": title}
                | {
                    _words(form): markdown.with_interval(one) if one else "-"
                    for form, one in found.items()
                }
                | {"real is": _verdict(list(found.values()))}
            )
    yield markdown.table(pd.DataFrame(rows))


def _verdict(contrasts: Sequence[Mapping[str, Any] | None]) -> str:
    """What the intervals of all forms agree on."""
    known = [one for one in contrasts if one is not None and one["low"] is not None]
    if len(known) < len(contrasts):
        return TOO_FEW if any(contrasts) else "-"
    if all(contrast["low"] > 0 for contrast in known):
        return MORE
    return LESS if all(contrast["high"] < 0 for contrast in known) else UNDECIDED


def _sets(analysis: Mapping[str, Any]) -> Iterator[str]:
    settings = analysis["settings"]
    named = (
        f" or listed as one scene in {settings['scenes']}" if settings["scenes"] else ""
    )
    yield (
        "Every number is given for two forms of the images. As is: unchanged files. "
        f"Equalised: scaled down to a smaller side of {settings['side']} pixels, cut to "
        f"the central square, and re-encoded as JPEG of quality {settings['quality']}, "
        "because resolution and JPEG move NIQE as much as rain does. Images belong to one "
        f"scene if they, or their clean sides, are near-duplicates{named}."
    )
    frame = pd.DataFrame(analysis["sets"])
    for form, numbers in analysis["forms"].items():
        frame[f"measured {_words(form)}"] = [
            f"{one['images']} images, {one['scenes']} scenes"
            for one in numbers["sets"].values()
        ]
    yield markdown.table(frame)


def _means(analysis: Mapping[str, Any]) -> Iterator[str]:
    yield (
        "NIQE is the distance of an image's statistics from those of sharp, undistorted "
        "photographs (Mittal et al., 2013); lower is more natural. Damage is how far rain "
        "moves an image away from them: for pairs NIQE(rainy) - NIQE(clean), image by "
        "image; for unpaired photographs the difference to the mean of the clean set, which "
        "includes differences of subject, camera and encoding."
    )
    forms = analysis["forms"]
    rows = {form: list(_mean_rows(numbers["sets"])) for form, numbers in forms.items()}
    yield _table(rows, ["set", ""])
    first = next(iter(forms.values()))["sets"]
    if missing := [
        one["name"]
        for one in analysis["sets"]
        if one["kind"] != rain_sets.CLEAN and not first[one["name"]]["damage"]
    ]:
        yield (
            f"Damage is not available for {', '.join(missing)}, which are not pairs. "
            "Add rain-free photographs with --clean to compare real ones with them."
        )
    yield _figures(rain_figures.NIQE, analysis)
    if any(one["pairs"] for one in analysis["sets"]):
        yield _figures(rain_figures.DAMAGE, analysis)


def _mean_rows(sets: Mapping[str, Mapping]) -> Iterator[dict[str, str]]:
    """A row for the NIQE of each side of each set, and one for any damage."""
    for name, of_set in sets.items():
        found = {f"NIQE, {side}": (v, ".2f") for side, v in of_set["niqe"].items()}
        if damage := of_set["damage"]:
            found[f"damage, {damage['from']}"] = damage, "+.2f"
        for title, (summary, form) in found.items():
            row = {"set": name, "": title}
            row["mean"] = markdown.with_interval(summary, form)
            if "median" in summary:  # unpaired damage has none
                row["median"] = format(summary["median"], form)
            yield row


def _coverage(analysis: Mapping[str, Any]) -> Iterator[str]:
    settings = analysis["settings"]
    yield (
        "Coverage is the share of real images that have an image of the other set within "
        f"reach: closer than their real neighbour number {settings['num_neighbours']}. "
        "Density is the mean number of real reaches that contain an image of the other "
        f"set, over {settings['num_neighbours']} (Naeem et al., 2020). Feature space: "
        f"{settings['features']}, each feature over its standard deviation among the real "
        "images. The other half of the real set is the ceiling. Rain-free images are the "
        "control: if they cover real rain as well as rainy ones, coverage does not depend "
        f"on rain. Means of {settings['num_draws']} draws of one image from each of as many "
        "scenes in every set, with the lowest and the highest."
    )
    measures = ("coverage", "density")
    for covers in _per_form(analysis, "coverage"):
        yield f"### {next(iter(covers.values()))['real']}"
        for form, cover in covers.items():
            yield f"{_words(form)}: {_describe_samples(cover, settings)}"
        rows = {
            form: [
                {"by": one["set"], "side": one["side"]}
                | {m: markdown.with_interval(one[m], ".2f") for m in measures}
                for one in cover["rows"]
            ]
            for form, cover in covers.items()
        }
        if any(rows.values()):
            yield _table(rows, ["by", "side"])


def _describe_samples(cover: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    text = f"{cover['samples']} images of each set."
    if cover["too_few"]:
        names = dict.fromkeys(
            f"{one['set']} ({one['scenes']} scenes)" for one in cover["too_few"]
        )
        text += (
            f" Not measured for {', '.join(names)}: at least {settings['min_samples']} "
            "scenes are needed, and twice as many of the real set."
        )
    return text


def _map(analysis: Mapping[str, Any]) -> Iterator[str]:
    settings = analysis["settings"]
    yield (
        f"t-SNE of the same features ({settings['features']}), rainy sides only, at most "
        f"{settings['max_points']} images of a set. Neighbours on the map are neighbours "
        "among the features; distances, gaps and sizes of clusters have no meaning."
    )
    yield _figures(rain_figures.MAP, analysis)


def _excluded(analysis: Mapping[str, Any]) -> Iterator[str]:
    lines = [
        f"- {name}, {_words(form)}: {image} {reason}"
        for form, numbers in analysis["forms"].items()
        for name, of_set in numbers["sets"].items()
        for image, reason in of_set["excluded"].items()
    ]
    yield "\n".join(lines) or "None."


def _settings(analysis: Mapping[str, Any]) -> Iterator[str]:
    rows = list(analysis["settings"].items())
    yield markdown.table(pd.DataFrame(rows, columns=["setting", "value"]))


def _per_form(analysis: Mapping[str, Any], key: str) -> Iterator[dict[str, Mapping]]:
    """Entry by entry of a list that every form has, by form."""
    forms = analysis["forms"]
    for entries in zip(*(numbers[key] for numbers in forms.values()), strict=True):
        yield dict(zip(forms, entries, strict=True))


def _table(by_form: Mapping[str, Sequence[Mapping]], keys: list[str]) -> str:
    """Rows of all forms as a table; those with the same keys become one row."""
    frames = [
        pd.DataFrame(rows).set_index(keys).add_suffix(f", {_words(form)}")
        for form, rows in by_form.items()
        if rows
    ]
    return markdown.table(pd.concat(frames, axis=1).fillna("-").reset_index())


def _figures(kind: str, analysis: Mapping[str, Any]) -> str:
    """The figure in each form."""
    return "\n".join(
        f"![{kind}, {_words(form)}]({rain_figures.file_name(kind, form)})"
        for form in analysis["forms"]
    )


def _words(form: str) -> str:
    return form.replace("_", " ")
