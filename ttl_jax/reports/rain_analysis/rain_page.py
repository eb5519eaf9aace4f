"""The analysis as one HTML page: figures, tables, how to read them, what they miss."""

import html
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ttl_jax.reports.rain_analysis import html_pages, rain_figures, rain_sets

DASH = "–"  # for what could not be told
MORE, LESS, EQUAL = "more", "less", "not told apart"

_CONTRASTS = {"niqe": "NIQE", "damage": "Damage"}
_MEASURES = ("coverage", "density")

_STYLE = """
body { max-width: 1400px }
p, li { max-width: 52em }
table { border-collapse: collapse; margin: 1em 0; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: .25em .8em; border-bottom: 1px solid #ddd }
thead th { border-bottom: 2px solid #888; vertical-align: bottom }
tbody th { font-weight: normal }
figure { margin: 0; flex: 1 1 440px; max-width: 680px }
figure img { width: 100% }
figcaption { font-weight: bold }
"""

_LIMITS = """<ul>
<li>The same scene with and without real rain is hardly ever there. What is called
damage of unpaired real photographs holds whatever else sets the two collections
apart: subject, camera, season, haze, compression before it was downloaded.</li>
<li>NIQE's model of natural photographs was built from Berkeley photographs among
others. Synthetic sets that lay rain on these start closer to natural; their damage, a
difference, suffers less from that than their NIQE.</li>
<li>NIQE knows sharpness, noise and contrast, not rain. Veil and blur can raise it,
and noise in a photograph of fine weather too.</li>
<li>Equalising removes differences of size and of the last encoding, not those of
earlier ones. It scales large photographs down more than small ones, and takes more of
the damage of fine streaks from them.</li>
<li>Intervals resample the scenes of a set. They say how far its mean would move with
other scenes of the same collection, not with another collection. Crops and frames of
one scene that are no near-duplicates, and that nobody named so (--scenes), count as
scenes of their own, so that the intervals of sets with many of them are too narrow. Sets that are compared are taken to
be independent, also where they share backgrounds.</li>
<li>Sets of few scenes are case studies: no interval and no coverage is given, and
their means should not be generalised.</li>
<li>Features of NIQE have no notion of what is depicted. That synthetic rain covers
real rain among them does not say that a network sees it so.</li>
</ul>"""


def page(analysis: Mapping[str, Any], figures: Mapping[str, bytes]) -> str:
    """A page that needs no other file.

    Args:
      analysis: As `analyzer.analyze` returns it.
      figures: As `rain_figures.draw_all` returns them.
    """
    sections = {
        "Does real rain damage photographs more?": _answer(analysis),
        "What was compared": _sets(analysis),
        "NIQE": _niqe(analysis, figures),
        "Damage": _damage(analysis, figures),
        "Does synthetic rain cover real rain?": _coverage(analysis),
        "A map of the features": _map(analysis, figures),
        "What this cannot show": [_LIMITS],
        "Images that were left out": _excluded(analysis),
        "Settings": _settings(analysis),
    }
    return html_pages.document(
        "Real and synthetic rain",
        _STYLE,
        (
            f"<section><h2>{title}</h2>{''.join(parts)}</section>"
            for title, parts in sections.items()
        ),
    )


def _answer(analysis: Mapping[str, Any]) -> Iterator[str]:
    yield _paragraph(
        "Real less synthetic: above zero, the real photographs are further from natural "
        "ones (NIQE), or rain took them further away from where they were without it "
        "(damage). In brackets is the interval of "
        f"{analysis['settings']['level']:.0%}; where it holds zero, the sets are not told "
        "apart, and where it is missing, too few scenes are behind the figure. What holds "
        "in one form of the images only may be due to their size or encoding."
    )
    rows = []
    forms = analysis["forms"].values()
    for of_forms in zip(*(numbers["contrasts"] for numbers in forms), strict=True):
        cells = [
            f"{_interval(contrast[key], signed=True)} {_verdict(contrast[key])}".strip()
            for key in _CONTRASTS
            for contrast in of_forms
        ]
        rows.append([of_forms[0]["real"], of_forms[0]["synthetic"], *cells])
    header = ["real", "synthetic"]
    header += [title for name in _CONTRASTS.values() for title in _both(name)]
    yield html_pages.table(header, rows)
    for real in dict.fromkeys(row[0] for row in rows):
        for key, name in _CONTRASTS.items():
            yield _paragraph(_conclude(analysis, real, key, name))


