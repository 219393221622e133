"""The signature explainer: what an APS client probably did when its signature is not ours.

Decides nothing about the request; it repeats the hash with the mistakes that clients really make, one or two at a time, and names those
that give the signature received.  For the sandbox's log and the command line, never for an answer.  What it shows holds no phrase, no
security code and no clear card number, and no hash at all of a request that carries card data: with a known phrase such a hash could be
searched back to the card.
"""
from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from typing import NamedTuple
from urllib.parse import quote, quote_plus

from ringfence.api.aps import cards, operations, signature
from ringfence.api.aps.accounts import Credential
from ringfence.api.aps.fields import CARD_FIELDS, FIELDS, SECRET
from ringfence.api.aps.operations import Operation
from ringfence.core.card import luhn_valid

RIGHT = "the signature is right"
UNEXPLAINED = "none of the usual mistakes gives this signature: compare the phrases, and look for a value that changed after signing"


class Explanation(NamedTuple):
    """What was expected and what probably happened.

    ``canonical`` is the text under the hash with the phrase and card data masked; ``expected`` and ``received`` are hexadecimal, empty
    where the request carries card data; ``diagnosis`` holds one sentence per deviation, most likely first.
    """

    right: bool
    canonical: str
    expected: str
    received: str
    sha_type: str
    diagnosis: tuple[str, ...]

    def lines(self) -> list[str]:
        """For people."""
        hidden = "(not shown: the request carries card data)"
        return [
            f"signed text: {self.canonical}",
            f"hash kind:   {self.sha_type}",
            f"expected:    {self.expected or hidden}",
            f"received:    {self.received or ('(none)' if self.expected else hidden)}",
            *(f"diagnosis:   {sentence}" for sentence in self.diagnosis),
        ]


Pairs = list[tuple[str, str]]
"""Names and values, before they are joined."""


class Text(NamedTuple):
    """One text that a client might have hashed; ``mistake`` is empty for the right one."""

    mistake: str
    octets: Callable[[str], bytes]      # from the phrase to the octets under the hash


def explain(params: Mapping[str, str], credential: Credential) -> Explanation:
    """Why the signature of decoded parameters (see ``wire.decode``) is not the expected one, or that it is."""
    operation = _operation(params)
    unsigned = operation.unsigned if operation is not None else frozenset()
    if ("service_command", "TOKENIZATION") in params.items():
        unsigned = CARD_FIELDS
    received = params.get("signature", "")
    has_card = any(_is_card_data(name, value) for name, value in params.items() if name != "signature")
    signed = {name: value for name, value in params.items() if name not in signature.UNSIGNED_ALWAYS}

    right = bool(received) and signature.verify(dict(params), credential.request_phrase, credential.sha_type, unsigned)
    if not received:
        diagnosis: tuple[str, ...] = ("no signature was sent",)
    elif right:
        diagnosis = (RIGHT, *_notes(received))
    else:
        diagnosis = next(_mistakes(signed, received.lower(), credential, operation), (UNEXPLAINED, *_notes(received)))
    return Explanation(
        right,
        f"<phrase>{signature.join(_shown(signed))}<phrase>",
        "" if has_card else signature.sign(signed, credential.request_phrase, credential.sha_type),
        "" if has_card else received,
        credential.sha_type,
        diagnosis,
    )


def _operation(params: Mapping[str, str]) -> Operation | None:
    for key in operations.KEYS:
        if value := params.get(key):
            return operations.OPERATIONS.get((key, value))
    return None


def _shown(signed: Mapping[str, str]) -> dict[str, str]:
    """The parameters with card data masked."""
    return {
        name: value if not _is_card_data(name, value) else (name == "card_number" and cards.masked(value)) or "***"
        for name, value in signed.items()
    }


_NUMBER = re.compile(r"\d(?:[ -]?\d){11,18}", re.ASCII)
_FEW_DIGITS = re.compile(r"\d{3}", re.ASCII)


def _is_card_data(name: str, value: str) -> bool:
    """Whether a value is card data, or may be: clients put it under names of their own, and into fields for something else."""
    if name in SECRET:
        return True
    if name not in FIELDS:
        return _FEW_DIGITS.search(value) is not None
    return any(luhn_valid(re.sub(r"[ -]", "", found)) for found in _NUMBER.findall(value))


def _notes(received: str) -> Iterator[str]:
    """Remarks about the hash as received."""
    if received != received.lower():
        yield "the signature came in upper case, which is accepted; answers are in lower case"
    if len(received) not in (64, 128):
        yield f"the signature has {len(received)} characters; SHA-256 gives 64, SHA-512 gives 128"
    elif not set(received.lower()) <= set("0123456789abcdef"):
        yield "the signature is not hexadecimal"


