r"""Finds the final answer in a gold or in a completion, as text; it parses no mathematics.

Looked for, the strongest first: the last `\boxed{}` (or a row of boxes joined by commas or "and") unless a later
marker follows it; then the last of `####`, `A:` on the last line, "answer is" and "answer:"; then, without a
marker, the text itself if it is one line, or its last line if that holds nothing else than an answer.
The whole of what stands there is the answer: a box that never closes, or a marker followed by prose, is not cut
down to something that happens to parse. Every pass is linear in the length of the text.

>>> find_answer("So 3 * 6 = 18 eggs.\n#### 18")
'18'
>>> find_answer(r"Hence $x = \boxed{\frac{1}{2}}$.")
'\\frac{1}{2}'
"""

from __future__ import annotations

import re

from stillroom.common.marks import TAGS, TEMPLATE, after_thinking
from stillroom.traces.answers.boxes import BOX, Box, box_at, last_boxes, unwrapped
from stillroom.traces.answers.denial import is_denied, is_of_something_else, is_taken_back, is_unsure, says_none
from stillroom.traces.answers.limits import MAX_ANSWER
from stillroom.traces.answers.vocabulary import SHORT_UNITS, UNITS
from stillroom.traces.answers.wording import CHOOSING, MARKERS, WEAK_MARKERS, is_foreign

SHORT = 3
"""Words of a line that may be an answer by itself."""
OUTSIDE = "\u2060"
"""Stands after a percent sign that was outside of the box: it may or may not belong to the answer."""

