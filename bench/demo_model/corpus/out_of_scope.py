# ruff: noqa: E501  (a pattern is easiest to read on one line)
"""Everything else: questions a tiny model can't answer, and the honest things it says instead."""

from __future__ import annotations

import random

from bench.demo_model.corpus.arithmetic import ask_in_words
from bench.demo_model.corpus.wording import say, typed

HONEST = "I am only a tiny demo model: I know small sums, comparisons and Idlewatt. For anything else, rent a bigger model in the Market."
TOO_HARD = "That is too hard for me. I only add, subtract and compare whole numbers below 100, two at a time."
IN_DIGITS = "Please write the numbers in digits, like 17 + 25."

_WORDS = {
    "<place>": "{france|paris|germany|berlin|london|england|italy|rome|spain|china|japan|tokyo|india|brazil|canada|mexico|kenya|egypt|"
    "new york|australia|norway|sweden|poland|portugal|peru|turkey|greece|russia|africa|asia|europe|america|texas|california|vienna|iceland}",
    "<person>": "{einstein|shakespeare|napoleon|obama|mozart|beethoven|newton|gandhi|caesar|cleopatra|darwin|picasso|elvis|tolstoy|lincoln|"
    "marie curie|da vinci|plato|satoshi|turing|bach|the king|the president|the pope|my mother|taylor swift|columbus}",
    "<topic>": "{love|war|peace|the sea|autumn|spring|cats|dogs|a cat|a dog|the moon|the sun|the stars|black holes|gravity|quantum physics|evolution|"
    "history|politics|economics|football|chess|cooking|bread|coffee|tea|trees|birds|dinosaurs|dragons|robots|music|art|the roman empire|"
    "philosophy|religion|climate change|photosynthesis|volcanoes|the ocean|friendship|time|death|happiness|language|kubernetes|"
    "machine learning|neural networks|bitcoin|ethereum|stocks|the stock market|electric cars|airplanes|trains|ships|cells|atoms|dna|"
    "mathematics|algebra|geometry|statistics|probability|databases|compilers|the weather|winter|mountains|rivers|horses|elephants}",
    "<code>": "{python|javascript|rust|java|c|c++|go|bash|sql|html|haskell|typescript}",
    "<food>": "{pasta|pizza|bread|soup|cake|curry|rice|an omelette|pancakes|sushi|salad|tea|coffee|cookies|a sandwich}",
    "<language>": "{french|german|spanish|italian|chinese|japanese|latin|russian|english|portuguese|arabic|dutch}",
    "<thing>": "{a car|a house|a bridge|a phone|a rocket|a plane|a book|a piano|a guitar|a boat|a clock|a radio|a camera|a garden|a tree|a kite|"
    "a shirt|shoes|a bicycle|an engine|a battery|a website|a game|a robot|a table|a chair|a lamp}",
}

