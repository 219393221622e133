-- What becomes due as business time goes on: how much, the first and the last of it behind $2 up to $3, of the merchants $1; the
-- next instant in that time; and whether anything is due by $2 that somebody should have done.

-- holds --
-- Holds that expire.
SELECT coalesce(sum(h.count), 0)::bigint, min(h.first), max(h.last)
FROM unnest($1::integer[]) AS m (merchant_id)
CROSS JOIN LATERAL (
    SELECT count(*), min(p.expires_at) AS first, max(p.expires_at) AS last
    FROM payments p
    WHERE p.merchant_id = m.merchant_id AND p.expires_at > $2 AND p.expires_at <= $3
      AND p.status IN ('authorized', 'captured') AND p.authorized - p.captured - p.voided - p.expired > 0
      AND p.pending_capture = 0 AND p.pending_void = 0 AND p.pending_increment = 0 AND p.pending_decrement = 0) h;

-- next_hold --
-- When the next hold expires.
SELECT min(h.at)
FROM unnest($1::integer[]) AS m (merchant_id)
CROSS JOIN LATERAL (
    SELECT p.expires_at AS at
    FROM payments p
    WHERE p.merchant_id = m.merchant_id AND p.expires_at > $2 AND p.expires_at <= $3
      AND p.status IN ('authorized', 'captured') AND p.authorized - p.captured - p.voided - p.expired > 0
      AND p.pending_capture = 0 AND p.pending_void = 0 AND p.pending_increment = 0 AND p.pending_decrement = 0
    ORDER BY p.expires_at
    LIMIT 1) h;

-- holds_due --
-- Whether a hold is past its instant and its void is not tried yet; what the sweep leaves alone, because the issuer said no or could
-- not be asked, is left alone here too.
SELECT EXISTS (
    SELECT FROM unnest($1::integer[]) AS m (merchant_id)
    JOIN payments p ON p.merchant_id = m.merchant_id
    WHERE p.expires_at <= $2
      AND p.status IN ('authorized', 'captured') AND p.authorized - p.captured - p.voided - p.expired > 0
      AND p.pending_capture = 0 AND p.pending_increment = 0 AND p.pending_decrement = 0
      AND (p.pending_void = 0 OR p.unknown = 0)
      AND NOT EXISTS (SELECT FROM operations o JOIN outcomes x USING (merchant_id, payment_id, operation_id)
                      WHERE o.merchant_id = p.merchant_id AND o.payment_id = p.payment_id AND o.reason = 'expired'
                        AND x.result IN ('declined', 'not_asked')
                        AND x.answered_at > $2 - CASE x.result WHEN 'declined' THEN interval '1 day' ELSE interval '1 minute' END));

-- jobs --
-- Jobs of a queue ($4) that become due.
SELECT coalesce(sum(h.count), 0)::bigint, min(h.first), max(h.last)
FROM unnest($1::integer[]) AS m (merchant_id)
CROSS JOIN LATERAL (
    SELECT count(*), min(j.due_at) AS first, max(j.due_at) AS last
    FROM jobs j
    WHERE j.queue = $4::text AND j.merchant_id = m.merchant_id AND j.due_at > $2 AND j.due_at <= $3 AND j.due_at < 'infinity') h;

-- next_job --
-- When the next job of a queue ($4) is due.
SELECT min(h.at)
FROM unnest($1::integer[]) AS m (merchant_id)
CROSS JOIN LATERAL (
    SELECT j.due_at AS at
    FROM jobs j
    WHERE j.queue = $4::text AND j.merchant_id = m.merchant_id AND j.due_at > $2 AND j.due_at <= $3 AND j.due_at < 'infinity'
    ORDER BY j.due_at
    LIMIT 1) h;

-- jobs_due --
-- Whether a job of any of these queues ($3) is due; one in hand counts until it is given back.
SELECT EXISTS (
    SELECT FROM unnest($1::integer[]) AS m (merchant_id)
    JOIN jobs j ON j.merchant_id = m.merchant_id
    WHERE j.queue = ANY ($3::text[]) AND j.due_at <= $2 AND j.due_at < 'infinity');

-- deadlines --
-- Doubts that a person should look at from then on.
SELECT count(*), min(j.deadline_at), max(j.deadline_at)
FROM unnest($1::integer[]) AS m (merchant_id)
JOIN jobs j ON j.merchant_id = m.merchant_id
WHERE j.queue = 'recovery' AND j.deadline_at > $2 AND j.deadline_at <= $3;

-- next_deadline --
-- When the next doubt passes its deadline.
SELECT min(j.deadline_at)
FROM unnest($1::integer[]) AS m (merchant_id)
JOIN jobs j ON j.merchant_id = m.merchant_id
WHERE j.queue = 'recovery' AND j.deadline_at > $2 AND j.deadline_at <= $3;

