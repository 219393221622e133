-- What happens later: work that is due, who has it in hand, and what merchants are told.
--
-- Two clocks: what payments live by is business time; who holds what until when is wall time, and always the database's own.

-- Work that is due.  The row is there as long as something is to be done: a recovery until the doubt has ended, a delivery
-- (one row for an endpoint, however much waits there) until nothing waits.
CREATE TABLE jobs (
    merchant_id   integer     NOT NULL,
    queue         text        NOT NULL,                         -- recovery, reversal, delivery
    subject       bigint      NOT NULL,                         -- the operation's id; the endpoint's number
    payment_id    bigint      NOT NULL,                         -- 0 for none
    due_at        timestamptz NOT NULL,                         -- business time
    deadline_at   timestamptz,                                  -- business time; from then on a person should look
    tries         integer     NOT NULL DEFAULT 0,               -- grows with every claim: the fence of whoever holds it
    nudges        integer     NOT NULL DEFAULT 0,               -- grows when more is to be done, also while somebody holds it
    note          text        NOT NULL DEFAULT '',              -- what the last try met
    holder        text        NOT NULL DEFAULT '',
    leased_until  timestamptz NOT NULL DEFAULT '-infinity',     -- wall time
    PRIMARY KEY (merchant_id, queue, subject)
) WITH (fillfactor = 70);
CREATE INDEX jobs_due ON jobs (queue, merchant_id, due_at);

-- Chores of the installation: who does them now, and how far they have come.
ALTER TABLE sweeps ALTER COLUMN done_until DROP NOT NULL;
ALTER TABLE sweeps
    ADD COLUMN reached      bigint      NOT NULL DEFAULT 0,
    ADD COLUMN holder       text        NOT NULL DEFAULT '',
    ADD COLUMN leased_until timestamptz NOT NULL DEFAULT '-infinity';

-- What a person decided about an operation in doubt; written before the outcome, which whoever recovers it then commits.
CREATE TABLE reviews (
    merchant_id   integer     NOT NULL,
    operation_id  bigint      NOT NULL,
    payment_id    bigint      NOT NULL,
    decided       text        NOT NULL,                         -- approved, declined, reversed
    minor         bigint      NOT NULL,                         -- approved amount, else 0
    reason        text        NOT NULL,
    evidence      text        NOT NULL,
    decided_by    text        NOT NULL,
    decided_at    timestamptz NOT NULL,                         -- wall time
    PRIMARY KEY (merchant_id, operation_id)
);

-- How far events were handed to deliveries: numbers of batches have no gap in a lane, so everything up to here was.
CREATE TABLE follows (
    lane          integer     PRIMARY KEY,
    number        bigint      NOT NULL
);

-- Where merchants are told.  One row for an address at a door; what it allows comes from the merchant's settings.
CREATE TABLE endpoints (
    merchant_id   integer     NOT NULL,
    endpoint_id   integer     NOT NULL,                         -- counted per merchant
    door          text        NOT NULL,
    url           text        NOT NULL,
    schedule      integer[]   NOT NULL,                         -- seconds from one attempt to the next
    accepts       smallint[]  NOT NULL,                         -- statuses that count as received beside 2xx
    at_once       smallint    NOT NULL,
    in_order      boolean     NOT NULL,                         -- an event waits until the one before it is delivered or given up
    seconds       real        NOT NULL,                         -- one attempt
    failures      integer     NOT NULL DEFAULT 0,               -- in a row
    probe_at      timestamptz,                                  -- the circuit is open: one attempt, not before (business time)
    delivered_at  timestamptz,                                  -- business time, like the next
    failed_at     timestamptz,
    last_status   smallint,
    last_error    text        NOT NULL DEFAULT '',
    created_at    timestamptz NOT NULL,
    PRIMARY KEY (merchant_id, endpoint_id),
    UNIQUE (merchant_id, door, url)
) WITH (fillfactor = 50);

-- One event at one endpoint, with the very bytes it is told in.
CREATE TABLE deliveries (
    merchant_id   integer     NOT NULL,
    endpoint_id   integer     NOT NULL,
    payment_id    bigint      NOT NULL,
    sequence      integer     NOT NULL,
    event         text        NOT NULL,
    purpose       text        NOT NULL,                         -- APS: feedback or notification
    content_type  text        NOT NULL,
    body          bytea,                                        -- erased after a while
    state         text        NOT NULL,                         -- waiting, delivered, given_up
    tried         smallint    NOT NULL DEFAULT 0,               -- since it was made, or asked for again
    attempts      smallint    NOT NULL DEFAULT 0,               -- ever
    next_at       timestamptz NOT NULL,                         -- business time
    created_at    timestamptz NOT NULL,                         -- business time
    ended_at      timestamptz,                                  -- business time
    PRIMARY KEY (merchant_id, endpoint_id, payment_id, sequence)
) WITH (fillfactor = 80);
CREATE INDEX deliveries_due ON deliveries (merchant_id, endpoint_id, next_at) WHERE state = 'waiting';
CREATE INDEX deliveries_made ON deliveries (merchant_id, created_at);

-- The log: every attempt, with what came back, cut.
CREATE TABLE delivery_attempts (
    merchant_id   integer     NOT NULL,
    endpoint_id   integer     NOT NULL,
    payment_id    bigint      NOT NULL,
    sequence      integer     NOT NULL,
    attempt       smallint    NOT NULL,
    at            timestamptz NOT NULL,                         -- business time
    url           text        NOT NULL,
    address       text        NOT NULL,                         -- the one that was called, '' where none was
    status        smallint,
    error         text        NOT NULL,
    milliseconds  integer     NOT NULL,
    answer        bytea       NOT NULL,                         -- its beginning
    PRIMARY KEY (merchant_id, endpoint_id, payment_id, sequence, attempt)
);

-- How a batch's events are found.  Batch ids grow, so that a new row always lands at the index's end.
CREATE INDEX events_batch ON events (batch_id);
-- How later operations are found by the door's name for them; a payment's first operation is found by its key.
CREATE INDEX operations_reference ON operations (merchant_id, reference)
    WHERE operation_id <> payment_id AND reference IS NOT NULL;

-- The jobs know what is due.
DROP INDEX reversals_due;

-- Since when nothing but the first and last digits are left of a card (wall time).
ALTER TABLE cards ADD COLUMN erased_at timestamptz;

-- What a database of the version before holds already: doubts without anybody to end them, reversals that are owed, and events
-- that nobody was to be told of.
INSERT INTO jobs (merchant_id, queue, subject, payment_id, due_at, deadline_at)
SELECT DISTINCT x.merchant_id, 'recovery', x.operation_id, x.payment_id, now(), now() + interval '1 day'
FROM outcomes x
WHERE x.result = 'unknown' AND NOT EXISTS (
    SELECT FROM outcomes f
    WHERE f.merchant_id = x.merchant_id AND f.payment_id = x.payment_id AND f.operation_id = x.operation_id
      AND f.result NOT IN ('unknown', 'challenge'));
INSERT INTO jobs (merchant_id, queue, subject, payment_id, due_at)
SELECT DISTINCT r.merchant_id, 'reversal', r.operation_id, r.payment_id, now()
FROM reversals r
WHERE r.acknowledged_at IS NULL AND NOT EXISTS (
    SELECT FROM jobs j WHERE j.merchant_id = r.merchant_id AND j.queue = 'recovery' AND j.subject = r.operation_id);
INSERT INTO follows (lane, number) SELECT lane, max(number) FROM batches GROUP BY lane;
