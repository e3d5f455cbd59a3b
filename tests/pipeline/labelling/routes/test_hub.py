"""Events to pages: in order, to each page, and to none that has fallen behind for good."""

import asyncio
import json
import threading

from textdiff.pipeline.labelling.routes import hub as hubs
from textdiff.pipeline.labelling.routes.hub import Hub


async def connect(hub):
    stream = (await hub.endpoint(None)).body_iterator
    assert await anext(stream) == b"retry: 1000\n\n"
    return stream


def test_every_page_gets_every_event_in_order_from_any_thread():
    async def listen():
        hub = Hub()
        hub.publish({"type": "lost"})  # nobody is there
        pages = [await connect(hub) for _ in range(3)]
        thread = threading.Thread(target=lambda: [hub.publish({"n": n}) for n in range(50)])
        thread.start()
        for page in pages:
            found = [json.loads((await anext(page)).removeprefix(b"data: ")) for _ in range(50)]
            assert found == [{"n": n} for n in range(50)]
        thread.join()
        hub.close()
        assert [[content async for content in page] for page in pages] == [[], [], []]
        assert hub._pages == set()

    asyncio.run(listen())


def test_a_page_that_has_fallen_behind_is_let_go(monkeypatch):
    monkeypatch.setattr(hubs, "_MOST_WAITING", 10)

    async def listen():
        hub = Hub()
        slow = await connect(hub)
        for n in range(100):
            hub.publish({"n": n})
        found = [content async for content in slow]
        assert len(found) == 10
        assert hub._pages == set()

    asyncio.run(listen())


def test_a_page_without_news_hears_that_the_server_is_there(monkeypatch):
    monkeypatch.setattr(hubs, "_ALIVE_S", 0.01)

    async def listen():
        page = await connect(Hub())
        assert await anext(page) == b": alive\n\n"
        await page.aclose()

    asyncio.run(listen())
