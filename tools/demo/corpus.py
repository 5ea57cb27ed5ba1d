"""The text and the tokenizer of the demo model.

Reads the public-domain and CC0 English texts of a data folder, brings them to one plain style,
keeps the end of every book back as held-out text, trains the byte-level BPE tokenizer and writes

    BUILD/train.npy            token ids of the training text, uint16
    tokenizer.json             vocabulary and merges (committed beside this file)
    heldout.txt                the held-out text (committed under test/data/demo)

Everything here is a fixed rule: the same input files give the same output bytes.
"""

import gzip
import pathlib
import re

import numpy as np
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TOKENIZER = HERE / "tokenizer.json"
HELDOUT = ROOT / "test" / "data" / "demo" / "heldout.txt"

N_VOCAB = 4096
HELDOUT_CHARS = 8000  # taken from the end of each book, at a paragraph break

# file under DATA/text/en, how its lines are joined, pattern that starts a new document
BOOKS = [
    ("war-and-peace.txt.gz", "wrapped", r"^(CHAPTER|BOOK) "),
    ("pride_and_prejudice.txt.gz", "paragraphs", r"^Chapter \d"),
    ("frankenstein.txt.gz", "paragraphs", r"^(Chapter|Letter) \d"),
    ("sherlock_holmes.txt.gz", "paragraphs", None),
    ("botchan.txt", "dense", r"^CHAPTER "),
    ("tinyshakespeare.txt.gz", "lines", None),
    ("us_inaugural.txt.gz", "paragraphs", None),
    ("us_state_union.txt.gz", "paragraphs", r"^PRESIDENT .* ADDRESS"),
    ("bible_bsb.txt.gz", "lines", r"^### "),
]

SPECIALS = [
    "<|startoftext|>", "<|endoftext|>", "<|return|>", "<|constrain|>", "<|channel|>",
    "<|start|>", "<|end|>", "<|message|>", "<|call|>", "<|endofprompt|>",
]

# The seven alternatives of the o200k vocabulary, in order.
CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
PATTERN = "|".join([
    r"[^\r\n\p{L}\p{N}]?" + UPPER + "*" + LOWER + "+" + CONTRACTION,
    r"[^\r\n\p{L}\p{N}]?" + UPPER + "+" + LOWER + "*" + CONTRACTION,
    r"\p{N}{1,3}",
    r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
    r"\s*[\r\n]+",
    r"\s+(?!\S)",
    r"\s+",
])

PLAIN = str.maketrans({
    "\u201c": '"', "\u201d": '"', "\u2018": "'", "\u2019": "'", "\u2014": "--", "\u2013": "-",
    "\u2026": "...", "\u00a0": " ", "\u2060": "", "\u200b": "", "\ufeff": "", "\u2009": " ", "\u200a": "",
    "\u202f": " ", "\u2011": "-", "\u2012": "-", "\u2015": "--", "\t": " ", "\r": "", "_": "",
})

# quotation marks that were read as Latin-1 somewhere on the way into the speeches
MISREAD = [("\u00a1\u00a6", "'"), ("\u00a1\u00a7", '"'), ("\u00a1\u00a8", '"'), ("\u00a1X", "--")]


def read_book(path):
    """The text of one file without Gutenberg's own words around it."""
    raw = gzip.open(path).read() if path.suffix == ".gz" else path.read_bytes()
    text = raw.decode("utf-8")
    start = re.search(r"^\*\*\* ?START OF.*$", text, re.M)
    if start:
        text = text[start.end():]
    end = re.search(r"^(\*\*\* ?END OF|End of (the )?Project Gutenberg).*$", text, re.M)
    if end:
        text = text[:end.start()]
    for bad, good in MISREAD:
        text = text.replace(bad, good)
    return text.translate(PLAIN)


def join_lines(text, style):
    """Undo line wrapping: one line per paragraph, one empty line between two.

    wrapped: an empty line ends a paragraph; dense: there are none, a short line ends it;
    paragraphs: each line is one already; lines: verse and drama, kept as they are.
    """
    lines = [re.sub(r" {2,}", " ", line.strip()) for line in text.split("\n")]
    if style == "lines":
        text = "\n".join(lines)
    elif style == "dense":
        text = "".join(line + ("\n\n" if len(line) < 58 else " ") for line in lines)
    elif style == "wrapped":
        groups = re.split(r"\n{2,}", "\n".join(lines))
        text = "\n\n".join(" ".join(group.split("\n")) for group in groups)
    else:
        text = "\n\n".join(line for line in lines if line)
    text = re.sub(r" +\n", "\n", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def split_heldout(text, style):
    """(training part, held-out part) cut at the first paragraph break of the last HELDOUT_CHARS."""
    mark = "\n" if style == "lines" else "\n\n"
    cut = text.index(mark, len(text) - HELDOUT_CHARS)
    return text[:cut].strip(), text[cut:].strip()


def split_documents(text, pattern):
    """Cut before each line that matches the pattern."""
    if pattern is None:
        return [text]
    starts = [m.start() for m in re.finditer(pattern, text, re.M)]
    cuts = [0] + [s for s in starts if s > 0] + [len(text)]
    parts = [text[a:b].strip() for a, b in zip(cuts, cuts[1:])]
    return [p for p in parts if len(p) > 200]


def load(data):
    """(list of training documents, held-out text) from the folder DATA/text/en."""
    documents, heldout = [], []
    for name, style, pattern in BOOKS:
        text = join_lines(read_book(pathlib.Path(data) / "text" / "en" / name), style)
        train, held = split_heldout(text, style)
        clean = [d.replace("### ", "") for d in split_documents(train, pattern)]
        documents += clean
        heldout.append(held.replace("### ", ""))
    return documents, "\n\n".join(heldout) + "\n"


def train_tokenizer(documents):
    """Byte-level BPE with the o200k split rule; the special tokens take the last ids."""
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PATTERN), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=N_VOCAB - len(SPECIALS), min_frequency=2, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tok.train_from_iterator(documents, trainer)
    tok.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in SPECIALS])
    if tok.get_vocab_size() != N_VOCAB:
        raise ValueError(f"vocabulary has {tok.get_vocab_size()} entries, wanted {N_VOCAB}")
    return tok


def prepare(data, build):
    """Write tokenizer, held-out text and token ids; returns (training ids, held-out ids)."""
    documents, heldout = load(data)
    HELDOUT.parent.mkdir(parents=True, exist_ok=True)
    HELDOUT.write_text(heldout, encoding="utf-8")
    tok = train_tokenizer(documents)
    tok.save(str(TOKENIZER), pretty=False)
    first, last = tok.token_to_id("<|startoftext|>"), tok.token_to_id("<|endoftext|>")
    ids = []
    for enc in tok.encode_batch(documents, add_special_tokens=False):
        ids += [first] + enc.ids + [last]
    train = np.array(ids, dtype=np.uint16)
    build = pathlib.Path(build)
    build.mkdir(parents=True, exist_ok=True)
    np.save(build / "train.npy", train)
    held = np.array(tok.encode(heldout, add_special_tokens=False).ids, dtype=np.uint16)
    chars = sum(len(d) for d in documents)
    print(f"{len(documents)} documents, {chars} characters, {len(train)} training tokens, "
          f"{len(heldout.encode())} held-out bytes, {len(held)} held-out tokens")
    return train, held
