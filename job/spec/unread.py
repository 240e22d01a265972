"""Files whose rows are not read, by their ending: how each is converted to what is read."""

_CSV = "save it as CSV UTF-8"
_PANDAS = "convert it with pandas: `pandas.{}('FILE').to_json('rows.jsonl', orient='records', lines=True)`"
_ROWS = "write its rows as JSON Lines, one object a line"
_TABLE = "convert a table with `sqlite3 -header -csv FILE 'SELECT * FROM name' > rows.csv`"
_TEXT = "write its text into a .txt file"
_UNPACK = "unpack it with `{} FILE`; of compressed files only .gz is read"

UNREAD = {
    **dict.fromkeys(("xlsx", "xls", "xlsm", "xlsb", "ods", "numbers"), _CSV),
    **dict.fromkeys(("tar", "tgz", "tar.gz"), _UNPACK.format("tar -xf")),
    "zip": _UNPACK.format("unzip"),
    "7z": _UNPACK.format("7z x"),
    "rar": _UNPACK.format("unrar x"),
    "bz2": _UNPACK.format("bunzip2"),
    "xz": _UNPACK.format("unxz"),
    "zst": _UNPACK.format("zstd -d"),
    "lz4": _UNPACK.format("lz4 -d"),
    "orc": _PANDAS.format("read_orc"),
    "xml": _PANDAS.format("read_xml"),
    "h5": _PANDAS.format("read_hdf"),
    **dict.fromkeys(("pkl", "pickle"), f"it can run code; if you trust it, {_PANDAS.format('read_pickle')}"),
    "avro": "convert it with `avro-tools tojson FILE > rows.jsonl`",
    **dict.fromkeys(("db", "sqlite", "sqlite3"), _TABLE),
    **dict.fromkeys(("html", "pdf", "docx", "odt", "rtf", "epub", "log"), _TEXT),
    **dict.fromkeys(("npy", "npz", "yaml", "yml"), _ROWS),
}
"""None of these is the end of a repository's name."""


def how_to_convert(ending: str, name: str) -> str:
    """What to do with a file of this name."""
    return UNREAD[ending].replace("FILE", name)
