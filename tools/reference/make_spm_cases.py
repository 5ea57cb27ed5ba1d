#!/usr/bin/env python3
"""Trains small tokenizers with the rules of the published ones and writes what PyPI sentencepiece and tokenizers make of texts.

    make_spm_cases.py DATA OUT

DATA is the shared data folder (training text: Frankenstein and a Korean constitution, public domain), OUT is test/data/text. Writes
the tokenizers and cases.jsonl: {"file", "text", "ids", "special"?, "decoded"?}. special: text of control tokens becomes those tokens.
"""
import gzip, io, json, os, random, sys, unicodedata
import sentencepiece as spm
from sentencepiece import sentencepiece_model_pb2 as pb
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

data, out = sys.argv[1:3]
os.makedirs(out, exist_ok=True)
text = gzip.open(data + "/text/en/frankenstein.txt.gz", "rt", encoding="utf-8").read()[5000:65000]
text += open(data + "/text/ko/constitution.txt", encoding="utf-8").read()[:6000]
lines = [l for l in text.split("\n") if l.strip()]
code = ["def f(x):", "    return x + 1", "        if a == 10:", "\tint n = 2024;"]

TEXTS = ["", " ", "  ", "   ", "\n", "\n\n", "\n\n\n\n\n", "\t", "\t\t", " \n ", "Hello", " Hello", "Hello world", "Hello  world   again", "trailing ", "trailing   ",
         "   leading", "the monster", "a b  c   d    e", "line\nline\n\nline\n\n\n", "x=1234567890", "12 34", "3.14", "don't I'LL we've", "<start_of_turn>user\nHi<end_of_turn>\n",
         "<start_of_turn>", "a<start_of_turn>b", " <table> <tr>x</tr></table> ", "<tablex>", "<s>", "</s> <unk> <pad>", "<0x41>", "대한민국", "모든 국민은 ", "中文字", "日本語です", "🙂",
         "🙂🙂", "👩\u200d👧", "é", "e\u0301", "ﬁne ①②", "Ｈｅｌｌｏ　ｗｏｒｌｄ", "ÀÉ", "▁", "▁▁", "a▁b", " ▁ ", "\u00a0x", "\u3000", "\u200b", "\x01", "\x00", "a\x00b", "\x7f", "Ωμέγα",
         "привет мир", "עברית", "ไทย", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", " " * 20, "\n" * 20, "ab" * 25, "the " * 8, "of of of the the and",
         "(a, b); [c] {d}!", "__init__", "C:\\path\\to", "https://example.org/a?b=c&d=%20", "e" * 41, "thethethethe", "<|im_start|>user<|im_end|>", "<think>x</think>",
         "A<think>", "x<mask>y", "word<mask>", " <mask> ", "un<mask>", "\r\n", "a\r\nb\r", "0.5 ½ ² Ⅷ 1２3", "ǅ ʰ ª", "'ſ 'S"] + \
        [lines[7][:120], lines[-3][:40], lines[-9][:20] + "\n" + lines[11][:60], "\n".join(code)]
rnd = random.Random(7)
alphabet = list("abcdefgh  \n\t'0123.,") + ["the", "and", " of", "대", "한", "é", "\u0301", "🙂", "▁", "<start_of_turn>", "<think>", "  ", "中"]
TEXTS += ["".join(rnd.choice(alphabet) for _ in range(rnd.choice([3, 9, 30]))) for _ in range(14)]
cases = []


def case(file, text, ids, decoded, special=False):
    row = {"file": file, "text": text, "ids": list(ids)}
    if special:
        row["special"] = True
    if decoded != text:
        row["decoded"] = decoded
    cases.append(json.dumps(row, ensure_ascii=False))


