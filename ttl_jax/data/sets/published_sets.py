"""Table of the published sets that `ttl_jax.prepare` knows.

Numbers of examples come from the papers or their sites. Layouts come from the code of the
sets or, if a note says so, from code of others. "None stated" means that neither site nor
repository states terms, which does not mean permission.
"""

import textwrap

from ttl_jax.data.sets.raw_sets import Pattern, RawSet

# The old distribution of Rain100, the new one, and the layout of restoration code.
_RAIN100_PATTERNS = (
    Pattern(
        r"rain/(X2/)?norain-(?P<n>0*(?P<i>\d+))(x2)?",
        ("{at}norain/norain-{i}", "{at}norain/norain-{n}"),
    ),
    Pattern(
        r"(?:rainy|rain)/rain-(?P<n>0*(?P<i>\d+))",
        ("{at}norain/norain-{n}", "{at}norain-{n}", "{at}rainy/norain-{n}"),
    ),
    Pattern(r"rain-(?P<n>0*(?P<i>\d+))", ("{at}norain-{n}",)),
    Pattern(r"input/(?P<i>\d+)", ("{at}target/{i}",)),
)
_RAIN100_TREE = """\
  rain_data_train_{weight}/
    norain/norain-1.png ...
    rain/X2/norain-1x2.png ...   or rain/norain-1x2.png, rain/norain-1.png
  rain_data_test_{weight}/
    norain/norain-1.png ...
    rain/X2/norain-1x2.png ...
or, of the old distribution,
  RainTrain{letter}/   {name}/
    norain-001.png ...
    rainy/rain-001.png ...       or rain-001.png beside it
or train/ and test/, each with input/1.png and target/1.png"""
_OLD = (
    "The old distribution, with 100 test pairs, on which papers report. 546 of its "
    "training pairs with heavy rain share their background with test pairs (README of "
    "PReNet). The site now has the new one: rain200l, rain200h."
)
_NEW = "The new distribution, with 200 test pairs, often still called Rain100."


def _rain100(title: str, num_train: int, num_test: int, note: str) -> RawSet:
    letter = title[-1]
    weight = {"L": "Light", "H": "Heavy"}[letter]
    return RawSet(
        name=title.lower(),
        counts={"train": num_train, "test": num_test},
        patterns=_RAIN100_PATTERNS,
        paper="Yang et al., Deep Joint Rain Detection and Removal, CVPR 2017",
        terms="none stated; its photographs are of the Berkeley segmentation set, "
        "non-commercial research and education",
        home="www.icst.pku.edu.cn/struct/Projects/joint_rain_removal.html",
        tree=_RAIN100_TREE.format(weight=weight, letter=letter, name=title),
        note=note,
    )


