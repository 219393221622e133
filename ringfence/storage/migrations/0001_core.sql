-- The tables of the payment core.
--
-- Every key begins with merchant_id, so that the same schema can be spread over many servers by merchant; the few tables
-- that belong to the installation itself (workers, batches, migrations, keys) say so.  The hot tables have no foreign keys
-- and no triggers: the proof checks what those would.  Amounts are minor units of the row's currency (ISO 4217).

CREATE TABLE merchants (
    merchant_id   integer     PRIMARY KEY,
    identifier    text        NOT NULL UNIQUE,        -- the name on the wire
    name          text        NOT NULL,
    settings      jsonb       NOT NULL DEFAULT '{}',
    active        boolean     NOT NULL DEFAULT true,
    created_at    timestamptz NOT NULL
);

CREATE TABLE credentials (
    merchant_id   integer     NOT NULL,
    door          text        NOT NULL,               -- aps, ppro, jwo
    public_name   text        NOT NULL,               -- APS: the access code
    sealed        bytea       NOT NULL,               -- phrases, sealed like card numbers
    algorithm     text        NOT NULL,               -- APS: the SHA type
    active        boolean     NOT NULL DEFAULT true,
    created_at    timestamptz NOT NULL,
    PRIMARY KEY (merchant_id, door, public_name)
);

-- One row: grows with every change of a merchant or credential, so that caches know.
CREATE TABLE directory_version (
    only_row      boolean     PRIMARY KEY DEFAULT true CHECK (only_row),
    version       bigint      NOT NULL
);
INSERT INTO directory_version (version) VALUES (1);

-- Worker numbers inside ids, leased: a number is free again once its lease lapsed or was given back.
CREATE TABLE workers (
    number        integer     PRIMARY KEY,
    owner         text        NOT NULL,
    leased_until  timestamptz NOT NULL
);

-- What was asked of payments; append only.  The first operation of a payment has the payment's id.
CREATE TABLE operations (
    merchant_id     integer     NOT NULL,
    payment_id      bigint      NOT NULL,
    operation_id    bigint      NOT NULL,
    kind            text        NOT NULL,
    minor           bigint      NOT NULL,
    currency        text        NOT NULL,
    door            text        NOT NULL,
    reference       text,                             -- the door's own name for it
    key             text,                             -- names the intention; claimed here
    content         bytea       NOT NULL,             -- HMAC of what was asked, without security code
    details         bytea,                            -- what the door echoes and pages show (JSON); erasable, content stays
    actor           text        NOT NULL,             -- credential, person or job
    source          text        NOT NULL,
    processor       text        NOT NULL,
    card_id         bigint,
    token_name      text,
    token_version   integer,                          -- as it was read; the claim insists that it still is
    initiation      text        NOT NULL,
    channel         text        NOT NULL,
    accepts_partial boolean     NOT NULL,
    reason          text        NOT NULL,
    hold_seconds    integer     NOT NULL,
    allotment       bigint[],                         -- refund: capture id, minor, capture id, minor, …
    asked_at        timestamptz NOT NULL,             -- business time
    ask_deadline    timestamptz NOT NULL,             -- wall time: until then only the owner may write the outcome
    PRIMARY KEY (merchant_id, payment_id, operation_id)
);
CREATE UNIQUE INDEX operations_key ON operations (merchant_id, key) WHERE key IS NOT NULL;
CREATE INDEX operations_deadline ON operations (ask_deadline);

-- What became of them; append only.  One row per attempt: whoever writes it first owns that attempt's end.
CREATE TABLE outcomes (
    merchant_id          integer     NOT NULL,
    payment_id           bigint      NOT NULL,
    operation_id         bigint      NOT NULL,
    attempt              smallint    NOT NULL,
    result               text        NOT NULL,        -- approved, declined, unknown, reversed, challenge, not_asked
    minor                bigint      NOT NULL,        -- approved amount, else 0
    response_code        text        NOT NULL,        -- DE 39, or why it is unknown
    advice               text        NOT NULL,
    approval_code        text        NOT NULL,
    scheme_reference     text        NOT NULL,
    processor_reference  text        NOT NULL,
    security_code_result text        NOT NULL,
    eci                  text        NOT NULL,
    answered_at          timestamptz NOT NULL,        -- business time
    batch_id             bigint      NOT NULL,
    PRIMARY KEY (merchant_id, payment_id, operation_id, attempt)
);
CREATE INDEX outcomes_batch ON outcomes USING brin (batch_id) WITH (autosummarize = on);