_PERCENT = re.compile(r"[\s$}]{0,4}(\\?%|percent(?:age)?\b|pct\b)")
_MARKER = re.compile(
    r"(?im)^[ \t]*####(?!#)[ \t]*|(?<=[.!?] )####(?!#)[ \t]*(?=\S{1,40}\s*\Z)|^[ \t>*]*A:[ \t]*"
    r"|(?:\b|_)answer(?:\s\([^()\n]{1,40}\))?(?:\s{1,4}to\s[^\n.:]{1,80}?)?"
    r"[\s*]{0,6}+(?:(?:\bis\b|:|=(?!=))[ \t]{0,4}:?|[-–—]{1,2}[ \t]+|(?=\$|\\[(\[]))"
)
_AT_START = re.compile(_MARKER.pattern.rpartition(r"|(?:\b|_)answer")[0])  # what there is without the word
_NOTHING = re.compile("(?!)")
_MARKER_TOO = re.compile(
    _MARKER.pattern + r"|\bcorrect (?:option|choice|value|result) is\b[ \t]*:?"
    r"|\bI(?:'ll| will| would)? (?:choose|pick|settle on|go with) (?:(?:option|choice) )?(?=\(?[A-J]\b)"
)
_SELDOM = (
    *(f"correct {what}" for what in ("option", "choice", "value", "result")),
    *("i choose", "i pick", "settle on", "go with"),
)
_MARKER_ABROAD = re.compile(rf"{_MARKER_TOO.pattern}|{MARKERS}|{CHOOSING}")
_WEAK_MARKER = re.compile(
    rf"{WEAK_MARKERS}|(?:\A|(?<=[\n.,;*#] )|(?<=[\n*]))(?:final|therefore|result|verdict|output):[ \t*]*",
    re.IGNORECASE,
)
_TAG = re.compile("|".join(rf"{re.escape(o)}(.*?)(?:{re.escape(c)}|\Z)" for o, c in (*TAGS, *TEMPLATE)), re.DOTALL)
_TAG_MARK = re.compile("|".join(re.escape(mark) for pair in (*TAGS, *TEMPLATE) for mark in pair))
_TAGGED = re.compile(r"<[|a-z]")
_NEXT = re.compile(
    r"(?m)^[ \t*#]*(?:Question|Problem|Q|Human|User|Instruction|Exercise)(?: ?\d{1,3})?\s*:"
    r"|^### ?(?:Question|Problem|Instruction)"
)
_NUMBER = re.compile(r"[-+]?[0-9]++(?:[,./][0-9]++)*")
_PLAIN = re.compile(r"[-+]?[$€£]?(?:[0-9\\.(\[{]|[A-J](?:\W|\Z))|\$")
_STRONG = re.compile(r"(?i)####|final")
_STARTS = frozenset("0123456789+-.$\\([")
_BAD_REASON = re.compile(
    r"(?i)\b(?:not|never|wrong|incorrect|false|guess\w*|unsure|mistaken|close to)\b|n't|\([A-J]\)"
)
_WHY = re.compile(r"\b(?:because|since|which)\b")
_JSON_ANSWER = re.compile(
    r'"(?:final[_ ]?)?answer"\s*:\s*("(?:[^"\\\n]|\\.){0,2000}"|-?[0-9][0-9.eE+-]{0,40}|\[[^\[\]{}]{0,500}\])\s*[,}]',
    re.IGNORECASE,
)
_JSON_OTHER = re.compile(
    r'"(?:is_)?(?:correct|right|valid)"\s*:\s*(?P<no>false)|"(?:final|result|solution|\w{1,20}_answer|answer_\w{1,20})"\s*:\s*'
    r'("(?:[^"\\\n]|\\.){0,2000}"|-?[0-9][0-9.eE+-]{0,40})',
    re.IGNORECASE,
)
_WRONG = re.compile(r"(?i)\b(?:wrong|incorrect|not|false)\b")
_SIMPLE = re.compile(r"\s*[-+]?(?:[0-9][0-9.,]*|\\[dt]?frac\{[0-9]+\}\{[0-9]+\})\s*")
_UNIT_AFTER = re.compile(r"[\s$]{0,4}(?:\\(?:text|mathrm)\s*\{\s*)?([A-Za-zµ]{1,12})\s?\}?[.\s$]*\Z")
_OR_BOXES = re.compile(r"\s(?:or|oder|ou|или)\s")
_NOT_SAID = re.compile(r"[\s$*]*~~|[^.!。！\n]{0,80}[?？]")  # struck out, or asked
_ECHO = re.compile(r"^\$?####\s*| ?\(without (?:the )?quotes\)(?: where .{1,80} is the answer.*)?")
"""What is left of the words with which the prompt asked for a form."""
_FENCE = re.compile(r'\A(?:"""|```)\w*\s*')
_ONE_BOLD = re.compile(r"[^*]*\*\*([-+$]?[0-9][^*]*)\*\*[^*]*")
_IN_TEXT = re.compile(r"\\(?:text|mathrm|textbf|mathbf|mbox)\s*\{[^{}\n]*\Z")
_IT_IS = re.compile(
    r"(?i)\A(?:I(?:'d| would)? (?:think|believe|guess|say|choose|pick)(?: that)?\s+)?"
    r"(?:(?:it|this)(?:'s| is| would be| should be| must be)|(?:the )?(?:correct )?(?:option|choice)(?: is)?)[\s:]+"
    r"(?=\(?[A-J]\)?\W*\Z|[-+$\\0-9(])"
)
# A value, and after a comma words about it in which there is no other value, and no condition.
_NUMBERED = (
    "zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\\w+teen|twenty|thirty|forty|fifty|sixty|seventy"
    "|eighty|ninety|hundred|thousand|million|dozen|double|half|twice|triple|more|less"
)
_TOLD_ON = re.compile(
    r"(?i)(\$[^$\n]++\$|[-+]?[$€£]?[0-9][0-9.,]*?%?(?: [a-z]{3,12})?|\([0-9, ]{3,20}\)|\(?[A-J]\)?),\s+"
    r"(?:in total|in all|altogether|so|which|meaning|giving|done|i (?:think|believe)|okay|ok"
    r"|as (?:required|desired|claimed|expected|stated|shown|asked))\b"
    rf"(?!.*\b(?:not|never|if|unless|or|but|than|wrong|incorrect|false|mistaken|maybe|perhaps|close|{_NUMBERED})\b)"
    r"(?-i:(?!.*\b[B-J]\b))[^0-9$\\]*"
)
_ELSE = re.compile(
    r"(?i)\b(?:wrong|incorrect|false|(?:half|twice|double|square|cube|times|reciprocal)(?: of)? the answer)\b"
)
_CONCLUSION = re.compile(r"(?i)\W{0,3}(?:therefore|thus|hence|so|the|we find)\b|with\b[^\n]{1,80}, the\b")
_CLOSED = re.compile(r"(?i)(?<!\$)\$++\s*+(?:is (?:the|our|my) (?:final )?(?:answer|solution|result))?\W*+$")
_OPTION = re.compile(r"\(([A-J])\)")
_LETTER = re.compile(r"\W*(?:\\text\w*\s*\{)?\W*[A-J]\W*")
_LETTER_AFTER = re.compile(
    r"(?i)[\s$.,;:]{0,6}(?:(?:so|thus|hence|therefore|which|this|that|it|the|is|corresponds|matches|answer|option|choice|to)"
    r"[\s,:]{1,3}){0,8}(?-i:\(([A-J])\)|(?<=\s)([A-J]))[\s$.*]*\Z"
)
_PICKED = re.compile(
    r"(?i)(?!.*(?:\bnot\b|n't\b|\bnever\b|\bneither\b))"
    r"(?:i(?:'d| would) (?:say|guess|go with)|i (?:think|believe|choose)|it(?:'s| is| must be))\b[^?]{0,40}"
    r"\([A-J]\)\W*\Z"
)
_SPAN = re.compile(r"\$[^$]+\$")
_STOP = re.compile("[。！？।؟]")
_SENTENCE = re.compile(r"(?<=[\s\w)}\]$%*\"])\.(?=\s+[A-Z(<\[]|\s*$)")