-- attempts --
-- Deliveries whose next attempt is due.
SELECT count(*), min(d.next_at), max(d.next_at)
FROM unnest($1::integer[]) AS m (merchant_id)
JOIN deliveries d ON d.merchant_id = m.merchant_id
WHERE d.state = 'waiting' AND d.next_at > $2 AND d.next_at <= $3;

-- temporary_tokens --
-- Tokens of tokenizations that no payment succeeded with in their time.
SELECT count(*), min(t.temporary_until), max(t.temporary_until)
FROM unnest($1::integer[]) AS m (merchant_id)
JOIN tokens t ON t.merchant_id = m.merchant_id
WHERE t.temporary_until > $2 AND t.temporary_until <= $3 AND t.temporary_until IS NOT NULL AND t.active;

-- next_temporary_token --
-- When the next of them ends.
SELECT min(t.temporary_until)
FROM unnest($1::integer[]) AS m (merchant_id)
JOIN tokens t ON t.merchant_id = m.merchant_id
WHERE t.temporary_until > $2 AND t.temporary_until <= $3 AND t.temporary_until IS NOT NULL AND t.active;

-- temporary_tokens_due --
-- Whether the time of one is over that is still switched on.
SELECT EXISTS (
    SELECT FROM unnest($1::integer[]) AS m (merchant_id)
    JOIN tokens t ON t.merchant_id = m.merchant_id
    WHERE t.temporary_until <= $2 AND t.temporary_until IS NOT NULL AND t.active);

-- links --
-- Payment links that nobody has paid by their last instant.
SELECT coalesce(sum(h.count), 0)::bigint, min(h.first), max(h.last)
FROM unnest($1::integer[]) AS m (merchant_id)
CROSS JOIN LATERAL (
    SELECT count(*), min(l.expires_at) AS first, max(l.expires_at) AS last
    FROM links l
    WHERE l.merchant_id = m.merchant_id AND l.expires_at > $2 AND l.expires_at <= $3 AND l.paid_at IS NULL AND l.cancelled_at IS NULL) h;

-- next_link --
-- When the next payment link expires.
SELECT min(h.at)
FROM unnest($1::integer[]) AS m (merchant_id)
CROSS JOIN LATERAL (
    SELECT l.expires_at AS at
    FROM links l
    WHERE l.merchant_id = m.merchant_id AND l.expires_at > $2 AND l.expires_at <= $3 AND l.paid_at IS NULL AND l.cancelled_at IS NULL
    ORDER BY l.expires_at
    LIMIT 1) h;

-- sdk_tokens --
-- Tokens of devices that end.
SELECT count(*), min(t.expires_at), max(t.expires_at)
FROM unnest($1::integer[]) AS m (merchant_id)
JOIN sdk_tokens t ON t.merchant_id = m.merchant_id
WHERE t.expires_at > $2 AND t.expires_at <= $3;

-- next_sdk_token --
-- When the next token of a device ends.
SELECT min(t.expires_at)
FROM unnest($1::integer[]) AS m (merchant_id)
JOIN sdk_tokens t ON t.merchant_id = m.merchant_id
WHERE t.expires_at > $2 AND t.expires_at <= $3;

-- daily --
-- Runs of a chore ($4) that is done a day after it was done; of no merchant in particular ($1 is not looked at).
SELECT count(*), min(r.at), max(r.at)
FROM sweeps s
CROSS JOIN LATERAL generate_series(s.done_until + interval '1 day', $3::timestamptz, interval '1 day') AS r (at)
WHERE s.job = $4::text AND r.at > $2::timestamptz AND $1::integer[] IS NOT NULL;

-- daily_due --
-- Whether such a chore ($3) is due.
SELECT EXISTS (
    SELECT FROM sweeps s WHERE s.job = $3::text AND s.done_until + interval '1 day' <= $2::timestamptz AND $1::integer[] IS NOT NULL);

-- trips --
-- Alarms about trips that are not charged.
SELECT coalesce(sum(h.count), 0)::bigint, min(h.first), max(h.last)
FROM unnest($1::integer[]) AS m (merchant_id)
CROSS JOIN LATERAL (
    SELECT count(*), min(t.alarm_at) AS first, max(t.alarm_at) AS last
    FROM trips t WHERE t.merchant_id = m.merchant_id AND t.alarm_at > $2 AND t.alarm_at <= $3) h;

-- next_trip --
-- When the next of them is due.
SELECT min(h.at)
FROM unnest($1::integer[]) AS m (merchant_id)
CROSS JOIN LATERAL (
    SELECT t.alarm_at AS at FROM trips t
    WHERE t.merchant_id = m.merchant_id AND t.alarm_at > $2 AND t.alarm_at <= $3 ORDER BY t.alarm_at LIMIT 1) h;

-- trips_due --
-- Whether one is due that nobody has looked at.
SELECT EXISTS (
    SELECT FROM unnest($1::integer[]) AS m (merchant_id) JOIN trips t ON t.merchant_id = m.merchant_id WHERE t.alarm_at <= $2);
