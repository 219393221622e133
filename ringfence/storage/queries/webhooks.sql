-- coalesce(state, ''): a row that is looked up by its key must not be found through deliveries_due, which holds all that waits; the
-- planner would take that index for any condition on the bare column, and read a whole backlog for every row.

-- endpoints_at --
-- The endpoints behind addresses ($1 merchants, $2 doors, $3 urls), as far as there are any.
SELECT e.merchant_id, e.door, e.url, e.endpoint_id, e.schedule, e.accepts, e.at_once, e.in_order, e.seconds
FROM unnest($1::integer[], $2::text[], $3::text[]) AS w (merchant_id, door, url)
JOIN endpoints e USING (merchant_id, door, url);

-- lock_endpoints --
-- Who makes endpoints counts them: one at a time.
LOCK TABLE endpoints IN SHARE ROW EXCLUSIVE MODE;

-- keep_endpoint --
-- Make an endpoint, or give it another policy.
INSERT INTO endpoints AS e (merchant_id, endpoint_id, door, url, schedule, accepts, at_once, in_order, seconds, created_at)
SELECT $1, coalesce((SELECT max(o.endpoint_id) FROM endpoints o WHERE o.merchant_id = $1), 0) + 1, $2, $3, $4, $5, $6, $7, $8, $9
ON CONFLICT (merchant_id, door, url) DO UPDATE
SET schedule = excluded.schedule, accepts = excluded.accepts, at_once = excluded.at_once, in_order = excluded.in_order,
    seconds = excluded.seconds
RETURNING endpoint_id;

-- keep_deliveries --
-- Store deliveries; what an endpoint has already it does not get twice.
INSERT INTO deliveries
SELECT d.* FROM unnest($1::deliveries[]) AS d ORDER BY d.merchant_id, d.endpoint_id, d.payment_id, d.sequence
ON CONFLICT DO NOTHING;

-- endpoint --
-- One endpoint, for whoever drains it.
SELECT url, schedule, accepts, at_once, in_order, seconds, failures, probe_at, door
FROM endpoints WHERE merchant_id = $1 AND endpoint_id = $2;

-- due --
-- Deliveries of one endpoint ($1, $2) that may be tried at $3, in their order, at most $5.  behind: the highest event before it
-- of its payment that must have been tried once, or with $4 must have ended, before this one begins.  It stands before this one in
-- the page; what would stand behind a later one is left out, since it could fill the page and not move.
SELECT d.payment_id, d.sequence, d.event, d.content_type, d.body, d.tried, d.attempts,
       CASE WHEN d.sequence > 1 AND ($4 OR d.attempts = 0) THEN (
           SELECT max(b.sequence) FROM deliveries b
           WHERE b.merchant_id = $1 AND b.endpoint_id = $2 AND b.payment_id = d.payment_id AND b.sequence < d.sequence
             AND coalesce(b.state, '') = 'waiting' AND ($4 OR b.attempts = 0)) END AS behind
FROM deliveries d
WHERE d.merchant_id = $1 AND d.endpoint_id = $2 AND d.state = 'waiting' AND d.next_at <= $3 AND d.body IS NOT NULL
  AND (d.sequence = 1 OR NOT ($4 OR d.attempts = 0) OR NOT EXISTS (
       SELECT FROM deliveries b
       WHERE b.merchant_id = $1 AND b.endpoint_id = $2 AND b.payment_id = d.payment_id AND b.sequence < d.sequence
         AND coalesce(b.state, '') = 'waiting' AND ($4 OR b.attempts = 0) AND b.next_at > d.next_at))
ORDER BY d.next_at, d.payment_id, d.sequence
LIMIT $5;

-- next_due --
-- When an endpoint has something to try next; null where nothing waits.  With $3, what stands behind another does not count.
SELECT d.next_at FROM deliveries d
WHERE d.merchant_id = $1 AND d.endpoint_id = $2 AND d.state = 'waiting' AND d.body IS NOT NULL
  AND (NOT $3 OR d.sequence = 1 OR NOT EXISTS (
       SELECT FROM deliveries b
       WHERE b.merchant_id = $1 AND b.endpoint_id = $2 AND b.payment_id = d.payment_id AND b.sequence < d.sequence
         AND coalesce(b.state, '') = 'waiting'))
ORDER BY d.next_at LIMIT 1;