def _conclude(analysis: Mapping[str, Any], real: str, key: str, name: str) -> str:
    """Which synthetic sets a real one is above and below, whatever the form."""
    groups: dict[str, list[str]] = {text: [] for text in (MORE, LESS, EQUAL, "")}
    forms = (numbers["contrasts"] for numbers in analysis["forms"].values())
    for of_forms in zip(*forms, strict=True):
        if of_forms[0]["real"] != real:
            continue
        verdicts = {_verdict(contrast[key]) for contrast in of_forms}
        verdict = verdicts.pop() if len(verdicts) == 1 else EQUAL
        groups["" if "" in verdicts else verdict].append(of_forms[0]["synthetic"])
    words = {
        MORE: "more in both forms than",
        LESS: "less in both forms than",
        EQUAL: "undecided against",
        "": "too little to tell against",
    }
    parts = [f"{words[text]} {', '.join(of)}" for text, of in groups.items() if of]
    return f"{name} of {real}: {'; '.join(parts)}."


def _sets(analysis: Mapping[str, Any]) -> Iterator[str]:
    settings = analysis["settings"]
    yield _paragraph(
        "Every figure is given twice. As is: the images as their files are. Equalised: "
        f"scaled down to a smaller side of {settings['side']} pixels, cut to the central "
        f"square, and re-encoded as JPEG of quality {settings['quality']}, because "
        "resolution and JPEG move NIQE as much as rain does. A scene is all images whose "
        "rain-free side, or which themselves, are near-duplicates of each other"
        + (f", or of one scene by {settings['scenes']}." if settings["scenes"] else ".")
    )
    header = ["set", "kind", "source", "pairs", "images found", "drawn", "scenes"]
    header += [f"measured {_words(form)}" for form in analysis["forms"]]
    rows = []
    for one in analysis["sets"]:
        counts = [
            f"{of_set['images']} images, {of_set['scenes']} scenes"
            for of_set in _of_forms(analysis, one["name"])
        ]
        pairs = "yes" if one["pairs"] else "no"
        numbers = [str(one[key]) for key in ("found", "images", "scenes")]
        rows.append([one["name"], one["kind"], one["source"], pairs, *numbers, *counts])
    yield html_pages.table(header, rows)


def _niqe(analysis: Mapping[str, Any], figures: Mapping[str, bytes]) -> Iterator[str]:
    yield _paragraph(
        "NIQE is the distance of an image's statistics from those of sharp, undistorted "
        "photographs (Mittal et al., 2013); lower is more natural. Mean with its interval, "
        "and median."
    )
    rows = []
    for one in analysis["sets"]:
        of_forms = _of_forms(analysis, one["name"])
        for side in of_forms[0]["niqe"]:
            summaries = [of_set["niqe"][side] for of_set in of_forms]
            rows.append([one["name"], side, *_cells(summaries)])
    yield html_pages.table(["set", "side", *_means_and_medians(analysis)], rows)
    yield _figures(rain_figures.NIQE, analysis, figures)


def _damage(analysis: Mapping[str, Any], figures: Mapping[str, bytes]) -> Iterator[str]:
    yield _paragraph(
        "How much further from natural photographs the rain takes one. Of pairs it is "
        "NIQE(rainy) - NIQE(clean), image by image. Unpaired photographs have no clean "
        "side: the mean of the set named clean is taken from theirs, so that other "
        "subjects, cameras and encodings count as damage as well."
    )
    rows = []
    for one in analysis["sets"]:
        damages = [of_set["damage"] for of_set in _of_forms(analysis, one["name"])]
        if damages[0]:
            cells = _cells(damages, signed=True)
            rows.append([one["name"], damages[0]["from"], *cells])
    yield html_pages.table(["set", "from", *_means_and_medians(analysis)], rows)
    missing = [
        one["name"]
        for one in analysis["sets"]
        if one["kind"] != rain_sets.CLEAN
        and not _of_forms(analysis, one["name"])[0]["damage"]
    ]
    if missing:
        yield _paragraph(
            f"No damage is told of {', '.join(missing)}, which are not pairs. Real "
            "photographs can be compared with rain-free ones: name those by --clean."
        )
    if rain_figures.file_name(rain_figures.DAMAGE, rain_sets.AS_IS) in figures:
        yield _figures(rain_figures.DAMAGE, analysis, figures)


def _coverage(analysis: Mapping[str, Any]) -> Iterator[str]:
    settings = analysis["settings"]
    yield _paragraph(
        "Coverage is the share of real images with an image of the other set within "
        "reach, which is as far as their real neighbour number "
        f"{settings['num_neighbours']}; density is within how many reaches an image of "
        f"the other set lies, over {settings['num_neighbours']} (Naeem et al., 2020). "
        "Both are measured in the "
        f"feature space: {settings['features']}, each feature over its standard deviation "
        "among the real images. The other half of the real set is the ceiling. Rain-free "
        "images are the control: where they cover real rain as well as rainy ones do, "
        "coverage says nothing of rain. Mean of "
        f"{settings['num_draws']} draws of one image from each of as many scenes in every "
        "set, with the lowest and the highest."
    )
    forms = analysis["forms"]
    for covers in zip(*(of["coverage"] for of in forms.values()), strict=True):
        yield f"<h3>{html.escape(covers[0]['real'])}</h3>"
        for form, cover in zip(forms, covers, strict=True):
            yield _paragraph(f"{_words(form)}: {_samples(cover, settings)}")
        keys = dict.fromkeys(
            (row["set"], row["side"]) for cover in covers for row in cover["rows"]
        )
        rows = [
            [*key, *(_coverage_cell(c, key, m) for m in _MEASURES for c in covers)]
            for key in keys
        ]
        header = ["by", "side", *(name for m in _MEASURES for name in _both(m))]
        yield html_pages.table(header, rows)


