"""Response codes: what DE 39 of an answer means, and what may follow.

One table, proof-readable against ISO 8583:1987 and the schemes' lists.  It decides nothing about a payment: ``Approved`` or ``Declined`` is
the processor's to say.

Classes: A approved; S soft, may work later; F fix data or setup first; P step up with the cardholder (3-D Secure, PIN); H hard, do not
try this card again; T technical, outcome unknown or another route; X housekeeping of reversals and advices.
Visa categories: 1 never retry, 2 the issuer cannot approve now, 3 data quality, 4 generic.
"""
from __future__ import annotations

from typing import NamedTuple


class ResponseCode(NamedTuple):
    """One DE 39 value of the 1987 family."""

    meaning: str
    letter: str                     # A S F P H T X
    visa_category: int              # 1..4; every code not listed by the scheme is 4


_TABLE = """
00 A 4 approved
01 S 4 refer to issuer
02 S 4 refer to issuer, special condition
03 F 2 invalid merchant
04 H 1 pick up card
05 S 4 do not honor
06 T 4 error
07 H 1 pick up card, fraud
08 A 4 honor with identification
09 T 4 request in progress
10 A 4 partial approval
11 A 4 approved, VIP
12 H 1 invalid transaction
13 F 4 invalid amount
14 H 3 invalid card number
15 H 1 no such issuer
16 A 4 approved, update track 3
17 X 4 customer cancellation
18 X 4 customer dispute
19 S 2 re-enter transaction
20 T 4 invalid response
21 X 4 no action taken
22 T 4 suspected malfunction
23 F 4 unacceptable transaction fee
24 X 4 file update not supported
25 X 4 original or record not found
26 X 4 duplicate file update record
27 X 4 file update edit error
28 X 4 file temporarily not available
29 X 4 file update not successful
30 F 4 format error
31 H 4 bank not supported by switch
32 X 4 completed partially
33 H 4 expired card, pick up
34 H 4 suspected fraud, pick up
35 H 4 contact acquirer, pick up
36 H 4 restricted card, pick up
37 H 4 call acquirer security, pick up
38 H 4 PIN tries exceeded, pick up
39 H 4 no credit account
40 H 4 requested function not supported
41 H 1 lost card
42 H 4 no universal account
43 H 1 stolen card
44 H 4 no investment account
46 H 1 closed account
51 S 2 insufficient funds
52 H 4 no checking account
53 H 4 no savings account
54 F 3 expired card
55 P 3 wrong PIN
56 H 4 no card record
57 H 1 transaction not permitted to cardholder
58 F 4 transaction not permitted to terminal
59 S 2 suspected fraud
60 S 4 contact acquirer
61 S 2 exceeds amount limit
62 S 2 restricted card
63 H 4 security violation
64 F 4 original amount incorrect
65 S 2 exceeds frequency limit
66 S 4 call acquirer security
67 H 4 hard capture
68 T 4 response received too late
70 P 3 PIN required
71 S 4 PIN not changed
75 H 2 PIN tries exceeded
76 X 4 previous message not found
77 X 4 previous message found but differs
78 S 2 blocked, first use
79 X 4 already reversed
80 T 4 network error
81 T 4 PIN cryptographic error
82 F 3 security code failed
83 S 2 cannot verify PIN
84 X 4 invalid authorization life cycle
85 A 4 no reason to decline
86 T 2 cannot verify PIN
87 A 4 approved, purchase only, no cash
88 T 4 cryptographic failure
89 F 4 unacceptable PIN or terminal
90 T 4 cut-over in progress
91 T 2 issuer inoperative
92 T 4 cannot route
93 H 2 violation of law
94 X 4 duplicate transmission
95 X 4 reconcile error
96 T 2 system malfunction
97 T 4 totals error
98 T 4 message authentication error
1A P 3 additional authentication required
5C S 2 blocked by issuer
6P F 3 verification data failed
9G S 2 blocked by cardholder
B1 F 4 surcharge not permitted
B2 F 4 surcharge not permitted by network
N0 S 2 force stand-in
N3 S 2 cash service not available
N4 S 2 cash limit exceeded
N5 H 4 ineligible for resubmission
N7 F 3 security code mismatch
N8 F 4 exceeds pre-authorized amount
P2 S 4 invalid biller
P5 S 4 PIN change declined
P6 S 4 unsafe PIN
Q1 H 4 offline card authentication failed
R0 H 1 stop this payment
R1 H 1 stop all payments of this merchant
R2 F 4 not eligible without PIN
R3 H 1 stop all merchants
XA S 4 forward to issuer
XD S 4 forward to issuer
Z1 S 4 declined offline
Z3 S 4 unable to go online
Z5 S 4 valid account, amount not applicable
"""

RESPONSE_CODES: dict[str, ResponseCode] = {
    code: ResponseCode(meaning, letter, int(category))
    for code, letter, category, meaning in (line.split(" ", 3) for line in _TABLE.split("\n") if line)
}
"""DE 39 -> meaning, class letter, Visa category."""

UNLISTED = ResponseCode("declined with a code not in the table", "S", 4)
"""What an unlisted code is taken for: generic, may work later."""

#: Merchant advice codes (Mastercard DE 48.84) -> what they ask of the merchant.
ADVICE: dict[str, str] = {
    "01": "new account information: ask the updater or the customer, then retry",
    "02": "try again later, after 72 hours",
    "03": "do not try this card again",
    "04": "token requirements not met: fix the token data",
    "05": "negotiated value not approved: stop",
    "21": "payment cancelled: stop, cancel the agreement",
    "22": "merchant does not qualify for the product code: stop",
    "24": "retry after 1 hour",
    "25": "retry after 24 hours",
    "26": "retry after 2 days",
    "27": "retry after 4 days",
    "28": "retry after 6 days",
    "29": "retry after 8 days",
    "30": "retry after 10 days",
    "40": "non-reloadable prepaid card: not for recurring payments",
    "41": "single-use virtual card: not for recurring payments",
    "42": "sanctions score exceeded: stop",
    "43": "multi-use virtual card: may work for recurring payments",
}


def meaning_of(code: str) -> ResponseCode:
    """The row of ``code``, or ``UNLISTED``."""
    return RESPONSE_CODES.get(code, UNLISTED)
