-- Batch files: what merchants hand in as a file, row by row, and what became of each.
--
-- A row's key is batch and line.  Whoever carries rows out stores, in the commit of their intents, which operation each of them is; what
-- became of it is then read from the operation's outcome, so that a row and its outcome can never differ.

CREATE TABLE batch_files (
    merchant_id   integer     NOT NULL,
    batch_id      bigint      NOT NULL,
    reference     text        NOT NULL,                         -- the merchant's own name for it
    door          text        NOT NULL,
    access        text        NOT NULL,                         -- the credential it came under
    language      text        NOT NULL,
    file_name     text        NOT NULL,
    bytes         bigint      NOT NULL,
    content       bytea       NOT NULL,                         -- keyed digest of the file: the same content again is noticed
    columns       text[]      NOT NULL,
    rows          integer     NOT NULL,
    last_line     integer     NOT NULL,
    totals        jsonb       NOT NULL,                         -- by kind and currency, as it was handed in
    state         text        NOT NULL,                         -- validating, invalid, valid, processing, cancelling, done, cancelled
    message       text        NOT NULL DEFAULT '',              -- of what is invalid: three digits of the code list
    reason        text        NOT NULL DEFAULT '',
    faults        integer     NOT NULL DEFAULT 0,               -- rows that are wrong
    repeats       bigint,                                       -- a batch of the same content, carried out not long ago
    new_totals    jsonb,                                        -- of such a one: what it would move that was not moved yet
    forced        boolean     NOT NULL DEFAULT false,
    wave          integer     NOT NULL DEFAULT 0,               -- rows of it may be taken
    waves         integer     NOT NULL DEFAULT 1,
    uploaded_at   timestamptz NOT NULL,                         -- business time, like the next three
    processed_at  timestamptz,
    cancelled_at  timestamptz,
    ended_at      timestamptz,
    began         timestamptz,                                  -- wall time: how fast it goes
    ended         timestamptz,
    sums          jsonb,                                        -- at the end, by kind, currency and how rows ended
    agrees        boolean,                                      -- whether those come to the totals
    PRIMARY KEY (merchant_id, batch_id),
    UNIQUE (merchant_id, reference)
) WITH (fillfactor = 50);
CREATE INDEX batch_files_open ON batch_files (merchant_id, batch_id) WHERE state IN ('validating', 'processing', 'cancelling');
CREATE INDEX batch_files_content ON batch_files (merchant_id, content);

-- Rows as they were handed in.  A wave holds at most one row of an order: rows that name the same order run in the file's order.
CREATE TABLE batch_rows (
    merchant_id   integer     NOT NULL,
    batch_id      bigint      NOT NULL,
    line          integer     NOT NULL,
    kind          text        NOT NULL,
    reference     text,                                         -- the order's, by the merchant's name ...
    fort_id       bigint,                                       -- ... or by ours
    minor         bigint      NOT NULL,                         -- 0: all that is left (a void)
    currency      text        NOT NULL,
    cells         text        NOT NULL,
    wave          integer     NOT NULL DEFAULT 0,
    PRIMARY KEY (merchant_id, batch_id, line)
);
CREATE INDEX batch_rows_waves ON batch_rows (merchant_id, batch_id, wave, line) WHERE wave > 0;

-- What is wrong with rows, by line and column.
CREATE TABLE batch_faults (
    merchant_id   integer     NOT NULL,
    batch_id      bigint      NOT NULL,
    place         integer     NOT NULL,
    line          integer     NOT NULL,
    column_name   text        NOT NULL,
    message       text        NOT NULL,
    PRIMARY KEY (merchant_id, batch_id, place)
);

-- Stretches of lines, each taken from its beginning; several, so that several processes take rows of one file at once.
CREATE TABLE batch_parts (
    merchant_id   integer     NOT NULL,
    batch_id      bigint      NOT NULL,
    part          integer     NOT NULL,
    next_line     integer     NOT NULL,                         -- the first that nobody has taken
    last_line     integer     NOT NULL,
    PRIMARY KEY (merchant_id, batch_id, part)
) WITH (fillfactor = 50);

-- How rows of a stretch ended, for whoever watches; what counts is counted at the end.  Apart from the stretch, which is locked by whoever
-- takes lines of it.
CREATE TABLE batch_progress (
    merchant_id   integer     NOT NULL,
    batch_id      bigint      NOT NULL,
    part          integer     NOT NULL,
    approved      integer     NOT NULL,
    failed        integer     NOT NULL,
    unknown       integer     NOT NULL,
    PRIMARY KEY (merchant_id, batch_id, part)
) WITH (fillfactor = 50);

-- Which operation a row is, stored in the commit of its intent; or the code it was refused with, and then nothing was asked.
CREATE TABLE batch_results (
    merchant_id   integer     NOT NULL,
    batch_id      bigint      NOT NULL,
    line          integer     NOT NULL,
    payment_id    bigint,
    operation_id  bigint,
    code          text,
    card_number   text        NOT NULL,                         -- masked
    expiry_date   text        NOT NULL,
    PRIMARY KEY (merchant_id, batch_id, line)
);