def find_answer(text: str, *, last: bool = False, gold: bool = False) -> str | None:
    """The final answer of a text, without its marks, or None where there is none. It may be over the limits.

    `last`: where nothing marks it, the last formula or number of the text is taken. `gold`: a box without its end
    counts; in a gold, a brace was forgotten, and nothing was cut off.
    """
    if len(text) < 24 and _NUMBER.fullmatch(text):
        return text  # as most golds are
    text = _one_answer(spoken(text))
    tagged = ("<" in text and _TAGGED.search(text)) or "[ANSWER]" in text
    if tagged and (tags := list(_TAG.finditer(text))):
        return _of_tags(text, tags, last=last)
    if '"' in text and (told := _in_json(text)) is not None:
        return told
    boxes = last_boxes(text, lenient=last, unclosed=last or gold)
    if boxes and not gold and is_denied(text, boxes[0].start, boxes[-1].end):
        return None
    markers = _marker_of(text)
    marker = _last_marker(text, boxes[-1].end if boxes else 0, markers)
    said = _after(text, marker[1]) if marker is not None else None
    # What is said after a box counts where it is stronger, or corrects the box.
    stronger = marker is not None and _STRONG.search(text, max(0, marker[0] - 12), marker[1])
    if boxes and not stronger and not (said is not None and _PLAIN.match(said)):
        if not gold and is_taken_back(text[boxes[-1].end :]):
            return None
        parts = [unwrapped(box.text) for box in boxes]
        letter = _LETTER_AFTER.match(text, boxes[-1].end) if len(parts) == 1 else None
        if letter is not None and not _LETTER.fullmatch(parts[0]):
            return f"({letter[1] or letter[2]}) {parts[0]}"
        percent = len(parts) == 1 and "%" not in parts[0] and _PERCENT.match(text, boxes[-1].end)
        unit = _UNIT_AFTER.match(text, boxes[-1].end) if len(parts) == 1 and _SIMPLE.fullmatch(parts[0]) else None
        if unit is not None and (unit[1] in SHORT_UNITS or unit[1].lower() in UNITS):
            return rf"{parts[0]}\text{{ {unit[1]}}}"
        joined = " or " if _OR_BOXES.search(text, boxes[0].end, boxes[-1].start) else ", "
        return joined.join(parts) + (r"\%" + OUTSIDE if percent else "")
    if marker is not None:
        if not gold and (is_taken_back(text[marker[1] :]) or _NOT_SAID.match(text, marker[1])):
            return None
        before = _line_before(text, marker[0], markers)
        if before not in ("", said) and _bared(before) != _bared(said or "") and not _WORDS.search(before):
            return f"{before} | {said}"  # two answers, one below the other: neither
        return _last_formula(said) if last and said is not None and _PROSE.search(said) else said
    if BOX.search(text) or (not gold and _is_refused(text, markers)):
        return None
    return _last_formula(text) if last else _bare(text)


def _bared(text: str) -> str:
    """A text as it is compared with the line before: 16 and $16$ are the same."""
    return re.sub(r"\\displaystyle|[\s$*.]", "", text)