-- note_attempts --
-- What came of attempts: $1 their lines of the log; $2 and $3 the state of each one's delivery and when it is tried next; $4 their
-- endpoints.  Only a delivery that still waits, with as many attempts as it had, goes on; nothing of any other is noted.
WITH went AS MATERIALIZED (
    UPDATE deliveries d
    SET state = n.state, tried = d.tried + 1, attempts = n.attempt, next_at = n.next_at,
        ended_at = CASE WHEN n.state <> 'waiting' THEN n.at END
    FROM unnest($1::delivery_attempts[], $2::text[], $3::timestamptz[]) AS n (
        merchant_id, endpoint_id, payment_id, sequence, attempt, at, url, address, status, error, milliseconds, answer, state, next_at)
    WHERE d.merchant_id = n.merchant_id AND d.endpoint_id = n.endpoint_id AND d.payment_id = n.payment_id
      AND d.sequence = n.sequence AND coalesce(d.state, '') = 'waiting' AND d.attempts = n.attempt - 1
    RETURNING n.merchant_id, n.endpoint_id, n.payment_id, n.sequence, n.attempt, n.at, n.url, n.address, n.status, n.error,
              n.milliseconds, n.answer
), logged AS (
    INSERT INTO delivery_attempts SELECT * FROM went
), told AS (
    UPDATE endpoints e
    SET failures = n.failures, probe_at = n.probe_at, delivered_at = coalesce(n.delivered_at, e.delivered_at),
        failed_at = coalesce(n.failed_at, e.failed_at), last_status = n.last_status, last_error = n.last_error
    FROM unnest($4::endpoints[]) AS n
    WHERE e.merchant_id = n.merchant_id AND e.endpoint_id = n.endpoint_id
      AND EXISTS (SELECT FROM went w WHERE w.merchant_id = n.merchant_id AND w.endpoint_id = n.endpoint_id)
)
SELECT merchant_id, endpoint_id, payment_id, sequence, attempt FROM went;

-- endpoints --
-- Endpoints, of one merchant ($1) or of all, with what waits there and what was given up.
SELECT e.merchant_id, e.endpoint_id, e.door, e.url, e.schedule, e.accepts, e.at_once, e.in_order, e.seconds, e.failures, e.probe_at,
       e.delivered_at, e.failed_at, e.last_status, e.last_error, e.created_at,
       (SELECT count(*) FROM deliveries d WHERE d.merchant_id = e.merchant_id AND d.endpoint_id = e.endpoint_id AND d.state = 'waiting'),
       (SELECT count(*) FROM deliveries d WHERE d.merchant_id = e.merchant_id AND d.endpoint_id = e.endpoint_id AND d.state = 'given_up')
FROM endpoints e
WHERE $1::integer IS NULL OR e.merchant_id = $1
ORDER BY e.merchant_id, e.endpoint_id;

-- deliveries --
-- Deliveries, newest first: of one merchant ($1), in one state ($2), made between two instants ($3, $4), behind another one ($5 its
-- instant, $6 to $9 its key), at most $10.
SELECT d.merchant_id, d.endpoint_id, d.payment_id, d.sequence, d.event, d.purpose, d.content_type, d.state, d.tried, d.attempts,
       d.next_at, d.created_at, d.ended_at, coalesce(e.url, '')
FROM deliveries d LEFT JOIN endpoints e USING (merchant_id, endpoint_id)
WHERE ($1::integer IS NULL OR d.merchant_id = $1) AND ($2::text IS NULL OR d.state = $2)
  AND ($3::timestamptz IS NULL OR d.created_at >= $3) AND ($4::timestamptz IS NULL OR d.created_at < $4)
  AND ($5::timestamptz IS NULL
       OR (d.created_at, d.merchant_id, d.endpoint_id, d.payment_id, d.sequence) < ($5, $6::integer, $7::integer, $8::bigint, $9::integer))
ORDER BY d.created_at DESC, d.merchant_id DESC, d.endpoint_id DESC, d.payment_id DESC, d.sequence DESC
LIMIT $10;

-- delivery --
-- One delivery with its bytes.
SELECT d.merchant_id, d.endpoint_id, d.payment_id, d.sequence, d.event, d.purpose, d.content_type, d.state, d.tried, d.attempts,
       d.next_at, d.created_at, d.ended_at, coalesce(e.url, ''), d.body, coalesce(e.door, '')
FROM deliveries d LEFT JOIN endpoints e USING (merchant_id, endpoint_id)
WHERE d.merchant_id = $1 AND d.endpoint_id = $2 AND d.payment_id = $3 AND d.sequence = $4;

-- attempts --
-- The log of one delivery.
SELECT merchant_id, endpoint_id, payment_id, sequence, attempt, at, url, address, status, error, milliseconds, answer
FROM delivery_attempts
WHERE merchant_id = $1 AND endpoint_id = $2 AND payment_id = $3 AND sequence = $4
ORDER BY attempt;