-- Where payments stand: the sums of their transfers, and what open operations reserve.
CREATE TABLE payments (
    merchant_id            integer     NOT NULL,
    payment_id             bigint      NOT NULL,
    currency               text        NOT NULL,
    status                 text        NOT NULL,
    purchase               boolean     NOT NULL,
    authorized             bigint      NOT NULL,
    captured               bigint      NOT NULL,
    voided                 bigint      NOT NULL,
    expired                bigint      NOT NULL,
    unsecured              bigint      NOT NULL,
    refunded               bigint      NOT NULL,
    disputed               bigint      NOT NULL,
    charged_back           bigint      NOT NULL,
    pending_authorization  bigint      NOT NULL,
    pending_increment      bigint      NOT NULL,
    pending_decrement      bigint      NOT NULL,
    pending_capture        bigint      NOT NULL,
    pending_void           bigint      NOT NULL,
    pending_refund         bigint      NOT NULL,
    unknown                integer     NOT NULL,
    expires_at             timestamptz,
    captures               bigint[]    NOT NULL,      -- id, minor, refunded, pending, disputed, charged back; and the next
    sequence               integer     NOT NULL,      -- events so far
    changed_at             timestamptz NOT NULL,      -- business time
    last_content           bytea,                     -- of the latest capture or refund without a key ...
    last_asked_at          timestamptz,               -- ... and when (business time): identical ones within a minute are told
    PRIMARY KEY (merchant_id, payment_id)
) WITH (fillfactor = 85);
CREATE INDEX payments_expiring ON payments (merchant_id, expires_at)
    WHERE status IN ('authorized', 'captured') AND authorized - captured - voided - expired > 0;

-- What the first outcome of a payment writes, as one row for the statement that stores it: outcome, payment, up to two
-- transfers and the event.
CREATE TYPE first_outcome AS (
    merchant_id           integer,
    payment_id            bigint,
    result                text,
    minor                 bigint,
    response_code         text,
    advice                text,
    approval_code         text,
    scheme_reference      text,
    processor_reference   text,
    security_code_result  text,
    eci                   text,
    currency              text,
    status                text,
    purchase              boolean,
    authorized            bigint,
    captured              bigint,
    voided                bigint,
    pending_authorization bigint,
    unknown               integer,
    expires_at            timestamptz,
    kind_0                smallint,
    minor_0               bigint,
    kind_1                smallint,
    minor_1               bigint,
    value_date            date,
    event                 text
);

CREATE TABLE transfer_kinds (
    kind          smallint    PRIMARY KEY,
    name          text        NOT NULL UNIQUE,
    debit         text        NOT NULL,
    credit        text        NOT NULL
);

-- The ledger: append only.  The kind fixes debit and credit, see transfer_kinds; the view journal spells them out.
CREATE TABLE transfers (
    merchant_id   integer     NOT NULL,
    payment_id    bigint      NOT NULL,
    operation_id  bigint      NOT NULL,
    leg           integer     NOT NULL,               -- 10 000 for each attempt before, plus the line's place
    kind          smallint    NOT NULL,
    minor         bigint      NOT NULL CHECK (minor > 0),
    currency      text        NOT NULL,
    value_date    date        NOT NULL,
    batch_id      bigint      NOT NULL,
    reverses_operation_id bigint,
    reverses_leg          integer,
    PRIMARY KEY (merchant_id, payment_id, operation_id, leg)
);
CREATE INDEX transfers_batch ON transfers USING brin (batch_id) WITH (autosummarize = on);
CREATE UNIQUE INDEX transfers_reverses ON transfers (merchant_id, reverses_operation_id, reverses_leg)
    WHERE reverses_operation_id IS NOT NULL;

CREATE VIEW journal AS
SELECT t.merchant_id, t.payment_id, t.operation_id, t.leg, k.name AS kind, k.debit, k.credit, t.minor, t.currency,
       t.value_date, t.batch_id
FROM transfers t JOIN transfer_kinds k USING (kind);

