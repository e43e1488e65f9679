"""Words that carry a full stop without ending a sentence, in the languages voices speak.

Lower case, without the last full stop. Used by `sentences`.
"""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


NEVER_END = _words("""
    dr mr mrs ms mx prof st ste gen sen rep gov pres lt col sgt capt cmdr adm maj hon rev fr br
    mt ft messrs e.g eg i.e ie viz vs cf approx dept
    hr bzw z.b u.a d.h o.ä s.o s.u vgl ggf evtl ca inkl exkl zzgl dipl ing mag str sog i.d.r
    mm mme mmes mlle mgr sr sra srta dra ud uds d.ª dott sig sigg prov mej dhr mevr
    bijv d.w.z p.ej p.ex
""")
"""Titles and the like, English, German, then Romance languages and Dutch: something follows."""

BEFORE_NUMBER = _words("""
    no nos nr nrn num núm n.º art arts fig figs abb eq gl vol bd ch chap kap cap sec abs par p pp
    s pág págs ver v op tel ext apt jh ps
""")
"""Abbreviations only when a number follows: "No. 5"; "No." alone is a sentence."""

MAY_END = _words("""
    etc inc ltd co corp llc jr bros a.m p.m b.c a.d b.c.e c.e u.s u.k u.s.a u.n e.u d.c
    ph.d m.d b.a m.a m.sc b.sc al est esq usw usf etw ff jan feb mar apr jun jul aug sep
    sept oct nov dec mon tue wed thu fri ecc p.s z.t v.chr n.chr
""")
"""They end a sentence only when the next word is one that begins sentences."""

SENTENCE_STARTERS = _words("""
    The This That These Those It He She We They You I Its His Her Our Their My Your There Here
    In On At By For From With Without After Before When While If Unless Because Since Although
    Though However But And So Or Nor Yet Then Thus Therefore Meanwhile Also Another Some Many Most
    Each Every All Both No Not What Who Why Where Which How Do Does Did Is Are Was Were Can Could
    Will Would Should May Might Let Please Once Today Now Yes As An
    Der Die Das Ein Eine Er Sie Es Wir Ihr Ich Du Dies Diese Dieser Dieses Dann Aber Und Oder Im
    Am Wenn Als Weil Da Hier Doch Auch Man Nach Vor Mit Bei Heute Morgen
    Le La Les Un Une Il Elle Ils Elles On Nous Vous Je Tu Ce Cette Ces Mais Et Ou Donc Puis Dans
    El Los Las Una Ella Ellos Ellas Nosotros Yo Pero Entonces En Con Este Esta Eso
""")
"""Words that, capitalised after an abbreviation, show that a new sentence has begun."""

AFTER_ORDINAL = _words("""
    januar jänner februar märz april mai juni juli august september oktober november dezember
    jahrhundert jahrhunderts klasse stock platz mal weltkrieg weltkriegs geburtstag semester
    bundesliga januari februari mars maj augusti
""")
"""German (and Nordic) ordinals are written "3." and these nouns follow them."""
