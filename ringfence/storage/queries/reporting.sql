-- one_by_one --
-- Requests of one merchant for reports wait for each other, so that they can be counted; until the commit.
SELECT pg_advisory_xact_lock(7331, $1::integer);

-- counted --
-- How many reports of a merchant wait, how many are kept, and the number behind the last one's.
SELECT count(*) FILTER (WHERE r.state = 'waiting'), count(*),
       (SELECT coalesce(max(a.report_id), 0) + 1 FROM reports a WHERE a.merchant_id = $1::integer)
FROM reports r WHERE r.merchant_id = $1::integer AND r.state <> 'erased';

-- ask --
-- Store what is asked for; nothing comes back where the reference was used before.
INSERT INTO reports (merchant_id, reference, report_id, columns, filters, since, until, offset_seconds, language, form, actor, state, requested_at)
VALUES ($1::integer, $2::text, $3::bigint, $4::text[], $5::text[], $6::timestamptz, $7::timestamptz, $8::integer, $9::text, $10::text,
        $11::text, 'waiting', $12::timestamptz)
ON CONFLICT DO NOTHING
RETURNING report_id;

-- by_reference --
-- A merchant's report.
SELECT merchant_id, reference, report_id, columns, filters, since, until, offset_seconds, language, form, actor, requested_at,
       state, rows, chunks, ended_at
FROM reports WHERE merchant_id = $1::integer AND reference = $2::text;

-- by_number --
-- The same, by its number.
SELECT merchant_id, reference, report_id, columns, filters, since, until, offset_seconds, language, form, actor, requested_at,
       state, rows, chunks, ended_at
FROM reports WHERE merchant_id = $1::integer AND report_id = $2::bigint;

-- listed --
-- The latest reports of a merchant that are kept.
SELECT merchant_id, reference, report_id, columns, filters, since, until, offset_seconds, language, form, actor, requested_at,
       state, rows, chunks, ended_at
FROM reports WHERE merchant_id = $1::integer AND state <> 'erased'
ORDER BY requested_at DESC, report_id DESC LIMIT $2::integer;

-- chunk --
-- One chunk of a report.
SELECT body FROM report_chunks WHERE merchant_id = $1::integer AND report_id = $2::bigint AND chunk = $3::integer;

-- begin --
-- Begin a report that waits, from nothing, as the claim $3 of its job; nothing comes back where it has ended, or a later claim has it.
WITH mine AS (
    UPDATE reports SET maker = $3::integer, rows = 0, chunks = 0
    WHERE merchant_id = $1::integer AND report_id = $2::bigint AND state = 'waiting' AND maker <= $3::integer
    RETURNING report_id
), gone AS (
    DELETE FROM report_chunks WHERE merchant_id = $1::integer AND report_id = $2::bigint AND EXISTS (SELECT FROM mine)
)
SELECT report_id FROM mine;

-- append --
-- Store the next chunk ($4 rows); nothing comes back where a later claim has the report.
WITH mine AS (
    UPDATE reports SET rows = rows + $4::integer, chunks = chunks + 1
    WHERE merchant_id = $1::integer AND report_id = $2::bigint AND state = 'waiting' AND maker = $3::integer
    RETURNING chunks
)
INSERT INTO report_chunks (merchant_id, report_id, chunk, body)
SELECT $1::integer, $2::bigint, mine.chunks, $5::bytea FROM mine
RETURNING chunk;

-- end --
-- A report has come to its end ($4, at $5).
UPDATE reports SET state = $4::text, ended_at = $5::timestamptz
WHERE merchant_id = $1::integer AND report_id = $2::bigint AND state = 'waiting' AND maker = $3::integer
RETURNING report_id;

-- drop_chunks --
-- What was stored of a report that is not to be had.
DELETE FROM report_chunks WHERE merchant_id = $1::integer AND report_id = $2::bigint;

-- operated --
-- The operations of a merchant ($1) asked from $2 until $3, at $4 at the latest (business time), in their order, each with the latest
-- outcome as of then, the operation its payment began with and that one's outcome, and its card.  Where given, only of these
-- currencies ($5), kinds ($6), payments ($7), references ($8) and tokens ($9); at most $10 of them.
SELECT o.payment_id, o.operation_id, o.kind, o.minor, o.currency, o.door, o.details, o.asked_at, o.processor,
       x.result, x.minor, x.response_code, x.approval_code, x.eci,
       f.kind, f.door, f.reference, f.key, f.details, f.asked_at, f.token_name, f.token_version, f.initiation, f.channel, f.source,
       y.result, y.approval_code, y.eci,
       c.brand, c.bin, c.last4, p.status
FROM operations o
JOIN operations f ON f.merchant_id = o.merchant_id AND f.payment_id = o.payment_id AND f.operation_id = o.payment_id
LEFT JOIN LATERAL (
    SELECT a.* FROM outcomes a
    WHERE a.merchant_id = o.merchant_id AND a.payment_id = o.payment_id AND a.operation_id = o.operation_id AND a.answered_at <= $4::timestamptz
    ORDER BY a.attempt DESC LIMIT 1) x ON true
LEFT JOIN LATERAL (
    SELECT a.* FROM outcomes a
    WHERE a.merchant_id = o.merchant_id AND a.payment_id = o.payment_id AND a.operation_id = o.payment_id AND a.answered_at <= $4::timestamptz
    ORDER BY a.attempt DESC LIMIT 1) y ON true
LEFT JOIN cards c ON c.merchant_id = f.merchant_id AND c.card_id = f.card_id
LEFT JOIN payments p ON p.merchant_id = o.merchant_id AND p.payment_id = o.payment_id
WHERE o.merchant_id = $1::integer AND o.asked_at >= $2::timestamptz AND o.asked_at < $3::timestamptz AND o.asked_at <= $4::timestamptz
  AND ($5::text[] IS NULL OR o.currency = ANY ($5))
  AND ($6::text[] IS NULL OR o.kind = ANY ($6))
  AND ($7::bigint[] IS NULL OR o.payment_id = ANY ($7))
  AND ($8::text[] IS NULL OR f.reference = ANY ($8))
  AND ($9::text[] IS NULL OR f.token_name = ANY ($9))
ORDER BY o.asked_at, o.operation_id
LIMIT $10::bigint;