def train(name, change=None, **options):
    model = io.BytesIO()
    spm.SentencePieceTrainer.train(sentence_iterator=iter(lines + code), model_writer=model, minloglevel=2, num_threads=1, **options)
    proto = pb.ModelProto.FromString(model.getvalue())
    if change:
        change(proto)
    proto.trainer_spec.ClearField("input"), proto.trainer_spec.ClearField("model_prefix")
    open(os.path.join(out, name), "wb").write(proto.SerializeToString(deterministic=True))
    p = spm.SentencePieceProcessor(model_file=os.path.join(out, name))
    for t in TEXTS:
        if "\x00" in t and options.get("normalization_rule_tsv"):
            continue
        ids = p.encode(t)
        # Unknown text is lost in ids; what comes back is compared only where all of it is covered.
        case(name, t, ids, None if p.unk_id() in ids else p.decode(ids))
    return p


GEMMA_OWN = ["<mask>", "<start_of_turn>", "<end_of_turn>", "<table>", "<tr>", "</tr>", "</table>"] + ["\n" * n for n in range(1, 6)] + \
            ["\t" * n for n in range(1, 4)] + ["▁" * n for n in range(2, 8)]
gemma = dict(model_type="bpe", vocab_size=640, byte_fallback=True, add_dummy_prefix=False, remove_extra_whitespaces=False, normalization_rule_name="identity",
             split_digits=True, user_defined_symbols=GEMMA_OWN, pad_id=0, eos_id=1, bos_id=2, unk_id=3, character_coverage=0.98, allow_whitespace_only_pieces=True)
train("gemma_bpe.model", **gemma)


def make_unused(proto):
    n = 0
    for p in proto.pieces:
        if p.type == p.NORMAL and len(p.piece) > 2:
            n += 1
            if n % 3 == 0:
                p.type = p.UNUSED


train("gemma_unused.model", make_unused, **gemma)
train("llama_bpe.model", model_type="bpe", vocab_size=600, byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False,
      split_digits=True, character_coverage=0.98)
rules = os.path.join(out, "rules.tsv")
with open(rules, "w") as f:          # a small part of what nmt_nfkc does
    for a, b in (("ﬁ", "fi"), ("①", "1"), ("②", "2"), ("\u3000", " "), ("\u00a0", " "), ("\t", " "), ("\n", " "), ("\r", " "), ("e\u0301", "é"), ("\u200b", ""), ("\x01", ""), ("Ｈ", "H"),
                 ("ｅ", "e"), ("ｌ", "l"), ("ｏ", "o"), ("ｗ", "w"), ("½", "1⁄2")):
        f.write(" ".join("%x" % ord(c) for c in a) + "\t" + " ".join("%x" % ord(c) for c in b) + "\n")
train("unigram.model", model_type="unigram", vocab_size=500, normalization_rule_tsv=rules, user_defined_symbols=["<mask>", "<table>", "▁▁▁"])
train("unigram_bytes.model", model_type="unigram", vocab_size=640, byte_fallback=True, normalization_rule_name="identity", add_dummy_prefix=True,
      remove_extra_whitespaces=True, treat_whitespace_as_suffix=True)
os.remove(rules)


def write_hf(name, t, special=True):
    t.save(os.path.join(out, name), pretty=False)
    for s in TEXTS:
        for on in ((False, True) if special else (False,)):
            t.encode_special_tokens = not on
            ids = t.encode(s, add_special_tokens=False).ids
            if on and ids == plain:
                continue
            plain = ids
            # Hugging Face's unigram model lets text become a control token, and its ByteLevel decoder takes added tokens for bytes;
            # we do neither.
            if not on and '"Unigram"' in t.to_str() and any(a.content in s for a in t.get_added_tokens_decoder().values()):
                continue
            case(name, s, ids, None if "ÀÉ" in s or t.token_to_id("<unk>") in ids else t.decode(ids, skip_special_tokens=False), on)