-- Debits minus credits, one row per account and lane, touched once per batch; the account's balance is the sum.
CREATE TABLE balances (
    merchant_id   integer     NOT NULL,
    currency      text        NOT NULL,
    account       text        NOT NULL,
    lane          integer     NOT NULL,
    balance       numeric     NOT NULL,
    PRIMARY KEY (merchant_id, currency, account, lane)
) WITH (fillfactor = 50);

-- What happened, gap-free per payment; written in the commit it tells of.
CREATE TABLE events (
    merchant_id   integer     NOT NULL,
    payment_id    bigint      NOT NULL,
    sequence      integer     NOT NULL,
    event         text        NOT NULL,
    operation_id  bigint      NOT NULL,
    attempt       smallint    NOT NULL,
    occurred_at   timestamptz NOT NULL,               -- business time
    batch_id      bigint      NOT NULL,
    PRIMARY KEY (merchant_id, payment_id, sequence)
);

-- Facts from outside, once per identity.
CREATE TABLE notices (
    merchant_id   integer     NOT NULL,
    payment_id    bigint      NOT NULL,
    identity      text        NOT NULL,
    operation_id  bigint      NOT NULL,               -- its transfers are posted under this id
    noticed       text        NOT NULL,
    minor         bigint      NOT NULL,
    capture_id    bigint      NOT NULL,
    noticed_at    timestamptz NOT NULL,
    batch_id      bigint      NOT NULL,
    PRIMARY KEY (merchant_id, payment_id, identity)
);

-- Reversals that a processor still owes us an acknowledgement for: written in the commit that made them due.
CREATE TABLE reversals (
    merchant_id     integer     NOT NULL,
    payment_id      bigint      NOT NULL,
    operation_id    bigint      NOT NULL,
    attempt         smallint    NOT NULL,
    why             text        NOT NULL,
    due_at          timestamptz NOT NULL,
    acknowledged_at timestamptz,
    PRIMARY KEY (merchant_id, payment_id, operation_id, attempt)
);
CREATE INDEX reversals_due ON reversals (merchant_id, due_at) WHERE acknowledged_at IS NULL;

-- Committed batches of outcomes, chained per lane with a key kept outside the database; numbers have no gap.
CREATE TABLE batches (
    lane          integer     NOT NULL,
    number        bigint      NOT NULL,
    batch_id      bigint      NOT NULL UNIQUE,
    committed_at  timestamptz NOT NULL,               -- wall time, taken before the commit
    rows          integer     NOT NULL,
    digest        bytea       NOT NULL,
    PRIMARY KEY (lane, number)
);

-- Names of requests that are not payments and may be used once (card checks, token requests).
CREATE TABLE service_references (
    merchant_id   integer     NOT NULL,
    door          text        NOT NULL,
    service       text        NOT NULL,
    reference     text        NOT NULL,
    payment_id    bigint,
    created_at    timestamptz NOT NULL,
    PRIMARY KEY (merchant_id, door, service, reference)
);

CREATE TABLE sdk_tokens (
    merchant_id   integer     NOT NULL,
    sdk_token     text        NOT NULL,
    device_id     text        NOT NULL,
    expires_at    timestamptz NOT NULL,
    PRIMARY KEY (merchant_id, sdk_token)
);

-- How far each sweep over time has come; the installation's own.
CREATE TABLE sweeps (
    job           text        PRIMARY KEY,
    done_until    timestamptz NOT NULL
);

-- How far the incremental proof has come, per lane: everything up to this batch was checked and agreed.
CREATE TABLE proved (
    lane          integer     PRIMARY KEY,
    number        bigint      NOT NULL,
    digest        bytea       NOT NULL,
    proved_at     timestamptz NOT NULL
);

