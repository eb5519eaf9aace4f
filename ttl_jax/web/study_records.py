"""The records of a user study: one SQLite file with raters, orders and rankings.

Each rater sees the photographs, and the results of each photograph, in random orders, which
are drawn once and stored. Each ranking is committed to a write-ahead log before it is
confirmed, so no confirmed ranking is lost if the process is killed.
"""

import contextlib
import hashlib
import json
import os
import random
import secrets
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from ttl_jax import suggestions, threads
from ttl_jax.data.files import decoding, image_folders, images

MOST_METHODS = 26  # their results are called A to Z
_LARGEST = 2**63 - 1  # largest integer of SQLite

_TABLES = """
-- paths: JSON of the photograph and of the result of each method; digests: JSON of the
-- SHA-256 of these files, NULL in studies of earlier versions
CREATE TABLE IF NOT EXISTS photographs (
  id INTEGER PRIMARY KEY, stem TEXT UNIQUE, paths TEXT, digests TEXT
);
CREATE TABLE IF NOT EXISTS methods (id INTEGER PRIMARY KEY, name TEXT UNIQUE);
CREATE TABLE IF NOT EXISTS raters (id INTEGER PRIMARY KEY, token TEXT UNIQUE);
CREATE TABLE IF NOT EXISTS tasks (
  rater INTEGER REFERENCES raters, place INTEGER,
  photograph INTEGER REFERENCES photographs,
  shown TEXT,    -- JSON: methods in the order in which their results are shown
  ranking TEXT,  -- JSON: places in `shown`, the best first; NULL until there is one
  ranked_at TEXT,
  PRIMARY KEY (rater, place)
);
"""


def find_photographs(
    input_folder: str, results: Mapping[str, str]
) -> dict[str, list[str]]:
    """Returns the paths of each photograph and of its results, in the order of methods.

    The key is the path of the photograph within the folder, without suffix.

    Raises:
      ValueError: If a folder is missing, or there are no photographs, fewer than 2 or
        more than 26 methods. Or if results are missing, have no photograph, or have
        another size; the message names all of them.
    """
    if not 2 <= len(results) <= MOST_METHODS:
        raise ValueError(
            f"A study compares 2 to {MOST_METHODS} methods, not {len(results)}."
        )
    for folder in (input_folder, *results.values()):
        if not os.path.isdir(folder):
            name = decoding.printable(folder)
            raise ValueError(f"The folder {name} does not exist; name another one.")
    inputs = image_folders.find_images(input_folder)
    if not inputs:
        raise ValueError(f"{input_folder} holds no photographs.")
    faults: list[str] = []
    found = {path: [path] for path in inputs}  # each photograph, then its results
    for folder in results.values():
        pairs, unmatched = image_folders.match_stems(
            (input_folder, inputs), (folder, image_folders.find_images(folder))
        )
        faults += [f"{path} {reason}" for path, reason in unmatched.items()]
        for rainy, result in pairs.values():
            found[rainy].append(result)
    paths = [path for group in found.values() for path in group]
    facts = dict(zip(paths, images.check(paths)))
    faults += [
        f"{result} does not have the size of {rainy}"
        for rainy, *others in found.values()
        for result in others
        if facts[result][2:] != facts[rainy][2:]
    ]
    if faults:
        lines = "\n  ".join(dict.fromkeys(decoding.printable(line) for line in faults))
        raise ValueError(f"Some results are missing or do not fit:\n  {lines}")
    stems = image_folders.by_stem(input_folder, inputs)[0]
    return {
        stem: [os.path.realpath(one) for one in found[path]]
        for stem, path in stems.items()
    }