def _is_refused(text: str, markers: re.Pattern[str]) -> bool:
    """Whether something is called the answer, and denied: "the wrong answer is 18"."""
    return any(is_of_something_else(_clause(text, match.start())) for match in markers.finditer(text))


def _clause(text: str, end: int) -> str:
    """The words before a place, back to where their clause begins."""
    return re.split(r"[.!?:;,\n]", text[max(0, end - 120) : end])[-1]


def _of_tags(text: str, tags: list[re.Match[str]], *, last: bool) -> str | None:
    """The answer in tags. Two that differ contradict each other, and are read as the nonsense that they are together;
    so is a box or a marker after the tags that says something else."""
    said = [next(filter(None, tag.groups()), "").strip() for tag in tags]
    start, end = tags[0].start(), tags[-1].end()
    if is_denied(text, start, end) or is_taken_back(text[end:]):
        return None
    if len(set(said)) > 1:
        return " | ".join(said)
    content, rest = _TAG_MARK.sub(" ", said[-1]), text[end:]
    found = find_answer(content, last=last)
    if "\n" in content and not BOX.search(content) and not _marker_of(content).search(content):
        *lines, _ = (line for line in content.split("\n") if line.strip())
        if lines and all(len(line.split()) <= SHORT for line in lines) and "\\" not in content:
            return " | ".join(content.split("\n"))  # 99 and below it 42
        if lines and is_unsure(lines[-1]):
            return None
    if found is not None and (BOX.search(rest) or _last_marker(rest, 0, _marker_of(rest))):
        other = find_answer(rest, last=last)
        if other is not None and other != found:
            return f"{found} | {other}"
    return found


def _in_json(text: str) -> str | None:
    """The answer of a text that ends with a JSON object which names it; what contradicts it is shown next to it."""
    if not text.rstrip(" \n\t`").endswith("}"):
        return None
    found = list(_JSON_ANSWER.finditer(text))
    if not found:
        return None
    told = list(dict.fromkeys(_from_json(match[1]) for match in found))
    begin = max(text.rfind("{", 0, found[0].start()), 0)
    before = text[:begin]
    if _WRONG.search(before[-60:]) or is_denied(text, begin, len(text)):
        return None
    others = [match["no"] or _from_json(match[2]) for match in _JSON_OTHER.finditer(text, begin)]
    if BOX.search(before) or _last_marker(before, 0, _marker_of(before)):
        others.append(find_answer(before) or "?")
    return " | ".join(dict.fromkeys([*told, *others]))


def _from_json(value: str) -> str:
    """What a value of JSON says; LaTeX is often written there without its second backslash."""
    if value[0] == '"':
        return unwrapped(value[1:-1].replace('\\"', '"').replace("\\\\", "\\"))
    return value.strip("[]").replace('"', "")


def _line_before(text: str, start: int, markers: re.Pattern[str]) -> str:
    """What the line before says, where it announces an answer, and nothing else stands in between; else nothing."""
    end = text.rfind("\n", 0, start)
    if end < 0 or text[end:start].strip(" \n\t*_#"):
        return ""
    line = text[:end].rstrip().rpartition("\n")[2].lstrip("*_# ")
    found = markers.match(line)
    return (_after(line, found.end()) or "") if found is not None else ""


def _one_answer(text: str) -> str:
    """The text up to a further question that the model asks itself once it has answered."""
    if _NEXT.search(text) is None:
        return text
    ends = [found.end() for pattern in (BOX, _marker_of(text)) if (found := pattern.search(text)) is not None]
    further = _NEXT.search(text, min(ends)) if ends else None
    return text[: further.start()] if further is not None else text


def _marker_of(text: str) -> re.Pattern[str]:
    """What announces an answer in a text: the longer patterns are slow, and few texts need them."""
    lowered = text.lower()
    if is_foreign(lowered):
        return _MARKER_ABROAD
    if any(map(lowered.__contains__, _SELDOM)):
        return _MARKER_TOO
    if "answer" in lowered:
        return _MARKER
    return _AT_START if "####" in text or "a:" in lowered else _NOTHING


def unmarked(text: str) -> str | None:
    """What a text says whose answer is marked in words, or not at all: what follows its last marker, else all of it.
    None where a box, tags or an object say what the answer is."""
    text = _one_answer(spoken(text)).rstrip()
    if BOX.search(text) or _TAG_MARK.search(text) or text.endswith(("}", "```")):
        return None
    markers = _marker_of(text)
    found = list(markers.finditer(text))
    if any(is_of_something_else(_clause(text, match.start())) for match in found) or is_taken_back(text[-300:]):
        return None
    return text[found[-1].end() :].lstrip(" *_:") if found else text


