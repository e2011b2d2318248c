"""Write a JSON array in pieces, so that memory does not grow with its length."""

from collections.abc import Generator, Iterable


def json_array(chunks: Iterable[Iterable[str]]) -> Generator[str, None, None]:
    """Yield an array as JSON, a piece for each chunk of its items, which are JSON.

    >>> list(json_array([["1", "2"], ["3"]]))
    ['[1,2', ',3', ']']
    """
    separator = "["
    for chunk in chunks:
        yield separator + ",".join(chunk)
        separator = ","
    yield "[]" if separator == "[" else "]"