def _digest(paths: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Returns the SHA-256 of the files in lists, by the names of the lists."""

    def digest_one(path: str) -> str:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    every = [path for group in paths.values() for path in group]
    digests = iter(list(threads.map_ahead(digest_one, every)))
    return {stem: [next(digests) for _ in group] for stem, group in paths.items()}


class Study:
    """A study on disk. Threads may share it."""

    def __init__(self, path: str | os.PathLike[str], *, create: bool = False):
        """Opens a study.

        Raises:
          ValueError: If the file or its folder is missing, or it is not a study.
        """
        if not create and not os.path.isfile(path):
            raise ValueError(f"{path} does not exist.")
        folder = os.path.dirname(path) or "."
        if not os.path.isdir(folder):
            raise ValueError(
                f"{path} cannot be created: the folder {folder} does not exist; create it, "
                "or name another file."
            )
        self._lock = threading.Lock()
        try:
            self._file = sqlite3.connect(path, check_same_thread=False)
            with contextlib.ExitStack() as on_error:
                on_error.callback(self._file.close)
                self._file.execute("PRAGMA journal_mode = WAL")
                self._file.execute("PRAGMA synchronous = FULL")
                if create:
                    self._file.executescript(_TABLES)
                    columns = self._all("PRAGMA table_info(photographs)")
                    if "digests" not in [column[1] for column in columns]:
                        self._file.execute(
                            "ALTER TABLE photographs ADD COLUMN digests TEXT"
                        )
                names = self._all("SELECT name FROM methods ORDER BY id")
                on_error.pop_all()
        except sqlite3.Error as error:
            raise ValueError(f"{path} cannot be used as a study: {error}.") from error
        self.methods = [name for (name,) in names]

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def prepare(
        self,
        methods: Sequence[str],
        photographs: Mapping[str, Sequence[str]],
        num_raters: int | None,
    ) -> None:
        """Stores the methods and photographs, and draws the orders for new raters.

        Args:
          photographs: Paths of the photographs and of their results, from
            `find_photographs` for the methods in this order.
          num_raters: Number of raters; existing raters are kept. None keeps their number,
            and means 20 for a new study.

        Raises:
          ValueError: If the file is a study of other methods or photographs, or pictures
            are not those that were ranked.
          OSError: If a picture cannot be read.
        """
        stored = [s for (s,) in self._all("SELECT stem FROM photographs ORDER BY id")]
        for kind, old, new in (
            ("methods", self.methods, methods),
            ("photographs", stored, list(photographs)),
        ):
            if old and sorted(old) != sorted(new):
                differing = suggestions.name_some(sorted(set(old) ^ set(new)))
                raise ValueError(
                    f"The study was made with other {kind}: {differing}. Use the same "
                    "ones, or name another file with --output."
                )
        self.methods = self.methods or list(methods)
        order = [0, *(1 + list(methods).index(name) for name in self.methods)]
        ordered = {
            stem: [paths[i] for i in order] for stem, paths in photographs.items()
        }
        digests = _digest(ordered)
        self._check_unchanged(ordered, digests)
        with self._lock, self._file as file:
            file.executemany(
                "INSERT OR IGNORE INTO methods VALUES (?, ?)", enumerate(self.methods)
            )
            file.executemany(
                "INSERT INTO photographs (stem, paths, digests) VALUES (?, ?, ?) "
                "ON CONFLICT (stem) DO UPDATE "
                "SET paths = excluded.paths, digests = excluded.digests",
                [
                    (stem, json.dumps(paths), json.dumps(digests[stem]))
                    for stem, paths in ordered.items()
                ],
            )
            ids = [i for (i,) in file.execute("SELECT id FROM photographs")]
            (num_stored,) = file.execute("SELECT COUNT(*) FROM raters").fetchone()
            if num_raters is None:
                num_raters = num_stored or 20
            for _ in range(num_raters - num_stored):
                self._add_rater(ids)

    def _check_unchanged(
        self, paths: Mapping[str, list[str]], digests: Mapping[str, list[str]]
    ) -> None:
        """Raises ValueError if a picture of a ranked photograph has other bytes now."""
        ranked = self._all(
            "SELECT stem, digests FROM photographs WHERE digests IS NOT NULL AND "
            "id IN (SELECT photograph FROM tasks WHERE ranking IS NOT NULL)"
        )
        changed = [
            decoding.printable(path)
            for stem, stored in ranked
            for path, old, new in zip(paths[stem], json.loads(stored), digests[stem])
            if old != new
        ]
        if changed:
            raise ValueError(
                f"Raters have ranked other pictures than {suggestions.name_some(changed)}. Put "
                "back the former files, or name another file with --output."
            )

    def _add_rater(self, photographs: list[int]) -> None:
        draw, num_methods = random.SystemRandom(), len(self.methods)
        token = secrets.token_urlsafe(16)
        rater = self._file.execute(
            "INSERT INTO raters (token) VALUES (?)", (token,)
        ).lastrowid
        self._file.executemany(
            "INSERT INTO tasks (rater, place, photograph, shown) VALUES (?, ?, ?, ?)",
            [
                (rater, place, photograph, json.dumps(shown))
                for place, photograph in enumerate(
                    draw.sample(photographs, len(photographs))
                )
                for shown in [draw.sample(range(num_methods), num_methods)]
            ],
        )

    def tokens(self) -> list[str]:
        """Returns the token of each rater."""
        return [token for (token,) in self._all("SELECT token FROM raters ORDER BY id")]

    def rankings(self, token: str) -> list[list[int] | None]:
        """Returns the rankings of a rater, one per photograph; None if it is missing.

        A ranking lists the positions of the results as shown, the best first. If there is
        no such rater, the list is empty.
        """
        rows = self._all(
            "SELECT ranking FROM tasks JOIN raters ON rater = raters.id "
            "WHERE token = ? ORDER BY place",
            token,
        )
        return [ranking and json.loads(ranking) for (ranking,) in rows]

    def picture(self, token: str, place: int, shown: int = -1) -> str | None:
        """Returns the path of a picture, or None if there is no such picture.

        Args:
          place: Position of the photograph in the rater's order, from 0.
          shown: Position of the result as shown, from 0; -1 for the rainy photograph.
        """
        rows = self._all(
            "SELECT paths, shown FROM tasks JOIN raters ON rater = raters.id "
            "JOIN photographs ON photograph = photographs.id "
            "WHERE token = ? AND place = ?",
            token,
            min(place, _LARGEST),
        )
        if not rows or not -1 <= shown < len(self.methods):
            return None
        paths, methods = map(json.loads, rows[0])
        return paths[0 if shown < 0 else 1 + methods[shown]]

    def rank(self, token: str, place: int, ranking: Any) -> bool:
        """Stores a ranking, replacing an earlier one; returns whether the task exists.

        Args:
          place: Position of the photograph in the rater's order, from 0.
          ranking: Positions of the results as shown, the best first.

        Raises:
          ValueError: If the ranking does not list each result once.
        """
        results = list(range(len(self.methods)))
        is_list = isinstance(ranking, list) and all(type(one) is int for one in ranking)
        if not is_list or sorted(ranking) != results:
            raise ValueError(
                "Rank each result once, without ties: expected a list of the numbers 0 to "
                f"{len(results) - 1}, the best first."
            )
        with self._lock, self._file as file:
            changed = file.execute(
                "UPDATE tasks SET ranking = ?, ranked_at = datetime('now') "
                "WHERE place = ? AND rater = (SELECT id FROM raters WHERE token = ?)",
                (json.dumps(ranking), min(place, _LARGEST), token),
            )
            return changed.rowcount == 1

    def scores(self) -> pd.DataFrame:
        """Returns a table with one row per rater, photograph and method.

        It has rank and score: of n methods, the best has rank 1 and score n, and the last
        has rank n and score 1.
        """
        rows = self._all(
            "SELECT rater, stem, shown, ranking, ranked_at FROM tasks "
            "JOIN photographs ON photograph = photographs.id "
            "WHERE ranking IS NOT NULL ORDER BY rater, stem"
        )
        num_methods = len(self.methods)
        return pd.DataFrame(
            [
                (
                    rater,
                    stem,
                    self.methods[methods[i]],
                    rank,
                    num_methods + 1 - rank,
                    at,
                )
                for rater, stem, shown, ranking, at in rows
                for methods in [json.loads(shown)]
                for rank, i in enumerate(json.loads(ranking), 1)
            ],
            columns=["rater", "photograph", "method", "rank", "score", "ranked_at"],
        )

    def _all(self, query: str, *values: Any) -> list[tuple]:
        with self._lock:
            return self._file.execute(query, values).fetchall()