def marked_answers(text: str, also: re.Pattern[str]) -> list[Box]:
    """Everything that a text marks as its answer, in reading order: every box, and what stands after every marker.

    For answers that must not contradict each other (labels), where `find_answer` takes the last. `also`: further
    markers. `end` is where the box or the marker ends.
    """
    found = [box for match in BOX.finditer(text) if (box := box_at(text, match)) is not None]
    for pattern in (_marker_of(text), also):
        found += [Box(_after(text, m.end()) or "", m.start(), m.end()) for m in pattern.finditer(text)]
    return sorted(found, key=lambda box: box.start)


def spoken(text: str) -> str:
    """The text after the thinking part, to the end of the turn; nothing if the thinking never ends."""
    text = text.replace("’", "'")
    if "\\\\boxed" in text:
        text = text.replace("\\\\boxed", "\\boxed")  # escaped once too often
    return after_thinking(text)


def _last_marker(text: str, start: int, markers: re.Pattern[str]) -> tuple[int, int] | None:
    """Where the last marker after `start` begins and ends. `A:` counts on the last line only, and `####` unless it
    is the heading of more text."""
    body = len(text.rstrip())
    for match in reversed(list(markers.finditer(text, start))):
        mark = match.group().strip()
        last_line = text.find("\n", match.end(), body) < 0
        if mark.endswith("A:") and len(mark) < 6 and not last_line:
            continue
        if mark.startswith("####") and not last_line and text[match.end() : match.end() + 1] not in _STARTS:
            continue
        if is_of_something_else(_clause(text, match.start())):
            continue  # "it is wrong that the answer is 17"
        return match.start(), match.end()
    line = text.rfind("\n", 0, body) + 1
    weak = [
        match
        for match in _WEAK_MARKER.finditer(text, max(line, start), body)  # in the last line only
        if not is_of_something_else(_clause(text, match.start()))
    ]
    return (weak[-1].start(), weak[-1].end()) if weak else None


def _after(text: str, start: int) -> str | None:
    """The answer that a marker announces: the rest of its line, or the next line that holds something."""
    rest = text[start : start + MAX_ANSWER * 4].lstrip(" \t*:_").lstrip()
    if rest[:1] == "}" and _IN_TEXT.search(text, max(0, start - 40), start):
        rest = rest[1:].lstrip()  # \text{ANSWER: } 42
    elif rest.count("}") > rest.count("{") and _IN_TEXT.search(text, max(0, start - 40), start):
        rest = rest.replace("}", " ", 1)  # \text{Answer: 500}
    rest = _FENCE.sub("", rest)
    below = rest.split("\n")
    if (
        text[start : start + 1] in ("", "\n")
        and len(below) > 1
        and all(map(_NUMBER.fullmatch, map(str.strip, below[:2])))
    ):
        return " | ".join(below[:2])  # two values, one below the other
    display = re.match(r"\$\$(.+?)\$\$|\\\[(.+?)\\\]", rest, re.DOTALL)
    if display and not rest[display.end() :].strip(" .*_\n"):
        return display.group(1) or display.group(2)
    line = _SENTENCE.split(_ECHO.sub("", rest.split("\n", 1)[0]), maxsplit=1)[0]
    line = _STOP.split(line, maxsplit=1)[0]
    line = bold[1] if (bold := _ONE_BOLD.fullmatch(line)) is not None else _IT_IS.sub("", line)
    why = _WHY.search(line)
    if why and _BAD_REASON.search(line, why.end()):
        why = None
    line = _trimmed(line[: why.start()].rstrip(" ,") if why else line)
    if (told := _TOLD_ON.fullmatch(line)) is not None:
        line = told[1]
    return _concluded(line) or line or None


