"""Who may speak to the labelling page's server: a row for each attack, each refused, and nothing changed by it."""

import gzip
import json
import re
import subprocess

import httpx
import pytest
from label_server import brush, new_key

from textdiff.errors import LabelError
from textdiff.pipeline.labelling.security.access import Access, is_loopback
from textdiff.pipeline.labelling.security.guard import MOST_BYTES
from textdiff.pipeline.labelling.security.headers import HEADERS

OWN = "http://127.0.0.1:8765"
COOKIE = re.compile(r"textdiff-8765=[\w-]{43}; Path=/; HttpOnly; SameSite=Strict")


def stroke():
    return json.dumps(brush()).encode()


def raw(client, method="POST", path="/api/strokes", content=None, **headers):
    """A request with these headers besides, or in place of, those of the page; `None` leaves one out."""
    own = {"Host": "127.0.0.1:8765", "Origin": OWN, "Content-Type": "application/json"}
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    merged = {**own, **given}
    request = client.build_request(
        method, path, headers={name: value for name, value in merged.items() if value is not None}, content=content
    )
    for name, value in given.items():
        if value is None:
            request.headers.pop(name, None)
    return client.send(request)


HUGE = b'{"key":"' + b"a" * MOST_BYTES + b'"}'
HOST = "the server has another name"
SITE = "another page sent this"
STRANGER = "the server does not know you"
KIND = "the body is of another kind"
LARGE = "the body is too large"
UNREAD = "the body cannot be read"
METHOD = "the method is not served"


def pieces():
    yield from (HUGE[n : n + 4096] for n in range(0, len(HUGE), 4096))


