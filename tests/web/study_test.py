"""The user study: its server, its records and its report."""

import asyncio
import concurrent.futures
import io
import re
import socket
import time

import httpx
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from starlette.testclient import TestClient

from tests.web import servers
from ttl_jax import study as command
from ttl_jax.data.files import decoding
from ttl_jax.web import serving, study_records, study_report, studying

METHODS = {"dark": 40, "bright": 200, "middle": 120}  # levels of their results
NUM_PHOTOGRAPHS = 4


@pytest.fixture
def folders(tmp_path):
    """Folders of photographs and results, whose pixels show the method."""
    for name, level in {"input": 10, **METHODS}.items():
        for i in range(NUM_PHOTOGRAPHS):
            path = tmp_path / name / "street" / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (12, 9), (level + i,) * 3).save(path)
    return tmp_path


@pytest.fixture
def open_study(folders):
    """Opens the study of the folders; called again, it opens the same one."""
    opened = []

    def open_one(num_raters=None, methods=tuple(METHODS)):
        results = {name: str(folders / name) for name in methods}
        found = study_records.find_photographs(str(folders / "input"), results)
        study = study_records.Study(folders / "study.db", create=True)
        opened.append(study)
        study.prepare(list(methods), found, num_raters)
        return study

    yield open_one
    for study in opened:
        study.close()


def flags(folders, *more):
    results = [f"--results={name}={folders / name}" for name in METHODS]
    study = [f"--input={folders / 'input'}", f"--output={folders / 'study.db'}"]
    return [*results, *study, *more]


def level(content):
    return int(np.asarray(Image.open(io.BytesIO(content))).mean())


def rank_all(served, token, sign=1):
    """Ranks by what a rater sees: the brightest result first, or last."""
    state = served.get(f"/r/{token}/rankings").json()
    for place in range(len(state["rankings"])):
        task = f"/r/{token}/tasks/{place}"
        seen = [
            level(served.get(f"{task}/{i}.png").content)
            for i in range(state["num_results"])
        ]
        ranking = np.argsort(seen)[::-sign].tolist()
        assert served.put(f"{task}/ranking", json=ranking).status_code == 204


def test_what_raters_see_and_rank_reaches_the_report(open_study, folders):
    study = open_study(3)
    with TestClient(studying.make_app(study)) as served:
        for token, sign in zip(study.tokens(), (1, 1, -1)):
            rank_all(served, token, sign)
        inputs = {
            level(served.get(f"/r/{token}/tasks/{place}/input.png").content)
            for place in range(NUM_PHOTOGRAPHS)
        }
    assert inputs == {10, 11, 12, 13}
    report = study_report.write(study, folders / "report")
    totals = pd.read_csv(folders / "report" / "total_scores.csv").set_index("method")
    # Of 12 rankings the brightest won 8 with score 3 and was last in 4.
    assert totals["total"].to_dict() == {"dark": 20, "bright": 28, "middle": 24}
    counts = pd.read_csv(folders / "report" / "score_counts.csv", index_col="method")
    assert counts.loc["bright"].tolist() == [8, 0, 4]
    winners = pd.read_csv(folders / "report" / "winners.csv")
    assert set(winners["winner"]) == {"bright"}
    assert len(winners) == NUM_PHOTOGRAPHS
    # Sums of ranks 5, 7 and 6: W = 12 * 2 / (9 * 24).
    assert "Kendall's W is 0.111 on average over 4 photographs (no interval" in report
    with Image.open(folders / "report" / "histogram.png") as histogram:
        assert histogram.width > 100


def test_the_report_of_one_photograph_has_no_interval(open_study, folders):
    study = open_study(2)
    for token in study.tokens():
        seen = [study.picture(token, place) for place in range(NUM_PHOTOGRAPHS)]
        place = next(i for i, path in enumerate(seen) if path.endswith("0.png"))
        shown = [study.picture(token, place, i) for i in range(len(METHODS))]
        assert study.rank(token, place, np.argsort(shown).tolist())
    report = study_report.write(study, folders / "report")
    assert "Kendall's W is 1.000 for the one photograph" in report
    assert "nan" not in report