def _concluded(sentence: str) -> str | None:
    """What a sentence such as "Thus $x=5$ is the solution" or "The largest n is 34" says, if it says one thing."""
    if not _CONCLUSION.match(sentence) or _ELSE.search(sentence):
        return None
    spans = _SPAN.findall(sentence)
    parts = re.split(r"\bis\b", sentence)
    doubted = is_of_something_else(parts[0]) or re.search(r"\b(?:if|when|not|or|at)\b", sentence)
    if len(parts) == 2 and not doubted:
        said = parts[1].strip(" :,*")
        if re.match(r"[-+]?[$€£]?[0-9\\$.(\[{]|[A-J]\W*\Z", said):
            return said
    return str(spans[0]) if len(spans) == 1 and _CLOSED.search(sentence) else None


def _trimmed(line: str) -> str:
    """Without emphasis, quotes and the full stop around an answer."""
    if line.rstrip().endswith("^*"):  # a star of the answer's
        return line.strip()
    line = line.strip().strip('*_`"').removeprefix('\\"').removesuffix("\\").strip()
    return line.rstrip(".").strip('*_`" ') if not line.endswith("..") else line


def _bare(text: str) -> str | None:
    """A text without any marker: itself if it is one line, else its last line if that is nothing but an answer."""
    text = text.strip()
    if says_none(text):
        return None
    if len(text) > MAX_ANSWER * 4 and "\n" not in text:
        return text
    lines = [line for line in text.split("\n") if line.strip()]
    *_, last = _SENTENCE.split(lines[-1].strip().rstrip(".")) if lines else [""]
    said = _concluded(_trimmed(last)) if lines and lines[-1].rstrip()[-1:] in ".*$" else None
    if said is not None and len(lines[-1]) <= MAX_ANSWER:
        return re.sub(r",? (?:all together|altogether|in total|in all)$", "", said)
    if len(lines) == 1:
        letters = _OPTION.findall(text)
        chosen = len(letters) == 1 and _PICKED.match(text)
        return letters[0] if chosen else _concluded(_trimmed(text)) or _trimmed(text) or None
    if len(lines) > 1 and (is_unsure(lines[-2]) or re.fullmatch(r"[0-9]{1,2}[.)]", lines[-1].strip())):
        return None  # of a list, the item that was to come
    if lines and re.fullmatch(r"[-+$€£]{0,2}[0-9][0-9.,/ ]*%?\.?|\$[^$]+\$\.?|\\\(.+\\\)\.?", lines[-1].strip()):
        return _trimmed(lines[-1])
    if (
        lines
        and _LAST_LETTERS.fullmatch(lines[-1].strip())
        and list(found := re.findall("[A-J]", lines[-1])) == sorted(set(found))
    ):
        return _trimmed(lines[-1])
    block = r"(?s)\$\$?[^$]+\$\$?|\\\[.+\\\]|\\begin\{.+\\end\{\w+\}"  # a matrix, say
    return text if len(text) <= MAX_ANSWER and re.fullmatch(block, text) else None


_LAST_LETTERS = re.compile(r"[*(]{0,3}[A-J]{1,4}[*).]{0,3}")
_WORDS = re.compile(r"(?<![\\A-Za-z{])(?!and\b|or\b|or[A-Z]\b)[A-Za-z]{2,}")
_PROSE = re.compile(r"[A-Za-z]{2}\s++(?:\S++\s++)?[A-Za-z]{2}")  # two words, or two with something between
_FORMULA = re.compile(
    r"\$\$(?P<block>[^$]+)\$\$|\$(?!\s*\n)(?P<inline>[^$\n]+)\$|\\\[(?P<display>(?:(?!\\[\[\]]).)++)\\\]"
    r"|\\\((?!\s*\n)(?P<round>(?:(?!\\[()]).)++)\\\)"
    r"|(?P<number>[-+]?[$€£]?(?<![A-Za-z0-9.,/])(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]++)(?:[.,][0-9]+)?(?:\s*/\s*[0-9]+)?(?:\s*(?:\\?%|percent(?:age)?\b|pct\b))?(?![A-Za-z0-9]*[A-Z0-9]))",
    re.DOTALL,
)


def _last_formula(text: str) -> str | None:
    """The last formula between delimiters, or number, of a text; of one line that is all an answer, the line."""
    whole = _bare(text)
    words = _WORDS.findall(whole) if whole is not None else []
    if whole is not None and (not words or (len(words) == 1 and whole.lstrip("$")[:1].isdigit())):
        return whole
    found = None
    for match in _FORMULA.finditer(text[-MAX_ANSWER * 4 :]):
        found = match
    if found is None:
        return whole
    return next(group for group in found.groups() if group is not None)
