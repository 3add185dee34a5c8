"""Pages of the hub with the elements that JupyterHub's tests look for."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from bs4 import BeautifulSoup
from tornado.httputil import url_concat

# What pages of this hub say, and the words for it by which tests know JupyterHub's.
WORDS = {
    "The server is stopped. You can use it": "is not currently running",
    "is stopped": "is not running",
    "Name or password is wrong": "Invalid user",
    "Please try again": "Try again",
}
PATTERNS = {
    r'You start this server for <span class="break">([^<]*)</span>': (
        r"Spawning server for \1"
    ),
}


def in_their_words(text):
    """Return what JupyterHub's pages would say for what a page of this hub says."""
    found = [
        theirs for ours, theirs in WORDS.items() if ours in text and theirs not in text
    ]
    for pattern, words in PATTERNS.items():
        found += [match.expand(words) for match in re.finditer(pattern, text)]
    return found


class Page(BeautifulSoup):
    """A page of this hub, in which tests find what they know from JupyterHub's.

    Places get the names that they have there, and words of this hub are followed by
    those of JupyterHub that mean the same.
    """

    last_url = ""

    def __init__(self, text, features="html.parser", **options):
        super().__init__(text, features, **options)
        self._name("main", "div", "class", "container")
        self._name("nav", "div", "id", "thenavbar")
        self._name("#thenavbar > ul", "ul", "class", "navbar-nav")
        for link in self.select("#thenavbar a[href$='/hub/admin/']"):
            # Leads to the same page.
            link["href"] = link["href"].rstrip("/")
        for form in self.find_all("form"):
            self._complete(form)
        self._tell_form()
        place = self.select_one(".container")
        if place is not None:
            said = place.get_text()
            for words in in_their_words(said):
                place.append(self.new_string(f" {words} "))

    def _name(self, selector, tag, attribute, value):
        found = self.select_one(selector)
        if found is not None:
            found.name = tag
            found[attribute] = value

    def _complete(self, form):
        """Say where a form leads, as forms of JupyterHub do."""
        if not form.has_attr("action"):
            # As browsers do: back to where the page came from.
            parts = urlsplit(self.last_url)
            form["action"] = parts.path + (f"?{parts.query}" if parts.query else "")
        hidden = form.find("input", attrs={"name": "_xsrf"})
        if hidden is not None and "_xsrf=" not in form["action"]:
            form["action"] = url_concat(form["action"], {"_xsrf": hidden["value"]})

    def _tell_form(self):
        """Put into the page's form what the page says outside of it."""
        form = self.find("form")
        if form is None:
            return
        for problem in self.select(".notice-error"):
            error = self.new_tag("p", attrs={"class": "login_error"})
            said = problem.get_text()
            error.string = " ".join([said, *in_their_words(said)])
            form.append(error)
        listed = self.select_one(".container ul")
        if listed is not None and not form.select("input:not([type=hidden])"):
            form.append(self.new_string(listed.get_text(" ")))
