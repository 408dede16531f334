"""The Sphinx extension of this site: writes the generated pages and links names to them."""

from __future__ import annotations

import functools
import re
from typing import Any

import pages
from docstrings import link
from docutils import nodes
from names import SHORT, Index
from sphinx import addnodes
from sphinx.application import Sphinx

FENCED = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
NAME = re.compile(r"(?<![\[`])`[A-Za-z_]\w*\.[\w.]*(?:\(\))?`(?![`\]])")
NOTEBOOK = re.compile(r"\]\(\.\./notebooks/(\w+)\.ipynb")
PAGE = re.compile(r"\]\(((?:notebooks/)?\w+\.md)\)")
MENU = "\n```{{toctree}}\n:hidden:\n:caption: {}\n\n{}\n```\n"


@functools.cache
def index() -> Index:
    """The names, once their pages are written."""
    return pages.write()


def read_page(app: Sphinx, name: str, content: list[str]) -> None:
    """In guides `lf.jit` leads to the reference, a notebook to its page; the index gets menus."""
    if name.startswith("api/"):
        return
    text = NOTEBOOK.sub(r"](notebooks/\1.md", content[0])
    parts = [part if part.startswith("```") else
             NAME.sub(lambda m: link(m[0], index(), ""), part) for part in FENCED.split(text)]
    content[0] = "".join(parts) + (menus(PAGE.findall(text)) if name == "index" else "")


def menus(links: list[str]) -> str:
    """The menus at the side: pages in the order in which the index names them, then the rest."""
    links += [f"notebooks/{path.stem}.md" for path in sorted(pages.NOTEBOOKS.glob("*.ipynb"))]
    links = list(dict.fromkeys(links))
    notebooks = [page for page in links if page.startswith("notebooks/")]
    reference = [f"{pages.shown(name)} <api/{name}>" for name in index().modules
                 if name.count(".") < 2]
    return "".join(MENU.format(caption, "\n".join(entries)) for caption, entries in (
        ("Guide", [page for page in links if page not in notebooks]), ("Notebooks", notebooks),
        ("Reference", ["All namespaces <api/index>", *reference])))


def link_types(app: Sphinx, tree: nodes.document) -> None:
    """The types of signatures that are ours, by whatever name they go; others are no links."""
    for node in list(tree.findall(addnodes.pending_xref)):
        if node["refdomain"] == "py" and (
                node["reftype"] == "class" or node["reftarget"] == "None"):
            entry = index().kind_of(node["reftarget"], node.get("py:module") or "")
            if entry is None:
                node.replace_self(node.children)
            else:
                node["reftype"], node["reftarget"] = "obj", entry.names[0]
                node["refspecific"] = False


def shorten(app: Sphinx, tree: nodes.document) -> None:
    """`lnp.` and `nn.` before names, as users write them."""
    for node in tree.findall(addnodes.desc_addname):
        module = node.astext().removesuffix(".")
        if module.startswith("lucidfn"):
            short = SHORT.get(module) or module.removeprefix("lucidfn.")
            node.children = [nodes.Text(re.sub(r"^numpy\.", "lnp.", short) + ".")]


def quick_menu(app: Sphinx, page: str, template: str, context: dict[str, Any], tree: Any) -> None:
    """The menu of a page has titles only: made without the entries of 1,500 functions."""
    whole = context.get("toctree")

    def toctree(**options: Any) -> str:
        env, tocs = app.env, app.env.tocs
        env.tocs = titles(env) if options.get("titles_only") else tocs
        try:
            return whole(**options)
        finally:
            env.tocs = tocs

    context["toctree"] = whole and toctree


@functools.cache
def titles(env: Any) -> dict[str, nodes.bullet_list]:
    """The contents of each page, as its title and its toctrees."""
    found = {}
    for name, contents in env.tocs.items():
        menus = [menu.deepcopy() for menu in contents.findall(addnodes.toctree)]
        item = nodes.list_item("", contents[0][0].deepcopy())
        if menus:
            item += nodes.bullet_list("", *menus)
        found[name] = nodes.bullet_list("", item)
    return found


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("builder-inited", lambda app: index() and None)
    app.connect("source-read", read_page)
    app.connect("doctree-read", link_types)
    app.connect("doctree-read", shorten)
    app.connect("html-page-context", quick_menu, priority=400)  # before the theme's
    return {"parallel_read_safe": True, "parallel_write_safe": True}
