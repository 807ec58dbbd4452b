"""The Python front door: `search` runs a study and ships its winner."""

from automl_transfer.api.finish import Shipped, finish_search
from automl_transfer.api.search import SearchEvents, SearchResult, search

__all__ = ["SearchEvents", "SearchResult", "Shipped", "finish_search", "search"]
