"""The words and phrases that the house style does without. A list of our own: whoever wants another style, edits it.

`FILLERS` hold one entry a line: padding, stock phrases, intensifiers, and inflated words that have a plain one
beside them ("utilize": use). `OPENERS` count only where an answer begins. `STOP_WORDS` say nothing about a task.
"""

from __future__ import annotations


def _entries(block: str) -> frozenset[tuple[str, ...]]:
    """Each line as its words."""
    return frozenset(tuple(line.split()) for line in block.strip().splitlines())


_PADDING = """
a number of
a plethora of
a testament to
a variety of
a wide range of
a wide variety of
all in all
as a matter of fact
as a result of
as well as
as we all know
as you may know
at the end of the day
at this point in time
do not hesitate to
don't hesitate to
due to the fact that
each and every
feel free to
first and foremost
for all intents and purposes
for the purpose of
has the ability to
have the ability to
i am excited to
i am pleased to
i am thrilled to
i am writing to
i hope this email finds you well
i hope this letter finds you well
i hope this message finds you well
i hope you are doing well
i hope you're doing well
i would like to
i'm excited to
i'm thrilled to
i'm writing to
in addition
in conclusion
in order to
in summary
in terms of
in the event that
in the process of
in today's world
is able to
it is essential to
it is important to
it is worth noting
it should be noted
it's essential to
it's important to
last but not least
look no further
needless to say
not only
on a regular basis
one of the most
please note that
take it to the next level
the fact that
to the next level
we are committed to
we are excited to
we are thrilled to
we're excited to
we're thrilled to
when it comes to
with regard to
with respect to
"""

_INTENSIFIERS = """
absolutely
actually
basically
certainly
completely
definitely
essentially
extremely
greatly
highly
incredibly
literally
perfectly
quite
really
simply
totally
truly
utterly
very
"""

_INFLATED = """
additionally
aforementioned
amazing
breathtaking
captivating
commence
comprehensive
consequently
crucial
cutting edge
delve
diverse
elevate
embark
empower
endeavor
enhance
enhancing
ensure
ensuring
exceptional
facilitate
foster
fostering
furthermore
groundbreaking
henceforth
holistic
immersive
impactful
incredible
innovative
intricate
invaluable
leverage
leveraging
moreover
multitude
myriad
nevertheless
numerous
optimal
paradigm
passionate
pivotal
plethora
profound
remarkable
renowned
robust
seamless
seamlessly
stunning
subsequently
synergy
tapestry
testament
thrilled
transformative
unforgettable
unparalleled
utilize
utilizing
valuable
vibrant
vital
"""

FILLERS = _entries(_PADDING) | _entries(_INTENSIFIERS) | _entries(_INFLATED)
LONGEST_FILLER = max(map(len, FILLERS))

OPENERS = _entries("""
absolutely
as an ai
certainly
great question
here are
here is
here's
i'd be happy to
of course
sure
""")

_STOP_WORDS = """
    about above after again also because been before being below between both could does doing down during each
    else ever every from further given gives have having here hers herself himself into itself just like made make
    many more most much must need only other ours over own please same shall should some such than that their theirs
    them then there these they this those through under until upon used using want were what when where which while
    whom whose will with would write writing written your yours yourself answer following provide provided list
    create describe explain suggest sentence sentences text word words based
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())
