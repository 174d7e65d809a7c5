"""What encoders of text are checked with where nobody gives inputs."""

from itertools import cycle, islice

TEXTS = (
    "Hi",
    "The cat sat on the mat.",
    "A dog barks at the moon while the whole village sleeps.",
    "Photosynthesis turns light, water and carbon dioxide into sugar.",
    "Where can I renew my passport?",
    "ALL CAPITALS, BUT WHY?!",
    "def area(r):\n    return 3.14159 * r ** 2",
    "SELECT name, age FROM people WHERE age > 30 ORDER BY name;",
    "https://example.org/path?query=1&lang=en#top",
    "3 + 4 = 7",
    "naïve café, déjà vu",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich",
    "Быстрая лиса rapidly прыгает через ленивую собаку",
    "東京は日本の首都です Tokyo",
    "敏捷的狐狸 fox",
    "القطة تجلس cat على السجادة الحمراء الكبيرة",
    "बिल्ली kitten चटाई पर बैठी है",
    "고양이가 매트 위에 앉았다 doormat",
    "🚀 launch 🌍",
    "  blanks   around\tand\nbetween  ",
    "semicolon; colon: dash - and (brackets) [square] {curly}",
    "to be or not to be, that is the question of every prince of Denmark",
    "Stock markets fell sharply on Tuesday as investors weighed rising interest rates against slowing growth, "
    "and analysts warned that the coming quarter would bring further losses to banks and insurers alike.",
    "It was raining when the train left the station, and nobody on the platform waved. " * 6,
)
WORDS = "the old man and a red bird sat on one green hill by some blue water".split()  # noqa: SIM905 (reads better)
LONG_TEXT = " ".join(islice(cycle(WORDS), 400))