-- chosen --
-- Deliveries to be told again, whose bytes are still there: one ($1 to $4), or of one merchant ($1) or all those given up ($5) or
-- made between two instants ($6, $7), in key order.
SELECT d.merchant_id, d.endpoint_id, d.payment_id, d.sequence
FROM deliveries d
WHERE ($1::integer IS NULL OR d.merchant_id = $1) AND ($2::integer IS NULL OR d.endpoint_id = $2)
  AND ($3::bigint IS NULL OR d.payment_id = $3) AND ($4::integer IS NULL OR d.sequence = $4)
  AND (NOT $5 OR d.state = 'given_up')
  AND ($6::timestamptz IS NULL OR d.created_at >= $6) AND ($7::timestamptz IS NULL OR d.created_at < $7)
  AND d.endpoint_id > 0 AND d.body IS NOT NULL
ORDER BY d.merchant_id, d.endpoint_id, d.payment_id, d.sequence;

-- tell_again --
-- Deliveries ($2 merchants, $3 endpoints, $4 payments, $5 sequences) begin anew at $1.
UPDATE deliveries d SET state = 'waiting', tried = 0, next_at = $1, ended_at = NULL
FROM unnest($2::integer[], $3::integer[], $4::bigint[], $5::integer[]) AS w (merchant_id, endpoint_id, payment_id, sequence)
WHERE (d.merchant_id, d.endpoint_id, d.payment_id, d.sequence) = (w.merchant_id, w.endpoint_id, w.payment_id, w.sequence)
  AND d.body IS NOT NULL;

-- tell_elsewhere --
-- Copies of deliveries ($2 merchants, $3 endpoints, $4 payments, $5 sequences) at other endpoints ($6), due at $1.
INSERT INTO deliveries AS d
SELECT o.merchant_id, w.elsewhere, o.payment_id, o.sequence, o.event, o.purpose, o.content_type, o.body, 'waiting', 0, 0, $1, $1, NULL
FROM (SELECT DISTINCT ON (merchant_id, elsewhere, payment_id, sequence) *
      FROM unnest($2::integer[], $3::integer[], $4::bigint[], $5::integer[], $6::integer[])
           AS w (merchant_id, endpoint_id, payment_id, sequence, elsewhere)
      ORDER BY merchant_id, elsewhere, payment_id, sequence, endpoint_id) w
JOIN deliveries o USING (merchant_id, endpoint_id, payment_id, sequence)
WHERE o.body IS NOT NULL
ON CONFLICT (merchant_id, endpoint_id, payment_id, sequence) DO UPDATE
SET state = 'waiting', tried = 0, next_at = excluded.next_at, ended_at = NULL, body = coalesce(d.body, excluded.body);

-- copy_notices --
-- Notices of plans of a merchant ($1) that its endpoint ($2) has not been given, due there at $3: made between two instants ($4, $5), of one
-- plan ($6), of one name ($7), where these are given; in the order of plans and their notices, at most $8.
INSERT INTO deliveries
SELECT DISTINCT ON (d.payment_id, d.sequence)
       d.merchant_id, $2::integer, d.payment_id, d.sequence, d.event, d.purpose, d.content_type, d.body, 'waiting', 0, 0, $3::timestamptz,
       $3::timestamptz, NULL::timestamptz
FROM deliveries d
WHERE d.merchant_id = $1::integer AND d.purpose = 'plan' AND d.body IS NOT NULL AND d.endpoint_id <> $2
  AND ($4::timestamptz IS NULL OR d.created_at >= $4) AND ($5::timestamptz IS NULL OR d.created_at < $5)
  AND ($6::bigint IS NULL OR d.payment_id = $6) AND ($7::text IS NULL OR d.event = $7)
  AND NOT EXISTS (SELECT FROM deliveries t WHERE t.merchant_id = d.merchant_id AND t.endpoint_id = $2
                  AND t.payment_id = d.payment_id AND t.sequence = d.sequence)
ORDER BY d.payment_id, d.sequence, d.endpoint_id
LIMIT $8
ON CONFLICT DO NOTHING;

-- policies --
-- The door and policy of endpoints ($1 merchants, $2 endpoints).
SELECT e.merchant_id, e.endpoint_id, e.door, e.schedule, e.accepts, e.at_once, e.in_order, e.seconds
FROM unnest($1::integer[], $2::integer[]) AS w (merchant_id, endpoint_id)
JOIN endpoints e USING (merchant_id, endpoint_id);