def _mistakes(
    signed: Mapping[str, str], received: str, credential: Credential, operation: Operation | None,
) -> Iterator[tuple[str, ...]]:
    """Combinations of mistakes that give the received hash, fewest mistakes first."""
    texts = [*_texts(signed), *_other_sets(signed, operation)]
    phrases = (("", credential.request_phrase), ("signed with the response phrase instead of the request phrase", credential.response_phrase))
    kinds = [("", credential.sha_type)] + [
        (f"hashed with {kind}, but the account says {credential.sha_type}", kind)
        for kind in signature.SHA_TYPES if kind != credential.sha_type
    ]
    trials = sorted(product(phrases, kinds, texts), key=lambda trial: bool(trial[0][0]) + bool(trial[1][0]) + bool(trial[2].mistake))
    for (wrong_phrase, phrase), (wrong_kind, kind), text in trials:
        found = signature.digest_octets(text.octets(phrase), phrase, kind)
        if hmac.compare_digest(found.encode(), received.encode()):
            yield tuple(filter(None, (wrong_phrase, wrong_kind, text.mistake)))


def _texts(signed: Mapping[str, str]) -> Iterator[Text]:
    """The same parameters, written otherwise."""
    pairs = sorted(signed.items())

    def whole(written: str, before: bool = True, after: bool = True) -> Callable[[str], bytes]:
        return lambda phrase: f"{phrase * before}{written}{phrase * after}".encode()

    plain = _joined(pairs)
    yield Text("", whole(plain))
    yield Text("the phrase stands only before the pairs; it belongs before and after", whole(plain, after=False))
    yield Text("the phrase stands only after the pairs; it belongs before and after", whole(plain, before=False))
    yield Text("no phrase around the pairs", whole(plain, before=False, after=False))
    yield Text("the parameters were not sorted", whole(_joined(list(signed.items()))))
    yield Text("the finished pairs were sorted, not the names", whole("".join(sorted(f"{n}={v}" for n, v in pairs))))
    yield Text("sorted by lower-cased names; capitals come before small letters",
               whole(_joined(sorted(pairs, key=lambda pair: pair[0].lower()))))
    yield Text("sorted with _ before digits", whole(_joined(sorted(pairs, key=signature.underscore_first))))
    yield Text("the values were URL-encoded", whole(_joined([(n, quote_plus(v)) for n, v in pairs])))
    yield Text("the values were URL-encoded", whole(_joined([(n, quote(v, safe="")) for n, v in pairs])))
    yield Text("the pairs were joined with &", whole("&".join(f"{n}={v}" for n, v in pairs)))
    yield Text("the text was put into upper case", whole(plain.upper()))
    yield Text("the text was put into lower case", whole(plain.lower()))
    yield Text("spaces around the values were removed", whole(_joined([(n, v.strip()) for n, v in pairs])))
    for encoding in ("iso-8859-1", "windows-1256", "utf-16-le"):
        yield Text(f"encoded as {encoding.upper()} instead of UTF-8",
                   lambda phrase, encoding=encoding: f"{phrase}{plain}{phrase}".encode(encoding, "replace"))


def _other_sets(signed: Mapping[str, str], operation: Operation | None) -> Iterator[Text]:
    """Other parameters than those sent."""
    def without(names: frozenset[str] | set[str]) -> Callable[[str], bytes]:
        text = _joined([(n, v) for n, v in sorted(signed.items()) if n not in names])
        return lambda phrase: f"{phrase}{text}{phrase}".encode()

    if card_fields := CARD_FIELDS & signed.keys():
        yield Text(f"the card fields ({', '.join(sorted(card_fields))}) were left out of the signature", without(card_fields))
    if empty := {name for name, value in signed.items() if not value}:
        yield Text(f"empty values ({', '.join(sorted(empty))}) were left out", without(empty))
    for name in sorted(signed):
        yield Text(f"{_sayable(name)} was sent but not signed", without({name}))
    for name in sorted((operation.accepts if operation else frozenset(operations.COMMON)) - signed.keys() - {"signature"}):
        text = _joined(sorted([*signed.items(), (name, "")]))
        yield Text(f"{name} was signed as an empty value but not sent", lambda phrase, text=text: f"{phrase}{text}{phrase}".encode())


def _sayable(name: str) -> str:
    return name if name.replace("_", "").isalnum() and name.isascii() and len(name) <= 40 else "a parameter of unusual name"


def _joined(pairs: Pairs) -> str:
    return "".join(f"{name}={value}" for name, value in pairs)
