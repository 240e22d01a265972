"""Text in the encodings that people's programs save: read if it is certain what it says, else told how to convert."""

import gzip
import json
from pathlib import Path

import pytest
import structlog.testing

from job.dataset import prepare
from job.dataset.readers import read_rows
from job.errors import DataInvalid
from job.spec.sections import Dataset

GERMAN = "Wie heißt das größte Stück? – „Schön“, sagte er: 5 € für 3 m²…"
WESTERN = {
    "German": GERMAN,
    "French": "L’été, le cœur naïf et l’œuvre « brûlée » : ça coûte 12 €, s’il vous plaît — n° 3.",
    "Spanish": "¿Cuándo llegó el niño? ¡Mañana, señor, a 25° en Málaga!",
    "Portuguese": "Não há ações, só corações; três pães às dez.",
    "Swedish": "Åsa köper öl på Götgatan, och så är det.",
    "Danish": "Rødgrød med fløde på Ærø, på én gang.",
    "Italian": "Perché è così? La città è più bella di lunedì.",
    "Dutch": "Het café is één keer geopend; coördinatie geïntroduceerd.",
    "English": "It’s a “smart” quote, an em—dash and a ½ cup.",
    "a list of letters": "äöüß ÄÖÜ àéèùç",
}
OTHERS = {
    "Polish": ("cp1250", "Zażółć gęślą jaźń, łódź i świątek."),
    "Polish of few letters": ("cp1250", "Mały kot."),
    "Czech": ("cp1250", "Příliš žluťoučký kůň úpěl ďábelské ódy."),
    "Hungarian": ("cp1250", "Az őrült fűnyíró öt ürgét űzött."),
    "Romanian": ("cp1250", "Mulţumesc, ştiu că e aşa."),
    "Russian": ("cp1251", "Как называется столица?"),
    "Russian of one word": ("cp1251", "Москва"),
    "Greek": ("cp1253", "Ποια είναι η πρωτεύουσα;"),
    "Turkish": ("cp1254", "Başkent neresi? Ağrı dağı."),
    "Hebrew": ("cp1255", "מהי בירת המדינה"),
    "Arabic": ("cp1256", "ما هي العاصمة"),
    "Lithuanian": ("cp1257", "Kaip vadinasi šis miestas, ąžuolas?"),
    "German of a Mac": ("mac_roman", "Wie heißt das größte Stück für fünf?"),
    "French of a Mac": ("mac_roman", "Où est le café près de l’église ?"),
    "Spanish of a Mac": ("mac_roman", "El niño comió en la canción."),
    "German of DOS": ("cp850", "Wie heißt das größte Stück für fünf?"),
    "Russian of Unix": ("koi8-r", "Как называется столица?"),
    "Chinese": ("gb18030", "首都叫什么名字？"),
    "Japanese": ("shift_jis", "首都の名前は何ですか。"),
    "Korean": ("cp949", "수도의 이름은 무엇입니까?"),
}


def csv(text: str, rows: int = 20) -> str:
    return "prompt;completion\r\n" + "".join(f'"{n}: {text}";"{text}"\r\n' for n in range(rows))


def completions(path: Path) -> list[str]:
    return [row["completion"] for _, row in read_rows(path) if isinstance(row, dict)]


@pytest.mark.parametrize("language", WESTERN)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
def test_excels_csv_in_windows_1252_is_read_and_said_once(language: str, packed: bool, tmp_path: Path) -> None:
    content = csv(WESTERN[language]).encode("cp1252")
    path = tmp_path / ("rows.csv.gz" if packed else "rows.csv")
    path.write_bytes(gzip.compress(content) if packed else content)
    with structlog.testing.capture_logs() as records:
        for _ in range(2):
            assert completions(path) == [WESTERN[language]] * 20
    (told,) = [record for record in records if record["event"] == "data.encoding"]
    assert told["log_level"] == "warning"
    assert "is read as Windows-1252" in told["what"]