_PUBLISHED = (
    RawSet(
        name="rain1200",
        kind="halves",
        counts={"train": 12_000, "test": 1_200},
        patterns=(
            Pattern(
                r"Rain_(?P<density>Heavy|Medium|Light)/train2018new/(?P<i>\d+)",
                name="{density}/{i}",
            ),
            Pattern(r"(?:DID-MDN-test|Test[AB]?|test2018)/(?P<i>\d+)"),
        ),
        rainy_half="left",
        paper="Zhang, Patel, Density-aware Single Image De-raining, CVPR 2018",
        home="github.com/hezhangsprinter/DID-MDN (DID-Data)",
        tree="""\
  DID-MDN-training/
    Rain_Heavy/train2018new/0.jpg ... 3999.jpg     rainy on the left, clean on the right
    Rain_Medium/train2018new/0.jpg ... 3999.jpg
    Rain_Light/train2018new/0.jpg ... 3999.jpg
  DID-MDN-test/0.jpg ...""",
        note="Files of the same number show the same scene in all three densities.",
    ),
    RawSet(
        name="rain14000",
        counts={"whole": 14_000},  # "all" is reserved by TFDS
        patterns=(
            Pattern(
                r"rainy[ _]images?/(?P<i>\d+)_(?P<j>\d+)",
                tuple(f"{{at}}ground{gap}truth/{{i}}" for gap in (" ", "_", "")),
                name="{i}/{j}",
            ),
        ),
        views={
            "train1400": ("whole", 1, 900),
            "test1400": ("whole", 901, 1000),
            "train2800": ("whole", 1, 800),
            "test2800": ("whole", 801, 1000),
        },
        paper="Fu et al., Removing Rain from Single Images via a Deep Detail Network, "
        "CVPR 2017",
        home="xueyangfu.github.io/projects/cvpr2017.html; "
        "github.com/jinnovation/rainy-image-dataset",
        tree="""\
  ground truth/1.jpg ... 1000.jpg                  or ground_truth/
  rainy image/1_1.jpg ... 1_14.jpg ... 1000_14.jpg or rainy_image/""",
        note="There are two divisions; use one of them. Rain1400 is test1400, with 1,400 "
        "pairs; train1400 has the other 12,600 (PReNet). Test2800 is test2800, with 2,800 "
        "pairs; train2800 has the other 11,200, since the authors of MSPFN train on the "
        "first 800 scenes (MSPFN issue 2).",
    ),
    RawSet(
        name="rain800",
        kind="halves",
        counts={"train": 700, "test": 100},
        patterns=(Pattern(r"(?:train|training|val|test|test_syn)/(?P<i>\d+)"),),
        rainy_half="right",
        paper="Zhang, Sindagi, Patel, Image De-raining Using a Conditional Generative "
        "Adversarial Network, arXiv 1701.05957",
        home="github.com/hezhangsprinter/ID-CGAN",
        tree="""\
  training/1.jpg ...      clean on the left, rainy on the right; or train/
  test_syn/1.jpg ...      or val/, test/""",
        note="The names of the files are not verified. Real photographs in test_nature/ "
        "have no partners and are left out.",
    ),
    RawSet(
        name="mpid_rain_streak",
        counts={"test": 200},
        patterns=(
            Pattern(
                r"(?:rain|rainy|input)/(?P<i>[^/]+)",
                tuple(
                    f"{{at}}{side}/{{i}}"
                    for side in ("norain", "clean", "clear", "gt", "target")
                ),
            ),
        ),
        paper="Li et al., Single Image Deraining: A Comprehensive Benchmark Analysis, "
        "CVPR 2019",
        home="github.com/panda-lab/Single-Image-Deraining (Baidu drive)",
        tree="""\
  rain/1.png ...          or rainy/, input/
  norain/1.png ...        or clean/, clear/, gt/, target/; the same names""",
        note="Neither the layout nor the count is verified: rename folders to the "
        "expected ones.",
    ),
    RawSet(
        name="spa",
        counts={"train": 638_492, "test": 1_000},
        lists={"train": "real_world.txt", "test": "real_test_1000.txt"},
        patterns=(
            Pattern(
                r"real_world/(?P<i>(?P<scene>[^/]+)/.+)",
                ("{at}real_world_gt/{i}",),
                scene="{scene}",
                split="train",
            ),
            Pattern(r"rain/(?P<i>\d+)", ("{at}gt/{i}gt", "{at}gt/{i}")),
            Pattern(r"rain/norain-(?P<i>\d+)", ("{at}norain/norain-{i}",)),
        ),
        paper="Wang et al., Spatial Attentive Single-Image Deraining with a High Quality "
        "Real Rain Dataset, CVPR 2019",
        terms="License.txt of the repository, resembling a BSD licence",
        home="github.com/stevewongv/SPANet",
        tree="""\
  Training/real_world.txt                                lines: rainy clean
  Training/real_world/000/000-f/000-f_x_y.png ...
  Training/real_world_gt/000/...
  Testing/real_test_1000.txt
  Testing/real_test_1000/rain/000.png ...
  Testing/real_test_1000/gt/000gt.png ...""",
        note="Names within real_world_gt/ are not verified; real_world.txt, if present, "
        "decides. The training count is that of crops and is not verified; the paper "
        "counts 29,500 pairs. Use it for testing only.",
    ),
    RawSet(
        name="outdoor_rain",
        counts={"train": 9_000, "test": 1_500},
        patterns=(
            Pattern(
                r"(?:in|input|data)/im_(?P<i>\d+)_s(?P<s>\d+)_a(?P<a>\d+)",
                ("{at}gt/im_{i}",),
                name="{i}/s{s}_a{a}",
            ),
        ),
        paper="Li, Cheong, Tan, Heavy Rain Image Restoration, CVPR 2019",
        home="github.com/liruoteng/HeavyRainRemoval (Outdoor-Rain)",
        tree="""\
  train/in/im_0001_s80_a04.png ...                  15 of each scene
  train/gt/im_0001.png ...
  test/in/..., test/gt/...                          or Test1/""",
        note="Rain with a veil, which also darkens. If the two cues for the rainy side "
        "differ, the direction of structure decides.",
    ),
    _rain100("Rain100L", 200, 100, _OLD),
    _rain100("Rain100H", 1_800, 100, _OLD),
    _rain100("Rain200L", 1_800, 200, _NEW),
    _rain100("Rain200H", 1_800, 200, _NEW),
    RawSet(
        name="realrain1k",
        counts={"train": 1_568, "validation": 224, "test": 448},
        patterns=(
            Pattern(
                r"RealRain-1k-(?P<level>[LH])/(?P<part>[^/]+)/input/(?P<i>[^/]+)",
                ("{at}RealRain-1k-{level}/{part}/target/{i}",),
                name="{level}/{i}",
            ),
        ),
        paper="Li et al., Toward Real-world Single Image Deraining: A New Benchmark and "
        "Beyond, arXiv 2206.05514",
        home="github.com/hiker-lw/RealRain-1k",
        tree="""\
  RealRain-1k-L/train/input/1.png ...      likewise val/ and test/
  RealRain-1k-L/train/target/1.png ...
  RealRain-1k-H/...""",
        note="The layout is from code of others. Files with the same number are assumed "
        "to show the same scene in L (light) and H (heavy).",
    ),
)
SETS = {raw_set.name: raw_set for raw_set in _PUBLISHED}

