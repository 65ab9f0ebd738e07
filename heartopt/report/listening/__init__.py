"""A page to listen to: original and systems side by side, blind tests, spectrograms, one self-contained HTML file."""

from heartopt.report.listening.page import write_page
from heartopt.report.listening.takes import Excerpt, Take

__all__ = ["Excerpt", "Take", "write_page"]
