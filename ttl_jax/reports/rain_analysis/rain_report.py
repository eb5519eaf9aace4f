"""Makes the Markdown report of the analysis: tables, figures, and how to read them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from ttl_jax.data.files import decoding
from ttl_jax.reports import markdown
from ttl_jax.reports.rain_analysis import rain_figures, rain_sets

MORE, LESS, UNDECIDED, TOO_FEW = "more", "less", "undecided", "too few scenes"

_REPORT = """\
# Real and synthetic rain

## Does real rain damage photographs more?

The table shows real minus synthetic. A value above zero means that the real photographs are
further from natural ones (NIQE), or that rain moved them further away (damage). Brackets
contain the {settings[level]:.0%} interval; it is missing if there are too few scenes. The
verdict is undecided if an interval contains zero or the forms disagree, since a result in one
form only may be due to size or encoding.

{contrasts}

## Sets

Every number is given for two forms of the images. As is: unchanged files. Equalised: scaled
down to a smaller side of {settings[side]} pixels, cut to the central square, and re-encoded
as JPEG of quality {settings[quality]}, because resolution and JPEG move NIQE as much as rain
does. Images belong to one scene if they, or their clean sides, are near-duplicates{listed}.

{sets}

## NIQE and damage

NIQE is the distance of an image's statistics from those of sharp, undistorted photographs
(Mittal et al., 2013); lower is more natural. Damage is how far rain moves an image away from
them: for pairs NIQE(rainy) - NIQE(clean), image by image; for unpaired photographs the
difference to the mean of the clean set, which includes differences of subject, camera and
encoding.

{means}

## Does synthetic rain cover real rain?

Each real image has a ball in feature space that reaches to its real neighbour number
{settings[num_neighbours]}. Coverage is the share of these balls that contain an image of the
other set. Density is the mean number of balls that contain an image of the other set, divided
by {settings[num_neighbours]} (Naeem et al., 2020). Feature space: {settings[features]}, each
feature divided by its standard deviation among the real images. The other half of the real
set gives the highest values to expect. Rain-free images are the control: if they cover real
rain as well as rainy images do, coverage does not depend on rain. The values are means of
{settings[num_draws]} draws, with the lowest and the highest. A draw takes one image per
scene, from the same number of scenes in every set.

{coverage}

## A map of the features

t-SNE of the same features ({settings[features]}), rainy sides only, at most
{settings[max_points]} images of a set. Neighbours on the map are neighbours among the
features; distances, gaps and sizes of clusters have no meaning.

{map}

## Limits

- The same scene is rarely available with and without real rain. The damage of unpaired
  photographs also contains all other differences between the two collections: subject,
  camera, season, haze, earlier compression.
- The model of NIQE was built from photographs that include those of Berkeley. Synthetic sets
  with these backgrounds are closer to it from the start. This affects their NIQE more than
  their damage, which is a difference.
- NIQE measures sharpness, noise and contrast, not rain. Haze, blur and noise raise it too.
- Equalising removes differences of size and of the last encoding, not of earlier ones. It
  scales large photographs down more, which removes more of the damage of fine streaks.
- Intervals resample the scenes of a set. They show how far its mean would move with other
  scenes of the same collection, not with another collection. Crops and frames of one scene
  that are neither near-duplicates nor listed in --scenes count as several scenes, which
  makes intervals too narrow. Sets are treated as independent even if they share
  backgrounds.
- Sets with few scenes have no interval and no coverage; do not generalise their means.
- The features of NIQE do not describe the content of an image. Even if synthetic rain covers
  real rain in this feature space, a network may distinguish them.

## Excluded images

{excluded}

## Settings