def _samples(cover: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    text = f"{cover['samples']} images of each set."
    if cover["too_few"]:
        names = dict.fromkeys(
            f"{one['set']} ({one['scenes']} scenes)" for one in cover["too_few"]
        )
        text += (
            f" Not told of {', '.join(names)}: {settings['min_samples']} scenes are the "
            "least, and twice as many of the real set."
        )
    return text


def _coverage_cell(cover: Mapping[str, Any], key: tuple, measure: str) -> str:
    for row in cover["rows"]:
        if (row["set"], row["side"]) == key:
            return _interval(row[measure])
    return DASH


def _map(analysis: Mapping[str, Any], figures: Mapping[str, bytes]) -> Iterator[str]:
    yield _paragraph(
        f"t-SNE of the same features ({analysis['settings']['features']}), rainy sides "
        f"only, at most {analysis['settings']['max_points']} of a set. Neighbours on the "
        "map are neighbours among the features; distances, gaps and sizes of clusters "
        "mean nothing, and no figure of this page is read off it."
    )
    yield _figures(rain_figures.MAP, analysis, figures)


def _excluded(analysis: Mapping[str, Any]) -> Iterator[str]:
    for form, numbers in analysis["forms"].items():
        for name, of_set in numbers["sets"].items():
            if not of_set["excluded"]:
                continue
            lines = [
                f"<li>{html.escape(f'{image} {reason}')}</li>"
                for image, reason in of_set["excluded"].items()
            ]
            title = html.escape(f"{name}, {_words(form)}: {len(lines)}")
            yield f"<details><summary>{title}</summary><ul>{''.join(lines)}</ul></details>"
    yield _paragraph("All others were measured.")


def _settings(analysis: Mapping[str, Any]) -> Iterator[str]:
    yield html_pages.table(
        ["setting", "value"],
        [[key.replace("_", " "), str(v)] for key, v in analysis["settings"].items()],
    )


# Parts


def _paragraph(text: str) -> str:
    return f"<p>{html.escape(text)}</p>"


def _figures(
    kind: str, analysis: Mapping[str, Any], figures: Mapping[str, bytes]
) -> str:
    """The figure in each form, side by side."""
    parts = []
    for form in analysis["forms"]:
        data = figures[rain_figures.file_name(kind, form)]
        parts.append(
            f'<figure><figcaption>{_words(form)}</figcaption><img alt="{kind} '
            f'{_words(form)}" src="{html_pages.embedded(data, "image/png")}"></figure>'
        )
    return f'<div class="row">{"".join(parts)}</div>'


def _of_forms(analysis: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    return [numbers["sets"][name] for numbers in analysis["forms"].values()]


def _words(form: str) -> str:
    return form.replace("_", " ")


def _both(title: str) -> list[str]:
    return [f"{title}, {_words(form)}" for form in rain_sets.FORMS]


def _means_and_medians(analysis: Mapping[str, Any]) -> list[str]:
    return [
        f"{what}, {_words(form)}"
        for form in analysis["forms"]
        for what in ("mean", "median")
    ]


def _cells(summaries: Sequence[Mapping], *, signed: bool = False) -> Iterator[str]:
    """Mean with its interval, and median, of each summary."""
    for summary in summaries:
        yield _interval(summary, signed=signed)
        median = summary.get("median")
        yield DASH if median is None else _number(median, signed)


def _interval(summary: Mapping[str, Any] | None, *, signed: bool = False) -> str:
    """The mean, and in brackets the limits, such as 4.21 [4.02, 4.40]."""
    if summary is None:
        return DASH
    mean, low, high = (summary[key] for key in ("mean", "low", "high"))
    if low is None:
        return _number(mean, signed)
    return f"{_number(mean, signed)} [{_number(low, signed)}, {_number(high, signed)}]"


def _number(value: float, signed: bool) -> str:
    return f"{value:+.2f}" if signed else f"{value:.2f}"


def _verdict(contrast: Mapping[str, Any] | None) -> str:
    """What the interval says, empty where there is none."""
    if contrast is None or contrast["low"] is None:
        return ""
    if contrast["low"] > 0:
        return MORE
    return LESS if contrast["high"] < 0 else EQUAL