def test_a_full_study_has_the_sum_of_table_2():
    table_2 = [8901, 9074, 8324, 6475, 6000, 11151, 7426, 14649]
    rng = np.random.default_rng(0)
    rows = [
        (rater, photograph, method, rank, 9 - rank)
        for rater in range(20)
        for photograph in range(100)
        for rank, method in enumerate(rng.permutation(list("abcdefgh")), 1)
    ]
    columns = ["rater", "photograph", "method", "rank", "score"]
    answers = pd.DataFrame(rows, columns=columns)
    totals = study_report.total_scores(answers, list("abcdefgh"))
    assert totals["total"].sum() == sum(table_2)


def test_orders_are_random_and_stay(open_study):
    study = open_study(30)
    tokens = study.tokens()
    seen = {t: [study.picture(t, p, 0) for p in range(NUM_PHOTOGRAPHS)] for t in tokens}
    assert len({tuple(paths) for paths in seen.values()}) > 20
    # Methods named in another order are the same study; five raters are added.
    again = open_study(35, methods=tuple(reversed(METHODS)))
    assert again.tokens()[:30] == tokens and len(again.tokens()) == 35
    for token, paths in seen.items():
        assert [again.picture(token, p, 0) for p in range(NUM_PHOTOGRAPHS)] == paths


def test_pictures_do_not_reveal_their_method(open_study, folders):
    for i in range(NUM_PHOTOGRAPHS):
        path = folders / "dark" / "street" / f"{i}.png"
        Image.open(path).save(path.with_suffix(".jpg"), comment=b"by dark")
        path.unlink()
    study = open_study(1)
    (token,) = study.tokens()
    with TestClient(studying.make_app(study)) as served:
        texts = [served.get(f"/r/{token}/").text]
        texts.append(served.get(f"/r/{token}/rankings").text)
        for i in range(len(METHODS)):
            picture = served.get(f"/r/{token}/tasks/0/{i}.png")
            assert picture.headers["content-type"] == "image/png"
            assert not picture.headers.keys() & {"etag", "last-modified"}
            texts.append(picture.content.decode("latin-1"))
    assert not any(re.search(r"dark|bright|middle|street", text) for text in texts)


@pytest.mark.parametrize(
    ("room", "decoded_at"), [(2.5, [0, 1, 2, 1]), (0, [0, 1, 0, 2, 0, 1])]
)
def test_pictures_used_last_are_kept_up_to_a_number_of_bytes(
    folders, monkeypatch, room, decoded_at
):
    paths = [str(folders / "dark" / "street" / f"{i}.png") for i in range(3)]
    num_bytes = len(studying._read_blinded(paths[0]))
    decoded, read = [], decoding.read_rgb8
    monkeypatch.setattr(decoding, "read_rgb8", lambda p: decoded.append(p) or read(p))
    pictures = studying._BlindedPictures(int(room * num_bytes))
    for i in (0, 1, 0, 2, 0, 1):
        assert level(pictures.read(paths[i])) == METHODS["dark"] + i
    assert decoded == [paths[i] for i in decoded_at]


def test_equal_requests_at_once_decode_once(folders, monkeypatch):
    decoded = []
    read = decoding.read_rgb8

    def read_slowly(path):
        decoded.append(path)
        time.sleep(0.2)
        return read(path)

    monkeypatch.setattr(decoding, "read_rgb8", read_slowly)
    path = str(folders / "dark" / "street" / "0.png")
    cached = studying._BlindedPictures(2**20)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        contents = list(pool.map(cached.read, [path] * 4))
    assert len(decoded) == 1 and len(set(contents)) == 1