ATTACKS = {
    "forged Host": ({"Host": "evil.example:8765"}, 400, HOST),
    "DNS rebinding: Origin equals Host": (
        {"Host": "evil.example:8765", "Origin": "http://evil.example:8765"}, 400, HOST,
    ),
    "Host with another port": ({"Host": "127.0.0.1:80"}, 400, HOST),
    "Host with an address in the name": ({"Host": "127.0.0.1:8765.evil.example"}, 400, HOST),
    "Host with a user": ({"Host": "a@127.0.0.1:8765"}, 400, HOST),
    "empty Host": ({"Host": ""}, 400, HOST),
    "forged Origin": ({"Origin": "http://evil.example"}, 403, SITE),
    "Origin of another port": ({"Origin": "http://127.0.0.1:9999"}, 403, SITE),
    "Origin of another scheme": ({"Origin": "https://127.0.0.1:8765"}, 403, SITE),
    "Origin of a sandboxed page": ({"Origin": "null"}, 403, SITE),
    "Origin of another name of this machine": ({"Origin": "http://localhost:8765"}, 403, SITE),
    "cross-site POST": ({"Sec_Fetch_Site": "cross-site"}, 403, SITE),
    "same-site POST": ({"Sec_Fetch_Site": "same-site"}, 403, SITE),
    "POST that says not from where": ({"Origin": None}, 403, SITE),
    "no cookie": ({"Cookie": None}, 401, STRANGER),
    "forged cookie": ({"Cookie": "textdiff-8765=" + "A" * 43}, 401, STRANGER),
    "cookie of another session": ({"Cookie": "textdiff-8766=x"}, 401, STRANGER),
    "empty cookie": ({"Cookie": "textdiff-8765="}, 401, STRANGER),
    "form": ({"Content_Type": "application/x-www-form-urlencoded"}, 400, KIND),
    "plain text, as forms of other sites may send": ({"Content_Type": "text/plain"}, 400, KIND),
    "no kind": ({"Content_Type": None}, 400, KIND),
    "oversize body": ({"content": HUGE}, 413, LARGE),
    "oversize body in pieces": ({"content": pieces()}, 413, LARGE),
    "body that says it is huge": ({"Content_Length": str(10**12)}, 413, LARGE),
    "body of no length": ({"Content_Length": "-1"}, 413, LARGE),
    "decompression bomb": (
        {"content": gzip.compress(bytes(2**24)), "Content_Encoding": "gzip"}, 400, "the body is compressed",
    ),
    "deep JSON": ({"content": b"[" * 100_000}, 400, UNREAD),
    "JSON of other things": ({"content": b'{"key":["a"]}'}, 400, UNREAD),
    "no JSON": ({"content": b"\xff\xfe"}, 400, UNREAD),
    "numbers that are none": (
        {"content": b'{"key":"aaaaaaaa","image":0,"tool":"brush","class":1,"size":NaN,"points":[[1,2]]}'}, 400,
        UNREAD,
    ),
    "endless numbers": (
        {"content": b'{"key":"aaaaaaaa","image":0,"tool":"brush","class":1,"size":2,"points":[[1e999,2]]}'}, 400,
        UNREAD,
    ),
    "too many points": (
        {"content": json.dumps(brush(points=[(1, 1)] * 10_001)).encode()}, 400,
        "the brush has another number of points",
    ),
    "a brush as large as a slide": (
        {"content": json.dumps(brush(size=1e5)).encode()}, 400, "the brush has no such size",
    ),
    "a path to and fro": (
        {"content": json.dumps(brush(points=[(0, 0), (1e6, 1e6)] * 2000)).encode()}, 400, "the path is too long",
    ),
    "an image below 0": ({"content": json.dumps(brush(-1)).encode()}, 404, "the image does not exist"),
    "an image by its path": ({"content": json.dumps(brush("../../etc/passwd")).encode()}, 400, UNREAD),
    "PUT": ({"method": "PUT"}, 400, METHOD),
    "DELETE": ({"method": "DELETE"}, 400, METHOD),
    "OPTIONS, as before a cross-site POST": ({"method": "OPTIONS", "Content_Type": None}, 400, METHOD),
    "TRACE": ({"method": "TRACE"}, 400, METHOD),
    "GET where a POST is meant": ({"method": "GET", "Content_Type": None}, 404, "there is nothing here"),
    "cross-site GET": (
        {"method": "GET", "path": "/api/session", "Sec_Fetch_Site": "cross-site"}, 403, SITE,
    ),
    "cross-site picture": (
        {"method": "GET", "path": "/api/images/0/thumbnail", "Sec_Fetch_Site": "cross-site"}, 403,
        SITE,
    ),
    "cross-site events": (
        {"method": "GET", "path": "/api/events", "Origin": "http://evil.example"}, 403, SITE,
    ),
    "events without a cookie": ({"method": "GET", "path": "/api/events", "Cookie": None}, 401, STRANGER),
    "HEAD without a cookie": ({"method": "HEAD", "path": "/api/session", "Cookie": None}, 401, None),
    "traversal": ({"method": "GET", "path": "/assets/..%2f..%2f..%2fpages.py"}, 404, None),
    "traversal, twice encoded": ({"method": "GET", "path": "/assets/..%252f..%252fetc%252fpasswd"}, 404, None),
    "traversal with backslashes": ({"method": "GET", "path": "/assets/..%5c..%5cpages.py"}, 404, None),
    "absolute path": ({"method": "GET", "path": "/assets//etc/passwd"}, 404, None),
    "NUL": ({"method": "GET", "path": "/assets/index.html%00.png"}, 404, None),
    "header injection by an address": ({"method": "GET", "path": "/assets/a%0d%0aSet-Cookie:%20a=b"}, 404, None),
    "image by path": ({"method": "GET", "path": "/api/images/..%2f..%2fetc/thumbnail"}, 404, None),
    "image by a huge number": ({"method": "GET", "path": f"/api/images/{10**30}/thumbnail"}, 404, None),
    "tile by a huge number": ({"method": "GET", "path": f"/api/images/0/labels/0/{10**30}_0"}, 404, None),
    "level by a huge number": ({"method": "GET", "path": f"/api/images/0/picture/{10**9}/0_0"}, 404, None),
    "address of the API in other letters": ({"method": "GET", "path": "/API/session", "Cookie": None}, 404, None),
    "address of the API with two slashes": ({"method": "GET", "path": "//api/session", "Cookie": None}, 404, None),
    "address of the API by a detour": (
        {"method": "GET", "path": "/assets/%2e%2e/api/session", "Cookie": None}, 404, None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_attacks_are_refused(client, session, attack):
    request, status, what = ATTACKS[attack]
    answer = raw(client, **{"content": stroke() if request.get("method", "POST") == "POST" else None, **request})
    assert answer.status_code == status, answer.text
    if what is not None:
        assert answer.json()["error"]["what"] == what
    for name, value in HEADERS.items():
        assert answer.headers[name] == value
    assert "set-cookie" not in answer.headers
    assert session.labels(0).n_strokes == 0


def test_the_page_itself_is_served(client):
    assert raw(client, content=stroke()).status_code == 200
    assert raw(client, content=stroke(), Origin=None, Sec_Fetch_Site="same-origin").status_code == 200
    assert raw(client, content=stroke(), Host="LOCALHOST:8765", Origin="http://localhost:8765").status_code == 200
    assert raw(client, content=stroke(), Content_Type="application/json; charset=utf-8").status_code == 200
    assert raw(client, "GET", "/api/session", Origin=None, Sec_Fetch_Site="none").status_code == 200


def test_two_hosts_are_none(client):
    request = client.build_request("GET", "/api/session")
    request.headers = httpx.Headers([*request.headers.multi_items(), ("Host", "evil.example")])
    assert client.send(request).json()["error"]["what"] == "the server has another name"


def test_a_websocket_is_not_opened(client):
    from starlette.websockets import WebSocketDisconnect

    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/api/events"):
        pass


def test_a_token_lets_one_in_once(client):
    link = client.access.link().removeprefix(OWN)
    assert re.fullmatch(r"/\?token=[\w-]{43}", link)
    client.cookies.clear()
    assert client.get("/?token=" + "A" * 43, follow_redirects=False).status_code == 401
    assert client.get("/?token=ä", follow_redirects=False).status_code == 401
    assert client.get("/?token=", follow_redirects=False).status_code == 401
    entered = client.get(link, follow_redirects=False)
    assert (entered.status_code, entered.headers["location"]) == (303, "/")
    assert COOKIE.fullmatch(entered.headers["set-cookie"])
    assert client.get("/api/session").status_code == 200
    assert client.get(link, follow_redirects=False).status_code == 303  # opened again by the one who is in
    client.cookies.clear()
    used = client.get(link, follow_redirects=False)
    assert (used.status_code, used.json()["error"]["got"]) == (401, "a token that is wrong or was used before")
    assert "set-cookie" not in used.headers


def test_a_new_link_voids_the_one_before():
    access = Access("127.0.0.1", 1)
    first, second = access.link(), access.link()
    with pytest.raises(LabelError, match="a token that is wrong or was used before"):
        access.enter(first.rpartition("=")[2])
    access.enter(second.rpartition("=")[2])


def test_secrets_are_of_256_bits_and_of_one_server():
    links = [Access("127.0.0.1", 1).link() for _ in range(20)]
    assert len(set(links)) == 20
    one, other = Access("127.0.0.1", 1), Access("127.0.0.1", 1)
    assert one.cookie_name != Access("127.0.0.1", 2).cookie_name
    cookie = one.enter(one.link().rpartition("=")[2]).partition(";")[0]
    assert one.knows(f"a=b; {cookie}; c=d")
    assert not other.knows(cookie)


@pytest.mark.parametrize(
    ("host", "named"),
    [
        ("192.168.0.7", "192.168.0.7:80"),
        ("192.168.0.7", "192.168.0.7"),  # browsers leave port 80 out
        ("::1", "[::1]:80"),
        ("lab.example", "lab.example:80"),
        ("127.0.0.1", "localhost:80"),
    ],
)
def test_a_server_is_called_by_the_names_of_its_host(host, named):
    assert named in Access(host, 80).hosts
    assert "evil.example:80" not in Access(host, 80).hosts
    assert Access("127.0.0.1", 1).hosts < Access("0.0.0.0", 1).hosts


@pytest.mark.parametrize(
    ("host", "is_own"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("lab", False)],
)
def test_only_loopback_is_out_of_the_networks_reach(host, is_own):
    assert is_loopback(host) == is_own


def test_headers_are_strict():
    policy = HEADERS["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "*" not in policy
    assert "http" not in policy
    assert policy.startswith("default-src 'none'; ")
    assert HEADERS["Cache-Control"] == "no-store"


def test_names_with_line_breaks_reach_no_header(client):
    for text in ("a\r\nSet-Cookie: a=b", "a\0b", "a\u2028b"):
        answer = client.post("/api/classes", json={"key": new_key(), "name": text, "colour": "#000000"})
        assert answer.status_code == 400
        assert "set-cookie" not in answer.headers


@pytest.mark.slow
def test_the_token_is_in_no_log_and_in_no_process_list(served):
    token = served.link.rpartition("=")[2]
    client = served.client()
    client.get(f"/?token={token}x")
    client.get("/api/session")
    client.post("/api/strokes", content=b"x")
    assert served.errors.read_text() == ""
    commands = subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, text=True, check=True).stdout
    assert "label_server.py" in commands
    assert token not in commands