OWN = {
    "pairs": RawSet(
        name="pairs",
        terms="",
        tree="""\
  rainy/a.png ...         or input/, or lq/
  clean/a.png ...         or target/, or gt/; partners: same path, any suffix
or these within train/, val/, validation/, test/""",
    ),
    "photos": RawSet(
        name="photos",
        kind="photos",
        terms="",
        tree="""\
  any folders of photographs
or these within train/, val/, validation/, test/""",
    ),
}


def describe() -> str:
    """Returns the paper, size, terms, origin, note and layout of each published set."""
    return "\n\n".join(
        f"""\
{raw_set.name}
  paper:  {raw_set.paper}
  size:   {_format_counts(raw_set)}
  terms:  {raw_set.terms}
  from:   {raw_set.home}
  note:   {raw_set.note}
  folder:
{textwrap.indent(raw_set.tree, "    ")}"""
        for raw_set in SETS.values()
    )


def tabulate() -> str:
    """Returns all published sets as a table in Markdown."""
    rows = [
        f"| `{raw_set.name}` | {raw_set.paper} | {_format_counts(raw_set)} | "
        f"{raw_set.terms} | {raw_set.home} |"
        for raw_set in SETS.values()
    ]
    header = "| set | paper | pairs | terms | distributed at |\n|---|---|---|---|---|"
    return "\n".join([header, *rows])


def _format_counts(raw_set: RawSet) -> str:
    counts = [f"{split} {count:,}" for split, count in raw_set.counts.items()]
    views = f" (also as {', '.join(raw_set.views)})" if raw_set.views else ""
    return ", ".join(counts) + views