def test_ties_and_unknown_raters_are_rejected(open_study):
    study = open_study(2)
    task = f"/r/{study.tokens()[0]}/tasks/0/ranking"
    with TestClient(studying.make_app(study)) as served:
        for ranking in ([0, 0, 1], [0, 1], [0, 1, 2, 3], [1, 2, 3], "abc", [True, 0, 2], {}):  # fmt: skip
            answer = served.put(task, json=ranking)
            assert answer.status_code == 422
            assert "without ties" in answer.json()["error"]
        answer = served.put(task, content=b"{")
        assert answer.status_code == 422 and "without ties" in answer.json()["error"]
        assert served.put(task, content=bytes(5000)).status_code == 413
        for path in (
            "/",
            "/r/stranger/rankings",
            "/r/stranger/tasks/0/0.png",
            "/study.db",
        ):
            assert served.get(path).status_code == 404
        for place in (99, 10**30):
            stranger = task.replace("/0/", f"/{place}/")
            assert served.put(stranger, json=[0, 1, 2]).status_code == 404
        assert served.get(f"/r/{study.tokens()[0]}/tasks/0/3.png").status_code == 404
    assert study.scores().empty


def test_a_ranking_can_be_changed(open_study):
    study = open_study(1)
    (token,) = study.tokens()
    for ranking in ([0, 1, 2], [2, 0, 1]):
        assert study.rank(token, 1, ranking)
    assert study.rankings(token) == [None, [2, 0, 1], None, None]


def test_all_missing_results_are_named(folders, capsys):
    (folders / "dark" / "street" / "0.png").unlink()
    (folders / "bright" / "street" / "1.png").rename(folders / "bright" / "x.png")
    Image.new("RGB", (9, 9)).save(folders / "middle" / "street" / "2.png")
    with pytest.raises(SystemExit):
        command.main(flags(folders))
    error = capsys.readouterr().err
    for name in ("input/street/0.png", "input/street/1.png", "bright/x.png", "middle/street/2.png"):  # fmt: skip
        assert name in error
    assert not (folders / "study.db").exists()


def test_missing_folders_are_named(folders, capsys):
    for more in (
        [f"--results=b={folders / 'nope'}"],
        [f"--output={folders}/nope/s.db"],
    ):
        with pytest.raises(SystemExit, match="2"):
            command.main(flags(folders, *more))
        error = capsys.readouterr().err
        assert "nope does not exist" in error and "permissions" not in error


def test_another_study_is_rejected(open_study):
    open_study(1)
    with pytest.raises(ValueError, match="other methods: bright"):
        open_study(1, methods=("dark", "middle"))


def test_a_study_whose_ranked_pictures_changed_is_refused(open_study, folders):
    study = open_study(1)
    (token,) = study.tokens()
    (folders / "dark" / "street" / "0.png").write_bytes(
        (folders / "bright" / "street" / "0.png").read_bytes()
    )
    study = open_study(1)  # nothing is ranked yet
    place = next(
        place
        for place in range(NUM_PHOTOGRAPHS)
        if study.picture(token, place).endswith("0.png")
    )
    study.rank(token, place, [0, 1, 2])
    (folders / "dark" / "street" / "1.png").write_bytes(
        (folders / "bright" / "street" / "1.png").read_bytes()
    )
    open_study(1)  # this one is not ranked
    Image.new("RGB", (12, 9)).save(folders / "dark" / "street" / "0.png")
    with pytest.raises(ValueError, match="ranked other pictures than .*dark/street/0"):
        open_study(1)


def test_methods_that_change_places_under_their_names_are_refused(open_study, folders):
    study = open_study(1)
    assert study.rank(study.tokens()[0], 0, [0, 1, 2])
    (folders / "dark").rename(folders / "kept")
    (folders / "bright").rename(folders / "dark")
    (folders / "kept").rename(folders / "bright")
    with pytest.raises(ValueError, match="ranked other pictures"):
        open_study(1)