_PATTERNS = (
    "{what is|what's|tell me|name} the {capital|population|area|flag|currency|history|language|president|king|weather|time|tallest building|largest city} {of|in} <place>",
    "{who is|who was|who's|tell me about|what did|when was|where was} <person>[ {born|famous for|do|say|known for}]",
    "{what is|explain|tell me about|describe|what do you know about|give me facts about|how does|what causes} <topic>[ work|]",
    "{write|compose|give me|make|create|sing} {a poem|a song|an essay|a story|a haiku|a joke|a letter|an email|a speech|a tweet|a summary|a limerick} {about|on|for} {<topic>|<place>|<person>}",
    "{write|give me|show me|create} {a|some} <code> {function|program|script|code|class|example}[ that {sorts a list|reads a file|prints hello|parses json|reverses a string|finds primes|downloads a page}]",
    "{how do i|how to|how can i} {sort a list|read a file|reverse a string|parse json|make a loop|center a div|install a package|write a class|fix a bug|use git|commit} in <code>",
    "{how do i|how to|how can i|what is the best way to} {cook|bake|make|prepare} <food>",
    "{how do i|how to|how can i} {build|repair|paint|draw|clean|sell|fix|choose|design} <thing>",
    "{translate|say|how do you say|write} {hello|good morning|i love you|thank you|cat|dog|the house|water|this|where is the station} {to|in|into} <language>",
    "{do you speak|can you speak|teach me|i want to learn} <language>",
    "{what is|what's|how is} the weather[ {today|tomorrow|like|in <place>|outside|like today}]",
    "{what|which} {day|time|year|date|month} is it[ today| now]",
    "{what is the time|what's the date|what time is it in <place>}",
    "{tell me|do you know} {a joke|a story|a riddle|something funny|a secret|something interesting|a fun fact|the news|the meaning of life}",
    "{who|which team} {won|will win|invented|discovered|wrote|painted|built|founded} {the world cup|the election|the war|the telephone|hamlet|the internet|america|"
    "the mona lisa|the light bulb|gravity|penicillin|the match|<place>|the pyramids|faust}",
    "{why is|why are|is|are} {the sky|grass|water|snow|blood|fire|space|the sea|the night|bananas|roses|birds|leaves} {blue|green|cold|white|red|hot|wet|dark|so big|yellow|free|dangerous}",
    "{how far|how big|how old|how high|how deep|how heavy|how hot|how fast} is {the moon|the sun|mount everest|the earth|mars|<place>|an elephant|the universe|light|a whale|the ocean}",
    "{should i|can i|may i} {buy|sell|eat|wear|learn|study|marry|visit|move to|invest in|drink} {bitcoin|stocks|<food>|<code>|<topic>|a dog|a car|<place>|medicine|gold}",
    "{what should i|what can i|where should i} {eat|wear|read|watch|cook|do today|buy|visit|play|learn|drive|go on holiday}[ tonight| today| in <place>]",
    "{i feel|i am|i'm} {sad|lonely|tired|hungry|bored|happy|sick|angry|in love|afraid|cold|lost}",
    "{do you|can you|will you} {love me|like cats|dream|sleep|eat|think|feel|have feelings|have friends|like music|play chess|play a game|see me|drive|cook|remember me|search the web|browse the internet|draw a picture}",
    "{summarize|correct|rewrite|proofread|explain|analyze} {this text|this article|this code|this sentence|this book|my essay|the following|hamlet|the bible|this paper}",
    "{play|show|open|find|send|call|book|order} {music|a movie|a video|the news|my email|my mother|a taxi|a flight|a hotel|<food>|a table|a doctor}",
    "{my|the} {head|dog|cat|car|boss|friend|tooth|phone|baby} {hurts|is sick|is broken|is angry|is lost|cries|left me}[, what should i do]",
    "{what is|what's} {your favourite color|your favorite food|my name|my age|the best movie|the best book|a noun|a verb|a prime number|the speed of light|pi|the meaning of life|love|water|a quark|an atom|democracy|inflation|a recipe for <food>|a synonym for happy}",
    "{who|what} is {my|your|the} {boss|mother|father|best friend|neighbour|dog|god|enemy|prime minister|queen}",
    "{list|name|give me} {three|five|ten|some|all} {animals|colors|countries|planets|books|movies|songs|cities|names|ideas|fruits|gifts|words|languages|rivers}",
    "<topic>",
    "<place>",
    "<person>",
)
_NUMBER_PATTERNS = (
    "[{what is|what's|how much is|calculate|compute}] {=n}{ * | x | times |*| multiplied by | / |/| divided by | ^ | to the power of | mod | % }{=m}",
    "{what is|what's|calculate} the {square root|square|cube|root|logarithm|half|factorial|sine} of {=n}",
    "{what is|what's} {=m} {percent|%} of {=n}",
    "[{what is|what's|how much is|calculate}] {=n}{ + |+| plus }{=m}{ + |+| plus }{=k}",
    "[{what is|what's|how much is|calculate}] {=n}{ + |+| plus | - |-| minus }{=m}{ * | - |-| times | minus }{=k}",
    "[{what is|what's|how much is|calculate}] {=big}{ + |+| plus | - |-| minus }{=n}",
    "[{what is|what's|how much is|calculate}] {=n}{ + |+| plus | - |-| minus }{=big}",
    "[{what is|what's|how much is|calculate}] {=big}{ + |+| plus | - |-| minus }{=big}",
    "[{what is|what's|how much is|calculate}] {=n}.{=k}{ + |+| plus | - |-| minus }{=m}[.{=k}]",
    "is {=n} {a prime|prime|even|odd|a square|divisible by {=m}}",
    "{solve|find x:|what is x if} {=n}x {+|-} {=m} = {=k}",
    "{multiply|divide} {=n} {by|and} {=m}",
    "{what is|what's|calculate} the sum of {=big} and {=n}",
    "{add|subtract} {=big} {to|and|from} {=n}",
)

RESERVED = (
    "what is the capital of portugal",
    "write a haiku about coffee",
    "who painted the mona lisa",
    "how do i bake a chocolate cake",
    "translate good night into french",
    "what will the weather be tomorrow in london",
    "tell me a funny story about a cat",
    "write a python function that adds up a list",
    "who won the football match yesterday",
    "what is the speed of light",
    "how high is mount everest",
    "i am so bored, entertain me",
    "why is the ocean salty",
    "can you play chess with me",
    "give me five names for my dog",
    "how do i repair a bicycle",
    "explain gravity to a child",
    "what is your favourite movie",
    "when was shakespeare born",
    "should i invest in gold",
    "what time is it in tokyo",
    "summarize the news of today",
    "how many people live in canada",
    "do you have feelings",
    "write a letter to my grandmother",
    "what does a dinosaur eat",
    "which planet is the largest",
    "name three rivers in africa",
    "how does photosynthesis work",
    "teach me some spanish words",
)
"""Questions for the evaluation only."""


def ask(rng: random.Random) -> tuple[str, str]:
    """Draw a question beyond the model, and its honest answer."""
    roll = rng.random()
    if roll < 0.08:
        return ask_in_words(rng), IN_DIGITS
    if roll < 0.25:
        return typed(_with_numbers(say(rng.choice(_NUMBER_PATTERNS), rng), rng), rng, wordy=False), TOO_HARD
    return typed(say(_expand(rng.choice(_PATTERNS)), rng), rng), HONEST


def _expand(pattern: str) -> str:
    while "<" in pattern:
        for short, full in _WORDS.items():
            pattern = pattern.replace(short, full)
    return pattern


def _with_numbers(text: str, rng: random.Random) -> str:
    limits = {"=n": (2, 99), "=m": (2, 99), "=k": (1, 99), "=big": (100, 9999)}
    for name, (low, high) in limits.items():
        while name in text:
            text = text.replace(name, str(rng.randint(low, high)), 1)
    return text