def gemma_json():
    """The form in which Gemma's vocabulary is published for Hugging Face: merges, in the order of the scores."""
    proto = pb.ModelProto.FromString(open(os.path.join(out, "gemma_bpe.model"), "rb").read())
    vocab = {p.piece: i for i, p in enumerate(proto.pieces)}
    merges = []
    for p in sorted((p for p in proto.pieces if p.type == p.NORMAL), key=lambda p: -p.score):
        cuts = [(p.piece[:i], p.piece[i:]) for i in range(1, len(p.piece))]
        merges += sorted((c for c in cuts if c[0] in vocab and c[1] in vocab), key=lambda c: (vocab[c[0]], vocab[c[1]]))
    t = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    t.normalizer = normalizers.Replace(" ", "▁")
    t.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    t.post_processor = processors.TemplateProcessing(single=[("<bos>", 0), ("$A", 0)], special_tokens=[("<bos>", 2)]) if "<bos>" in vocab else \
        processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 2)])
    t.add_tokens([AddedToken(p.piece, normalized=False) for p in proto.pieces if p.type == p.USER_DEFINED])
    t.add_special_tokens([AddedToken(p.piece, normalized=False, special=True) for p in proto.pieces if p.type in (p.CONTROL, p.UNKNOWN)])
    write_hf("gemma_bpe.json", t)


gemma_json()
QWEN2 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
ADDED = [AddedToken("<think>", normalized=False), AddedToken("</think>", normalized=False), AddedToken("<mask>", lstrip=True, normalized=False),
         AddedToken("un", single_word=True, normalized=False), AddedToken("ÀÉ", normalized=True)]
SPECIAL = [AddedToken(s, normalized=False, special=True) for s in ("<|im_start|>", "<|im_end|>")]


def byte_level(name, splits, vocab_size=420, normalizer=None, ignore_merges=False):
    t = Tokenizer(models.BPE())
    t.normalizer = normalizer
    t.pre_tokenizer = pre_tokenizers.Sequence(splits + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=vocab_size, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    t.add_tokens(ADDED)
    t.add_special_tokens(SPECIAL)
    t.model.ignore_merges = ignore_merges if hasattr(t.model, "ignore_merges") else False
    write_hf(name, t)


byte_level("bytes_qwen2.json", [pre_tokenizers.Split(Regex(QWEN2), "isolated")], normalizer=normalizers.NFC())
# Patterns that have no hand-written form, and every behaviour of Split.
byte_level("bytes_splits.json", [pre_tokenizers.Split(Regex(r"(?<=[.,])\s"), "merged_with_previous"), pre_tokenizers.Split(Regex(r"\bthe\b"), "isolated"),
                                 pre_tokenizers.Split("of", "merged_with_next"), pre_tokenizers.Split(Regex(r"[a-f]"), "contiguous"),
                                 pre_tokenizers.Digits(individual_digits=False), pre_tokenizers.Punctuation("isolated"),
                                 pre_tokenizers.Split(Regex(r"\s+|\w+"), "isolated", invert=True)])
byte_level("bytes_removed.json", [pre_tokenizers.Split(Regex(r"\s+"), "removed")], normalizer=normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase(), normalizers.Strip()]))


def metaspace(name, scheme, split, unigram):
    t = Tokenizer(models.Unigram()) if unigram else Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=split)
    t.decoder = decoders.Sequence([decoders.Metaspace(prepend_scheme=scheme), decoders.Fuse()]) if unigram else \
        decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    if unigram:
        t.train_from_iterator(lines, trainers.UnigramTrainer(vocab_size=400, show_progress=False, unk_token="<unk>", special_tokens=["<unk>", "<s>"]))
    else:
        t.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=560, show_progress=False, limit_alphabet=100,
                                                         special_tokens=["<unk>", "<s>"] + ["<0x%02X>" % i for i in range(256)]))
        j = json.loads(t.to_str())
        j["added_tokens"] = [a for a in j["added_tokens"] if not a["content"].startswith("<0x")]
        t = Tokenizer.from_str(json.dumps(j))
    write_hf(name, t)


metaspace("metaspace_first.json", "first", False, False)
metaspace("metaspace_always.json", "always", True, True)
with open(os.path.join(out, "cases.jsonl"), "w", encoding="utf-8") as f:
    f.write("\n".join(cases) + "\n")
print(len(cases), "cases;", {n: os.path.getsize(os.path.join(out, n)) for n in sorted(os.listdir(out))})
