-- write --
-- Write the next event of a subject; nothing comes back where somebody else wrote one of it at the same time, who is in front.
INSERT INTO door_events (merchant_id, door, subject_id, sequence, kind, type, data, webhooks_url, occurred_at)
SELECT $1, $2, $3, coalesce(max(e.sequence), 0) + 1, $4, $5, $6, $7, $8
FROM door_events e WHERE e.merchant_id = $1 AND e.door = $2 AND e.subject_id = $3
ON CONFLICT DO NOTHING
RETURNING sequence;

-- count_old --
-- How many events of a merchant ($1) that were handed out and happened by $2 (business time) still say something.
SELECT count(*) FROM door_events WHERE merchant_id = $1::integer AND is_handed AND data IS NOT NULL AND occurred_at <= $2::timestamptz;

-- erase_old --
-- Take it from the next $3 of them that nobody holds.
WITH batch AS MATERIALIZED (
    SELECT door, subject_id, sequence FROM door_events
    WHERE merchant_id = $1::integer AND is_handed AND data IS NOT NULL AND occurred_at <= $2::timestamptz
    ORDER BY door, subject_id, sequence
    LIMIT $3::integer
    FOR UPDATE SKIP LOCKED)
UPDATE door_events e SET data = NULL
FROM batch b
WHERE e.merchant_id = $1::integer AND e.door = b.door AND e.subject_id = b.subject_id AND e.sequence = b.sequence
RETURNING e.sequence;

-- waiting --
-- Events that nobody has handed to an address yet, at most $1, oldest first.
SELECT merchant_id, door, subject_id, sequence, kind, type, data, webhooks_url, occurred_at
FROM door_events WHERE NOT is_handed AND data IS NOT NULL
ORDER BY written_at, merchant_id, door, subject_id, sequence
LIMIT $1;

-- hand --
-- These ($1 merchants, $2 doors, $3 subjects, $4 sequences) are handed out.
UPDATE door_events e SET is_handed = true
FROM unnest($1::integer[], $2::text[], $3::bigint[], $4::integer[]) AS w (merchant_id, door, subject_id, sequence)
WHERE (e.merchant_id, e.door, e.subject_id, e.sequence) = (w.merchant_id, w.door, w.subject_id, w.sequence) AND NOT e.is_handed;

-- written --
-- Events written between two instants ($1 included, $2 not; wall time), of one merchant ($3) or of all, behind the first $4, at most $5.
SELECT merchant_id, door, subject_id, sequence, kind, type, data, webhooks_url, occurred_at
FROM door_events
WHERE written_at >= $1 AND written_at < $2 AND ($3::integer IS NULL OR merchant_id = $3) AND data IS NOT NULL
ORDER BY written_at, merchant_id, door, subject_id, sequence
OFFSET $4 LIMIT $5;

-- horizon --
-- Up to when (wall time) everything that was written can be seen: who wrote something and has not committed began later.
SELECT least(clock_timestamp(), min(xact_start)) FROM pg_stat_activity WHERE datname = current_database() AND backend_xid IS NOT NULL;

-- behind --
-- Events of merchants ($1) written behind an instant ($2) and before another ($3; wall time), oldest first: $4 of them, and those of the same instant.
SELECT e.merchant_id, e.door, e.subject_id, e.sequence, e.kind, e.type, e.data, e.webhooks_url, e.occurred_at, e.written_at
FROM unnest($1::integer[]) AS w (merchant_id)
CROSS JOIN LATERAL (
    SELECT * FROM door_events d
    WHERE d.merchant_id = w.merchant_id AND d.written_at > $2 AND d.written_at < $3 AND d.data IS NOT NULL
    ORDER BY d.written_at FETCH FIRST $4 ROWS WITH TIES) e
ORDER BY e.written_at FETCH FIRST $4 ROWS WITH TIES;