INSERT INTO transfer_kinds (kind, name, debit, credit) VALUES
    (1, 'authorize', 'hold.open', 'hold.promised'),
    (2, 'increase', 'hold.open', 'hold.promised'),
    (3, 'decrease', 'hold.voided', 'hold.open'),
    (4, 'use', 'hold.captured', 'hold.open'),
    (5, 'use_now', 'hold.captured', 'hold.promised'),
    (6, 'use_late', 'hold.captured', 'hold.expired'),
    (7, 'use_unsecured', 'hold.captured', 'hold.unsecured'),
    (8, 'unuse', 'hold.unsecured', 'hold.captured'),
    (9, 'void', 'hold.voided', 'hold.open'),
    (10, 'void_unsecured', 'hold.voided', 'hold.unsecured'),
    (11, 'expire', 'hold.expired', 'hold.open'),
    (12, 'expire_unsecured', 'hold.expired', 'hold.unsecured'),
    (13, 'unsecure', 'hold.unsecured', 'hold.open'),
    (14, 'resecure', 'hold.open', 'hold.unsecured'),
    (20, 'capture', 'processor.receivable', 'merchant.payable'),
    (21, 'capture_rejected', 'merchant.payable', 'processor.receivable'),
    (22, 'refund', 'merchant.payable', 'processor.receivable'),
    (23, 'refund_asked', 'merchant.payable', 'refund.pending'),
    (24, 'refund_done', 'refund.pending', 'processor.receivable'),
    (25, 'refund_failed', 'refund.pending', 'merchant.payable'),
    (26, 'refund_returned', 'processor.receivable', 'merchant.payable'),
    (27, 'money_in_suspense', 'processor.receivable', 'suspense'),
    (28, 'suspense_returned', 'suspense', 'processor.receivable'),
    (29, 'chargeback', 'dispute.open', 'processor.receivable'),
    (30, 'chargeback_back', 'processor.receivable', 'dispute.open'),
    (31, 'dispute_lost', 'merchant.payable', 'dispute.open'),
    (40, 'settle_in', 'processor.settling', 'processor.receivable'),
    (41, 'settle_out', 'processor.receivable', 'processor.settling'),
    (42, 'settle_short', 'suspense', 'processor.receivable'),
    (43, 'settle_over', 'processor.settling', 'suspense'),
    (44, 'unmatched_in', 'processor.settling', 'suspense'),
    (45, 'unmatched_out', 'suspense', 'processor.settling'),
    (46, 'fee', 'fee.cost', 'processor.settling'),
    (47, 'reserve', 'processor.reserve', 'processor.settling'),
    (48, 'reserve_back', 'processor.settling', 'processor.reserve'),
    (49, 'paid', 'bank', 'processor.settling'),
    (50, 'merchant_fee', 'merchant.payable', 'fee.income'),
    (51, 'payout', 'merchant.payable', 'bank'),
    (52, 'merchant_reserve', 'merchant.payable', 'merchant.reserve'),
    (53, 'fx_out', 'fx.position', 'processor.settling'),
    (54, 'fx_in', 'processor.settling', 'fx.position'),
    (55, 'loss', 'loss', 'suspense'),
    (60, 'debt', 'debt.owed', 'debt.incurred'),
    (61, 'debt_recovered', 'debt.recovered', 'debt.owed'),
    (62, 'debt_reopened', 'debt.owed', 'debt.recovered'),
    (63, 'debt_forgiven', 'debt.forgiven', 'debt.owed'),
    (70, 'doubt_authorization', 'doubt.authorization', 'doubt.asked'),
    (72, 'doubt_purchase', 'doubt.purchase', 'doubt.asked'),
    (71, 'doubt_increment', 'doubt.increment', 'doubt.asked'),
    (76, 'doubt_decrement', 'doubt.decrement', 'doubt.asked'),
    (73, 'doubt_capture', 'doubt.capture', 'doubt.asked'),
    (74, 'doubt_void', 'doubt.void', 'doubt.asked'),
    (75, 'doubt_refund', 'doubt.refund', 'doubt.asked'),
    (80, 'doubt_authorization_ended', 'doubt.asked', 'doubt.authorization'),
    (82, 'doubt_purchase_ended', 'doubt.asked', 'doubt.purchase'),
    (81, 'doubt_increment_ended', 'doubt.asked', 'doubt.increment'),
    (86, 'doubt_decrement_ended', 'doubt.asked', 'doubt.decrement'),
    (83, 'doubt_capture_ended', 'doubt.asked', 'doubt.capture'),
    (84, 'doubt_void_ended', 'doubt.asked', 'doubt.void'),
    (85, 'doubt_refund_ended', 'doubt.asked', 'doubt.refund');
