"""Languages that pictures may be written in: their names, their letters, Tesseract's names."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from difflib import get_close_matches

from mmrag_plugin.errors import UsageError

# Code (ISO 639-1 where there is one), Tesseract's name, English name, and the letters by which it
# is known whether a model can write the language.
_TABLE = """
af afr Afrikaans êëïôû
ar ara Arabic ابتثجحخدذرزسشصضطظعغفقكلمنهوي
az aze Azerbaijani əğıöşüç
be bel Belarusian абвгдеёжзійклмнопрстуўфхцчшыьэюя
bg bul Bulgarian абвгдежзийклмнопрстуфхцчшщъьюя
bn ben Bengali অআইঈউঊএকখগঘচছজটডতদনপফবভমযরলশসহ
bs bos Bosnian čćđšž
ca cat Catalan àçèéíïòóúü
cs ces Czech áčďéěíňóřšťúůýž
cy cym Welsh âêîôûŵŷ
da dan Danish æøå
de deu German äöüß
el ell Greek αάβγδεέζηήθιίκλμνξοόπρσςτυύφχψωώ
en eng English abcdefghijklmnopqrstuvwxyz
eo epo Esperanto ĉĝĥĵŝŭ
es spa Spanish áéíñóúü
et est Estonian äõöüšž
eu eus Basque ñ
fa fas Persian ابپتثجچحخدذرزژسشصضطظعغفقکگلمنوهی
fi fin Finnish äöå
fr fra French àâæçèéêëîïôœùûüÿ
ga gle Irish áéíóú
gl glg Galician áéíñóúü
gu guj Gujarati અઆઇઈઉએકખગઘચછજટડતદનપફબભમયરલવશસહ
he heb Hebrew אבגדהוזחטיכלמנסעפצקרשתםןךףץ
hi hin Hindi अआइईउऊएओकखगघचछजटडतदनपफबभमयरलवशसह
hr hrv Croatian čćđšž
hu hun Hungarian áéíóöőúüű
hy hye Armenian աբգդեզէըթժիլխծկհձղճմյնշոչպջռսվտրցւփքօֆ
id ind Indonesian abcdefghijklmnopqrstuvwxyz
is isl Icelandic áðéíóúýþæö
it ita Italian àèéìòù
ja jpn Japanese あいうえおかきくけこアイウエオカキクケコ日本東京
ka kat Georgian აბგდევზთიკლმნოპჟრსტუფქღყშჩცძწჭხჯჰ
kk kaz Kazakh абвгғдежзийкқлмнңоөпрстуұүфхһцчшщъыіьэюя
kn kan Kannada ಅಆಇಈಉಎಕಖಗಘಚಜಟಡತದನಪಫಬಭಮಯರಲವಶಸಹ
ko kor Korean 가나다라마바사아자차카타파하한국
la lat Latin abcdefghijklmnopqrstuvwxyz
lb ltz Luxembourgish äéë
lt lit Lithuanian ąčęėįšųūž
lv lav Latvian āčēģīķļņšūž
mk mkd Macedonian абвгдѓежзѕијклљмнњопрстќуфхцчџш
ml mal Malayalam അആഇഈഉഎകഖഗഘചജടഡതദനപഫബഭമയരലവശസഹ
mr mar Marathi अआइईउऊएओकखगघचछजटडतदनपफबभमयरलवशसह
ms msa Malay abcdefghijklmnopqrstuvwxyz
mt mlt Maltese ċġħż
ne nep Nepali अआइईउऊएओकखगघचछजटडतदनपफबभमयरलवशसह
nl nld Dutch éëïóö
no nor Norwegian æøå
oc oci Occitan àáçèéíòóú
pa pan Punjabi ਅਆਇਈਉਏਕਖਗਘਚਛਜਟਡਤਦਨਪਫਬਭਮਯਰਲਵਸਹ
pl pol Polish ąćęłńóśźż
pt por Portuguese áâãàçéêíóôõú
ro ron Romanian ăâîșț
ru rus Russian абвгдеёжзийклмнопрстуфхцчшщъыьэюя
sk slk Slovak áäčďéíĺľňóôŕšťúýž
sl slv Slovenian čšž
sq sqi Albanian çë
sr srp Serbian абвгдђежзијклљмнњопрстћуфхцчџш
sv swe Swedish åäö
sw swa Swahili abcdefghijklmnopqrstuvwxyz
ta tam Tamil அஆஇஈஉஎஏஐஒகசடதநபமயரலவழளறன
te tel Telugu అఆఇఈఉఎకఖగఘచజటడతదనపఫబభమయరలవశసహ
th tha Thai กขคงจฉชซญดตถทธนบปผพฟภมยรลวศสหอ
tl fil Filipino ñ
tr tur Turkish çğıöşü
uk ukr Ukrainian абвгґдеєжзиіїйклмнопрстуфхцчшщьюя
ur urd Urdu ابپتٹثجچحخدڈذرڑزژسشصضطظعغفقکگلمنوہیے
uz uzb Uzbek abcdefghijklmnopqrstuvwxyz
vi vie Vietnamese ăâđêôơưạảấầẩẫậắằẳẵặẹẻẽếềểễệỉịọỏốồổỗộớờởỡợụủứừửữựỳỵỷỹ
yi yid Yiddish אבגדהוזחטיכלמנסעפצקרשת
zh chi_sim Chinese 的一是不了人我在有他这中大来上国
zh-hant chi_tra Traditional·Chinese 這個來們時說國會對學長東車門
"""
# written from the right: their models put letters in the order in which they stand
FROM_THE_RIGHT = frozenset({"ar", "fa", "he", "ur", "yi"})
_ALSO = {"zh-tw": "zh-hant", "zh-hk": "zh-hant", "zh-mo": "zh-hant", "nb": "no", "nn": "no"}
_ALSO |= {"iw": "he", "in": "id", "fil": "tl", "ger": "de", "fre": "fr", "cze": "cs", "gre": "el"}
_TAG = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*")


@dataclass(frozen=True)
class Language:
    """A language by its code, with Tesseract's name for it and letters that it can't do without."""

    code: str
    tesseract: str
    name: str
    letters: frozenset[str]

    def is_written_with(self, known: Collection[str]) -> bool:
        """Whether all its letters are among those that a model knows."""
        return self.letters <= set(known)


def _language(row: str) -> Language:
    code, tesseract, name, letters = row.split(" ")
    return Language(code, tesseract, name.replace("·", " "), frozenset(letters))


LANGUAGES = {language.code: language for language in map(_language, _TABLE.strip().splitlines())}


def languages_named(text: str) -> tuple[Language, ...]:
    """The languages of a list as ``en, de, zh-Hant``: BCP 47, ISO 639-3 or English names.

    Raises UsageError for one that isn't known.
    """
    found: dict[str, Language] = {}
    for name in filter(None, (part.strip() for part in text.split(","))):
        language = _named(name)
        if language is None:
            names = [*LANGUAGES, *(known.name.lower() for known in LANGUAGES.values())]
            near = get_close_matches(name.lower(), names, 1)
            raise UsageError(
                f"{name[:40]!r} is no language that text in pictures can be read in.",
                f"Write {near[0]}."
                if near
                else f"Write codes as en,de,ru: {', '.join(LANGUAGES)}.",
            )
        found[language.code] = language
    return tuple(found.values())


def _named(name: str) -> Language | None:
    tag = name.lower().replace("_", "-")
    for language in LANGUAGES.values():
        if tag in (language.name.lower(), language.tesseract.replace("_", "-")):
            return language
    if not _TAG.fullmatch(name):
        return None
    parts = tag.split("-")
    for known in ("-".join(parts[:2]), parts[0]):  # a region says little about letters
        code = _ALSO.get(known, known)
        if code in LANGUAGES:
            return LANGUAGES[code]
    return None
