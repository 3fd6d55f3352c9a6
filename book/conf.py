"""Sphinx configuration of the book. `python -m nmm book build` runs it on a staged copy of this folder."""

from nmm.book import chapter, citing
from nmm.book.report import MATHJAX

project = "Scaling Laws of Native Multimodal Models"
author = "The nmm authors"
html_title = "Scaling laws, retrained"

extensions = [
    "myst_nb",
    "sphinx.ext.mathjax",
    "sphinx_copybutton",
    "sphinxcontrib.bibtex",
    "nmm.book.sphinx_ext",
]

# chapters arrive executed: an execution here would hide a failure and double the time
nb_execution_mode = "off"
nb_render_plugin = "chapter"
nb_merge_streams = True
nb_mime_priority_overrides = [("html", "application/vnd.vegalite.v6+json", 0)]
myst_enable_extensions = ["amsmath", "attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

numfig = True
numfig_format = {"figure": "Figure %s", "table": "Table %s", "code-block": "Listing %s"}
math_numfig = True
math_eqref_format = "Eq. {number}"
mathjax_path = "mathjax/tex-chtml-full.js"  # put there from a wheel; the default is a web address
mathjax3_config = MATHJAX

bibtex_bibfiles = ["references.bib"]
bibtex_default_style = "plain"      # by author
bibtex_reference_style = "author_year"

html_theme = "furo"
pygments_dark_style = "github-dark"
html_static_path = ["_static"]
html_css_files = ["book.css"]
html_js_files = ["search.js"]
html_favicon = "_static/favicon.svg"
html_copy_source = False      # the download at the head of a chapter is the executed notebook itself
html_show_sphinx = False
html_show_copyright = False
html_theme_options = {
    "light_logo": "logo-light.svg",
    "dark_logo": "logo-dark.svg",
    "top_of_page_buttons": [],
    "navigation_with_keys": True,
    "light_css_variables": {"color-brand-primary": "#0b5c8f", "color-brand-content": "#0b5c8f"},
    "dark_css_variables": {"color-brand-primary": "#7cc0f2", "color-brand-content": "#7cc0f2"},
}
nmm_software = citing.read(chapter.repository() / "CITATION.cff")  # its repository-code, if any, is where pages link to
copybutton_exclude = ".linenos, .gp, .go"
