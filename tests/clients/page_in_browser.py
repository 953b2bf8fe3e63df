#!/usr/bin/env python3
"""The page in a headless Chromium, against three ranks: chat with streaming and stop, markdown, ranks, keyboard, dark mode,
a phone's width. Skipped where there is no browser.

  DINFER_SCREENSHOTS=FOLDER   leaves screenshots there
"""
import os
import pathlib
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from browser import Browser, find_browser
from dinfer import MODELS, SKIPPED
from server import Server

MODEL = pathlib.Path(os.environ.get("DINFER_DEMO_MODEL", MODELS / "hf/llama-9h-tied"))
RUNNING, IDLE = "!document.getElementById('stop').disabled", "document.getElementById('stop').disabled"
ANSWER = "[...document.querySelectorAll('.message .text')].at(-1).textContent"
ENTER = {"key": "Enter", "text": "\r", "code": 13}

if not find_browser():
    print("there is no browser: skipped")
    sys.exit(SKIPPED)


def say(page, text):
    page.evaluate("document.getElementById('input').focus()")
    page.type(text)
    page.key(**ENTER)


def check_chat(page):
    page.evaluate("document.getElementById('max_tokens').value = 48, document.getElementById('temperature').value = 0")
    say(page, "Name three colours.")
    page.wait(ANSWER + ".length > 0")
    page.wait(IDLE)
    assert "tokens/s" in page.evaluate("document.getElementById('speed').textContent")
    assert page.evaluate("document.querySelectorAll('.message').length") == 2
    assert page.evaluate("document.activeElement.id") == "input"
    return page.evaluate(ANSWER)


def check_stop(page):
    page.evaluate("document.getElementById('max_tokens').value = 400")
    say(page, "Tell a long story.")
    page.wait(RUNNING + " && " + ANSWER + ".length > 0")
    page.key("Escape", code=27)
    page.wait(IDLE)


def check_markdown(page):
    """Text nodes alone: what looks like HTML stays text."""
    page.evaluate("""{
      const target = document.createElement('div');
      target.id = 'rendered';
      render(target, 'a **bold** `code` <img src=x onerror="window.broken=1">\\n```js\\nlet a = 1 < 2;\\n```\\nend');
      document.getElementById('chat').append(target);
    }""")
    assert page.evaluate("document.querySelector('#rendered strong').textContent") == "bold"
    assert page.evaluate("document.querySelector('#rendered pre code').textContent") == "let a = 1 < 2;"
    assert page.evaluate("document.querySelectorAll('#rendered img').length") == 0
    assert page.evaluate("window.broken") is None
    page.evaluate("document.getElementById('rendered').remove()")


def check_thoughts(page):
    """What a model thinks is folded away above its answer, and is not sent back to it."""
    page.evaluate("""{
      window.asked = window.fetch;
      const event = delta => 'data: ' + JSON.stringify({choices: [{index: 0, delta}]}) + '\\n\\n';
      window.fetch = async (path, more) => !more.body ? asked(path, more) : new Response(
        event({reasoning_content: 'It may be '}) + event({reasoning_content: 'four.'}) + event({content: '**4**'}) + 'data: [DONE]\\n\\n');
    }""")
    say(page, "Two and two?")
    page.wait(ANSWER + " === '4'")
    page.wait(IDLE)
    assert page.evaluate("document.querySelector('.message:last-child details .text').textContent") == "It may be four."
    assert page.evaluate("document.querySelector('.message:last-child details').open") is False
    assert page.evaluate("messages.at(-1).content") == "**4**"
    page.evaluate("window.fetch = window.asked")


def check_ranks(page):
    page.evaluate("document.getElementById('status').open = true")
    page.wait("document.getElementById('figures').textContent.includes('ranks')")
    assert "3 ranks" in page.evaluate("document.getElementById('figures').textContent")
    # A line a rank, with what it did in the answers above.
    page.wait("document.querySelectorAll('#ranks tr').length === 3")
    page.wait("Number(document.querySelector('#ranks tr:last-child td:nth-child(8)').textContent) > 0")


def check_fits(page):
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), "it scrolls sideways"


def check_dark(page):
    light = page.evaluate("getComputedStyle(document.getElementById('input')).color")
    page.dark(True)
    assert page.evaluate("getComputedStyle(document.getElementById('input')).color") != light
    page.dark(False)


def check_keyboard(page):
    """All that can be operated is reached by Tab."""
    page.evaluate("document.activeElement.blur()")
    reached = set()
    for _ in range(30):
        page.key("Tab", code=9)
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
    assert {"reset", "input", "send", "SUMMARY"} <= reached, reached


with tempfile.TemporaryDirectory() as scratch, Server(3, "-m", MODEL, "--max-seq-len", 512) as server, \
        Browser(find_browser()) as page:
    shots = pathlib.Path(os.environ.get("DINFER_SCREENSHOTS", scratch))
    page.window(1000, 720)
    page.open("http://127.0.0.1:%d/" % server.port)
    page.wait("document.getElementById('model').textContent.length > 3")
    check_chat(page)
    page.screenshot(shots / "page-chat.png")
    check_stop(page)
    server.wait_idle()
    check_markdown(page)
    check_ranks(page)
    time.sleep(0.3)
    page.evaluate("window.scrollTo(0, 0)")
    page.screenshot(shots / "page-ranks.png")
    check_fits(page)
    check_dark(page)
    check_keyboard(page)
    page.evaluate("document.getElementById('status').open = false")
    page.window(390, 760, mobile=True)
    check_fits(page)
    page.dark(True)
    page.evaluate("window.scrollTo(0, 0)")
    page.screenshot(shots / "page-phone.png")
    check_thoughts(page)
    # Nothing came from elsewhere, and nothing went wrong.
    asked = [event["params"]["request"]["url"] for event in page.events if event.get("method") == "Network.requestWillBeSent"]
    assert asked and all(url.startswith(("http://127.0.0.1:%d/" % server.port, "data:")) for url in asked), asked
    wrong = [event for event in page.events if event.get("method") == "Runtime.exceptionThrown" or
             event.get("params", {}).get("entry", {}).get("level") in ("warning", "error")]
    assert not wrong, wrong
    assert server.end() == 0