{settings_table}
"""


def make_report(analysis: Mapping[str, Any]) -> str:
    """Returns the report on a result of `analyzer.analyze`, with links to its figures."""
    settings = analysis["settings"]
    table = pd.DataFrame(list(settings.items()), columns=["setting", "value"])
    scenes = decoding.printable(settings["scenes"] or "")
    return _REPORT.format(
        settings=settings,
        listed=f" or listed as one scene in {scenes}" if scenes else "",
        contrasts=_contrasts(analysis),
        sets=_sets(analysis),
        means="\n\n".join(_means(analysis)),
        coverage="\n\n".join(_coverage(analysis)),
        map=_figures(rain_figures.MAP, analysis),
        excluded="\n".join(_excluded(analysis)) or "None.",
        settings_table=markdown.table(table),
    )


def _contrasts(analysis: Mapping[str, Any]) -> str:
    rows = []
    for contrasts in _per_form(analysis, "contrasts"):
        for key, title in (("niqe", "NIQE"), ("damage", "damage")):
            found = {_words(form): one[key] for form, one in contrasts.items()}
            cells = {
                f: markdown.with_interval(d) if d else "-" for f, d in found.items()
            }
            first = next(iter(contrasts.values()))
            row = {"real": first["real"], "synthetic": first["synthetic"], "": title}
            rows.append(row | cells | {"real is": _verdict(list(found.values()))})
    return markdown.table(pd.DataFrame(rows))


def _verdict(contrasts: Sequence[Mapping[str, Any] | None]) -> str:
    """Returns the verdict on which the intervals of all forms agree."""
    known = [one for one in contrasts if one is not None and one["low"] is not None]
    if len(known) < len(contrasts):
        return TOO_FEW if any(contrasts) else "-"
    if all(contrast["low"] > 0 for contrast in known):
        return MORE
    return LESS if all(contrast["high"] < 0 for contrast in known) else UNDECIDED


def _sets(analysis: Mapping[str, Any]) -> str:
    frame = pd.DataFrame(analysis["sets"])
    for form, numbers in analysis["forms"].items():
        frame[f"measured {_words(form)}"] = [
            f"{one['images']} images, {one['scenes']} scenes"
            for one in numbers["sets"].values()
        ]
    return markdown.table(frame)


def _means(analysis: Mapping[str, Any]) -> Iterator[str]:
    forms = analysis["forms"]
    rows = {form: list(_mean_rows(numbers["sets"])) for form, numbers in forms.items()}
    yield _table(rows, ["set", ""])
    first = next(iter(forms.values()))["sets"]
    kinds = {one["name"]: one["kind"] for one in analysis["sets"]}
    rainy = [name for name, kind in kinds.items() if kind != rain_sets.CLEAN]
    if missing := [name for name in rainy if not first[name]["damage"]]:
        yield (
            f"Damage is not available for {', '.join(missing)}, which are not pairs. "
            "Add rain-free photographs with --clean to compare real ones with them."
        )
    yield _figures(rain_figures.NIQE, analysis)
    if any(one["pairs"] for one in analysis["sets"]):
        yield _figures(rain_figures.DAMAGE, analysis)


def _mean_rows(sets: Mapping[str, Mapping]) -> Iterator[dict[str, str]]:
    """Yields a row for the NIQE of each side of each set, and one for any damage."""
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
    measures = ("coverage", "density")
    for covers in _per_form(analysis, "coverage"):
        yield f"### {next(iter(covers.values()))['real']}"
        for form, cover in covers.items():
            yield f"{_words(form)}: {_describe_samples(cover, analysis['settings'])}"
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


def _excluded(analysis: Mapping[str, Any]) -> Iterator[str]:
    for form, numbers in analysis["forms"].items():
        for name, of_set in numbers["sets"].items():
            for image, reason in of_set["excluded"].items():
                yield f"- {name}, {_words(form)}: {image} {reason}"


def _per_form(analysis: Mapping[str, Any], key: str) -> Iterator[dict[str, Mapping]]:
    """Yields the entries of a list that every form has, each as a dictionary by form."""
    forms = analysis["forms"]
    for entries in zip(*(numbers[key] for numbers in forms.values()), strict=True):
        yield dict(zip(forms, entries, strict=True))


def _table(by_form: Mapping[str, Sequence[Mapping]], keys: list[str]) -> str:
    """Returns the rows of all forms as a table; rows with the same keys are joined."""
    frames = [
        pd.DataFrame(rows).set_index(keys).add_suffix(f", {_words(form)}")
        for form, rows in by_form.items()
        if rows
    ]
    return markdown.table(pd.concat(frames, axis=1).fillna("-").reset_index())


def _figures(kind: str, analysis: Mapping[str, Any]) -> str:
    """Returns links to a figure in each form."""
    return "\n".join(
        f"![{kind}, {_words(form)}]({rain_figures.file_name(kind, form)})"
        for form in analysis["forms"]
    )


def _words(form: str) -> str:
    return form.replace("_", " ")