def test_a_study_of_an_earlier_version_continues(open_study, folders):
    study = open_study(1)
    (token,) = study.tokens()
    study.rank(token, 0, [0, 1, 2])
    study._file.execute("ALTER TABLE photographs DROP COLUMN digests")
    study.close()
    assert open_study(2).rankings(token)[0] == [0, 1, 2]


def test_a_report_needs_a_study_with_rankings(open_study, folders, capsys):
    open_study(1)
    (folders / "text.db").write_text("not a study, but text")
    for name, message in (
        ("study.db", "no ranking yet"),
        ("x.db", "does not exist"),
        ("text.db", "cannot be used as a study"),
    ):
        report = ["report", str(folders / name), "--output", str(folders / "report")]
        with pytest.raises(SystemExit):
            command.main(report)
        assert message in capsys.readouterr().err
    assert not (folders / "report").exists()


def test_raters_at_once_lose_nothing_at_kill_9(folders):
    """The server is killed while 30 raters rank; then the same command continues."""
    confirmed = {}

    async def rank(served, link, before_next):
        for place in range(NUM_PHOTOGRAPHS):
            ranking = np.random.default_rng(len(confirmed)).permutation(3).tolist()
            try:
                url = f"{link}tasks/{place}/ranking"
                answer = await served.put(url, json=ranking)
            except httpx.TransportError:
                return
            assert answer.status_code == 204
            confirmed[link.split("/")[-2], place] = ranking
            before_next()

    async def rank_at_once(links, before_next):
        async with httpx.AsyncClient(timeout=60, limits=httpx.Limits()) as served:
            await asyncio.gather(*(rank(served, link, before_next) for link in links))

    def stored():
        study = study_records.Study(folders / "study.db")
        try:
            return {
                (token, place): ranking
                for token in study.tokens()
                for place, ranking in enumerate(study.rankings(token))
            }
        finally:
            study.close()

    start = ["-m", "ttl_jax.study", *flags(folders, "--port=0", "--raters=30")]
    with servers.started(*start) as run:
        links = servers.read_links(run)
        kill_in_the_middle = lambda: len(confirmed) == 50 and run.kill()
        asyncio.run(rank_at_once(links, kill_in_the_middle))
    assert len(links) == 30 and 50 <= len(confirmed) < 120
    assert confirmed.items() <= stored().items()

    with servers.started(*start) as run:
        again = servers.read_links(run)
        tokens = [[link.split("/")[-2] for link in one] for one in (links, again)]
        assert tokens[0] == tokens[1]
        asyncio.run(rank_at_once(again, lambda: None))
    assert len(confirmed) == 120
    assert stored() == confirmed


def test_a_rater_who_leaves_during_a_ranking_gets_no_traceback(open_study):
    app = studying.make_app(open_study(1))
    scope = {
        "type": "http", "method": "PUT", "path": "/r/x/tasks/0/ranking", "headers": [],
        "query_string": b"", "scheme": "http", "http_version": "1.1",
    }  # fmt: skip
    sent = []

    async def receive():
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == 408


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_the_address_for_others_is_the_name_of_the_computer(host, monkeypatch):
    try:
        family = socket.AF_INET6 if host == "::" else socket.AF_INET
        socket.create_server((host, 0), family=family).close()
    except OSError:
        pytest.skip("This computer has no IPv6.")
    monkeypatch.setattr(serving.uvicorn.Server, "run", lambda self, sockets: None)
    announced = []
    serving.run(lambda: None, host, 0, announced.append)
    name = re.escape(socket.gethostname())
    assert re.fullmatch(rf"http://{name}:[0-9]+", announced[0])


def test_a_number_of_thousands_of_digits_is_no_picture(open_study):
    with TestClient(studying.make_app(open_study(1))) as served:
        for path in (f"{'9' * 5000}/input.png", f"0/{'9' * 5000}.png"):
            assert served.get(f"/r/x/tasks/{path}").status_code == 404