def test_the_warning_shows_a_word_to_judge_by(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes(csv(GERMAN).encode("cp1252"))
    with structlog.testing.capture_logs() as records:
        completions(tmp_path / "rows.csv")
    assert "'heißt'" in records[0]["what"]


@pytest.mark.parametrize("language", OTHERS)
def test_text_of_another_code_page_is_refused_and_never_misread(language: str, tmp_path: Path) -> None:
    encoding, text = OTHERS[language]
    (tmp_path / "rows.csv").write_bytes(csv(text).encode(encoding))
    with pytest.raises(DataInvalid) as refusal:
        prepare([(Dataset(id="rows.csv"), tmp_path / "rows.csv")], seed=1, system=None, out=tmp_path / "out")
    assert "iconv -f WINDOWS-1250 -t UTF-8" in str(refusal.value)


def test_one_damaged_byte_in_utf_8_makes_no_other_encoding_of_it(tmp_path: Path) -> None:
    rows = [f'{{"text": "Stück {n}"}}'.encode() for n in range(300)]
    rows[200] = rows[200].replace("ü".encode(), b"\xfc")
    (tmp_path / "rows.jsonl").write_bytes(b"\n".join(rows))
    prepared = prepare([(Dataset(id="rows.jsonl"), tmp_path / "rows.jsonl")], seed=1, system=None, out=tmp_path / "out")
    assert prepared.broken == 1
    assert "Stück 1" in prepared.train.read_text()


def test_windows_1252_far_behind_the_beginning_of_a_file_is_seen(tmp_path: Path) -> None:
    rows = [json.dumps({"text": "plain " * 20}) for _ in range(3000)]
    (tmp_path / "rows.jsonl").write_bytes("\n".join([*rows, '{"text": "Stück"}']).encode("cp1252"))
    *_, (line, row) = read_rows(tmp_path / "rows.jsonl")
    assert (line, row) == (3001, {"text": "Stück"})


def test_a_large_file_is_not_read_twice_to_look_for_letters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("job.dataset.encoding._ASCII_MOST", 200_000)
    rows = [json.dumps({"text": "plain " * 20}) for _ in range(3000)]
    (tmp_path / "rows.jsonl").write_bytes("\n".join([*rows, '{"text": "Stück"}']).encode("cp1252"))
    *others, (_, last) = read_rows(tmp_path / "rows.jsonl")
    assert len(others) == 3000 and "not UTF-8" in str(last)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
def test_wide_characters_are_read_in_every_text_format(encoding: str, packed: bool, tmp_path: Path) -> None:
    text = "Grüße 🙂 – 你好"
    files = {
        "rows.csv": csv(text, 1).replace("0: ", ""),
        "rows.jsonl": json.dumps({"prompt": text, "completion": text}, ensure_ascii=False) + "\n",
        "rows.json": json.dumps([{"prompt": text, "completion": text}], ensure_ascii=False, indent=1),
    }
    for name, content in files.items():
        if encoding == "utf-32" and packed:
            continue
        data = content.encode(encoding)
        path = tmp_path / (f"{name}.gz" if packed else name)
        path.write_bytes(gzip.compress(data) if packed else data)
        assert completions(path) == [text], name


def test_utf_16_that_is_cut_off_is_told(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes(csv(GERMAN).encode("utf-16")[:-1])
    with pytest.raises(DataInvalid, match="is cut off or damaged: it is not UTF-16"):
        completions(tmp_path / "rows.csv")


def test_half_a_character_in_utf_16_costs_its_row(tmp_path: Path) -> None:
    content = '{"text": "a"}\n{"text": "\ud83d"}\n'.encode("utf-16", "surrogatepass")
    (tmp_path / "rows.jsonl").write_bytes(content)
    first, second = [row for _, row in read_rows(tmp_path / "rows.jsonl")]
    assert first == {"text": "a"}
    assert "not UTF-8" in str(second)
