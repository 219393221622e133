-- What is kept no longer than it is needed: card numbers, what doors echo, bodies and log of deliveries, tokens of devices.

-- merchants --
-- All merchants, in order.
SELECT merchant_id FROM merchants ORDER BY merchant_id;

-- newest_payment --
-- The newest payment of a merchant, 0 where there is none.
SELECT coalesce(max(payment_id), 0) FROM operations WHERE merchant_id = $1::integer;

-- cards_to_judge --
-- The next cards that something is left of, made before $2 (business time), and that no active token stands for.
SELECT c.card_id
FROM cards c
WHERE c.merchant_id = $1::integer AND c.card_id > $3::bigint AND c.erased_at IS NULL AND c.created_at <= $2::timestamptz
  AND NOT EXISTS (SELECT FROM tokens t WHERE t.merchant_id = c.merchant_id AND t.card_id = c.card_id AND t.active)
ORDER BY c.card_id
LIMIT $4::integer;

-- cards_of_nobody --
-- Which of these cards ($2) neither an active token nor a payment needs, each with the payments it was used for.  Looked for
-- in payments newer than $3, and in those known already ($4 the card, $5 the payment); payment $6 does not count.  A payment
-- needs its card until its first outcome, while something of it is open, pending, in doubt, disputed (also without money), owed a reversal or a
-- debt, for a day after every change (until $8), and while its captured money may come back (until $7; business times).
WITH wanted AS MATERIALIZED (
    SELECT DISTINCT card_id FROM unnest($2::bigint[]) AS w (card_id)
), uses AS MATERIALIZED (
    SELECT o.card_id, o.payment_id
    FROM operations o JOIN wanted USING (card_id)
    WHERE o.merchant_id = $1::integer AND o.payment_id > $3::bigint
    UNION
    SELECT * FROM unnest($4::bigint[], $5::bigint[])
)
SELECT w.card_id, coalesce(array_agg(u.payment_id ORDER BY u.payment_id) FILTER (WHERE u.payment_id IS NOT NULL), '{}') AS payments
FROM wanted w
LEFT JOIN uses u ON u.card_id = w.card_id
LEFT JOIN payments p ON p.merchant_id = $1::integer AND p.payment_id = u.payment_id
WHERE NOT EXISTS (SELECT FROM tokens t WHERE t.merchant_id = $1::integer AND t.card_id = w.card_id AND t.active)
GROUP BY w.card_id
HAVING NOT bool_or(u.payment_id IS NOT NULL AND u.payment_id <> $6::bigint AND (
    p.payment_id IS NULL OR p.unknown > 0 OR p.disputed > 0 OR p.authorized - p.captured - p.voided - p.expired > 0
    OR p.pending_authorization + p.pending_increment + p.pending_decrement + p.pending_capture + p.pending_void + p.pending_refund > 0
    OR p.changed_at > $8::timestamptz OR (p.captured > 0 AND p.changed_at > $7::timestamptz)
    OR EXISTS (SELECT FROM reversals r WHERE r.merchant_id = $1::integer AND r.payment_id = u.payment_id AND r.acknowledged_at IS NULL)
    OR EXISTS (SELECT FROM disputes d WHERE d.merchant_id = $1::integer AND d.payment_id = u.payment_id
                 AND d.status NOT IN ('reported', 'won', 'lost', 'offer_accepted'))
    OR EXISTS (SELECT FROM debts b WHERE b.merchant_id = $1::integer AND b.payment_id = u.payment_id AND b.owed > 0)
))
ORDER BY w.card_id;

-- hold_cards --
-- Those of the cards that something is left of and that nobody else holds; held until the commit.  Whoever gives a card a new
-- token, or switches one on, waits for it and then finds it erased.
SELECT c.card_id
FROM cards c
WHERE c.merchant_id = $1::integer AND c.card_id = ANY ($2::bigint[]) AND c.erased_at IS NULL
ORDER BY c.card_id
FOR UPDATE SKIP LOCKED;

-- erase_cards --
-- Leave nothing of cards but brand and digits; $3 is wall time.
UPDATE cards
SET fingerprint_odd = NULL, fingerprint_even = NULL, key_id = NULL, wrapped_key = NULL, ciphertext = NULL, erased_at = $3::timestamptz
WHERE merchant_id = $1::integer AND card_id = ANY ($2::bigint[])
RETURNING card_id;

-- details_due --
-- The next payments whose last change is not after $2 (business time), with how many of their operations still have what the
-- door echoes, where nothing is open, pending, in doubt or disputed, and no delivery of theirs waits.
SELECT p.payment_id,
       (SELECT count(*) FROM operations o
        WHERE o.merchant_id = p.merchant_id AND o.payment_id = p.payment_id AND o.details IS NOT NULL) AS operations
FROM payments p
WHERE p.merchant_id = $1::integer AND p.payment_id > $3::bigint AND p.changed_at <= $2::timestamptz
  AND p.unknown = 0 AND p.disputed = 0 AND p.authorized - p.captured - p.voided - p.expired <= 0
  AND p.pending_authorization + p.pending_increment + p.pending_decrement + p.pending_capture + p.pending_void + p.pending_refund = 0
  AND EXISTS (SELECT FROM operations o
              WHERE o.merchant_id = p.merchant_id AND o.payment_id = p.payment_id AND o.details IS NOT NULL)
  AND NOT EXISTS (SELECT FROM endpoints e JOIN deliveries d USING (merchant_id, endpoint_id)
                  WHERE e.merchant_id = p.merchant_id AND d.payment_id = p.payment_id AND d.state = 'waiting')
  AND NOT EXISTS (SELECT FROM disputes d WHERE d.merchant_id = p.merchant_id AND d.payment_id = p.payment_id
                    AND d.status NOT IN ('reported', 'won', 'lost', 'offer_accepted'))
ORDER BY p.payment_id
LIMIT $4::integer;

-- erase_details --
-- Forget what the door echoes of payments ($2) that nobody holds and that have not changed after $3 since they were chosen.
WITH held AS MATERIALIZED (
    SELECT p.payment_id FROM payments p
    WHERE p.merchant_id = $1::integer AND p.payment_id = ANY ($2::bigint[]) AND p.changed_at <= $3::timestamptz
    ORDER BY p.payment_id
    FOR UPDATE SKIP LOCKED)
UPDATE operations o SET details = NULL
FROM held h
WHERE o.merchant_id = $1::integer AND o.payment_id = h.payment_id AND o.details IS NOT NULL
RETURNING o.operation_id;

-- count_authentications --
-- How many authentications of payers still hold what identifies: cryptogram, the transaction's names at issuer and directory, hash of
-- the page's address, address to leave for.  Those of a payment (that they are for, or that used them) when it needs its card no
-- more ($2 the far instant, $3 the near one, business times, as for cards); one that no payment used from $3 behind its last instant on.
SELECT count(*)
FROM authentications a
LEFT JOIN payments p ON p.merchant_id = a.merchant_id AND p.payment_id = CASE WHEN a.payment_id > 0 THEN a.payment_id ELSE a.used_by END
WHERE a.merchant_id = $1::integer
  AND (a.ds_id <> '' OR a.acs_id NOT IN ('', 'erased') OR a.leave_url <> '' OR a.token_hash IS NOT NULL
       OR (a.cavv <> '' AND a.cavv NOT LIKE 'sha256:%'))
  AND CASE WHEN a.payment_id = 0 AND a.used_by IS NULL THEN a.expires_at <= $3::timestamptz ELSE
          p.status <> 'challenged' AND p.unknown = 0 AND p.disputed = 0 AND p.authorized - p.captured - p.voided - p.expired <= 0
          AND p.pending_authorization + p.pending_increment + p.pending_decrement + p.pending_capture + p.pending_void + p.pending_refund = 0
          AND p.changed_at <= $3::timestamptz AND (p.captured = 0 OR p.changed_at <= $2::timestamptz)
          AND NOT EXISTS (SELECT FROM reversals r WHERE r.merchant_id = p.merchant_id AND r.payment_id = p.payment_id AND r.acknowledged_at IS NULL)
      END;

-- erase_authentications --
-- Take it from the next of them, after $4, that nobody holds.  Who was authenticated, how and for how much stays.  Of a cryptogram that
-- a merchant was told a digest stays, so that one that was used is never taken for another's.
WITH batch AS MATERIALIZED (
    SELECT a.authentication_id
    FROM authentications a
    LEFT JOIN payments p ON p.merchant_id = a.merchant_id AND p.payment_id = CASE WHEN a.payment_id > 0 THEN a.payment_id ELSE a.used_by END
    WHERE a.merchant_id = $1::integer AND a.authentication_id > $4::bigint
    AND (a.ds_id <> '' OR a.acs_id NOT IN ('', 'erased') OR a.leave_url <> '' OR a.token_hash IS NOT NULL
         OR (a.cavv <> '' AND a.cavv NOT LIKE 'sha256:%'))
    AND CASE WHEN a.payment_id = 0 AND a.used_by IS NULL THEN a.expires_at <= $3::timestamptz ELSE
            p.status <> 'challenged' AND p.unknown = 0 AND p.disputed = 0 AND p.authorized - p.captured - p.voided - p.expired <= 0
            AND p.pending_authorization + p.pending_increment + p.pending_decrement + p.pending_capture + p.pending_void + p.pending_refund = 0
            AND p.changed_at <= $3::timestamptz AND (p.captured = 0 OR p.changed_at <= $2::timestamptz)
            AND NOT EXISTS (SELECT FROM reversals r WHERE r.merchant_id = p.merchant_id AND r.payment_id = p.payment_id AND r.acknowledged_at IS NULL)
        END
    ORDER BY a.authentication_id
    LIMIT $5::integer
    FOR UPDATE OF a SKIP LOCKED)
UPDATE authentications a
SET cavv = CASE WHEN a.payment_id > 0 OR a.cavv = '' THEN '' WHEN a.cavv LIKE 'sha256:%' THEN a.cavv
               ELSE 'sha256:' || encode(sha256(convert_to(a.cavv, 'UTF8')), 'hex') END,
    acs_id = CASE WHEN a.acs_id = '' THEN '' ELSE 'erased' END, ds_id = '', token_hash = NULL, leave_url = ''
FROM batch b
WHERE a.merchant_id = $1::integer AND a.authentication_id = b.authentication_id
RETURNING a.authentication_id;

-- authentications_of --
-- Those of one payment ($2) that still hold it.
SELECT a.authentication_id FROM authentications a
WHERE a.merchant_id = $1::integer AND (a.payment_id = $2::bigint OR (a.payment_id = 0 AND a.used_by = $2::bigint))
  AND (a.ds_id <> '' OR a.acs_id NOT IN ('', 'erased') OR a.leave_url <> '' OR a.token_hash IS NOT NULL
       OR (a.cavv <> '' AND a.cavv NOT LIKE 'sha256:%'))
ORDER BY a.authentication_id;

-- erase_authentications_of --
-- Take it from these ($2).
UPDATE authentications a
SET cavv = CASE WHEN a.payment_id > 0 OR a.cavv = '' THEN '' WHEN a.cavv LIKE 'sha256:%' THEN a.cavv
               ELSE 'sha256:' || encode(sha256(convert_to(a.cavv, 'UTF8')), 'hex') END,
    acs_id = CASE WHEN a.acs_id = '' THEN '' ELSE 'erased' END, ds_id = '', token_hash = NULL, leave_url = ''
WHERE a.merchant_id = $1::integer AND a.authentication_id = ANY ($2::bigint[])
RETURNING a.authentication_id;

-- count_holders --
-- How many tokens that are switched off and were made by $2 (business time) still have their holder's name.
SELECT count(*) FROM tokens
WHERE merchant_id = $1::integer AND NOT active AND holder <> '' AND created_at <= $2::timestamptz;

-- erase_holders --
-- Take the names from the next of them that nobody holds.
WITH batch AS MATERIALIZED (
    SELECT token_name FROM tokens
    WHERE merchant_id = $1::integer AND NOT active AND holder <> '' AND created_at <= $2::timestamptz
    ORDER BY token_name
    LIMIT $3::integer
    FOR UPDATE SKIP LOCKED)
UPDATE tokens t SET holder = '', version = t.version + 1
FROM batch b
WHERE t.merchant_id = $1::integer AND t.token_name = b.token_name
RETURNING t.token_name;

-- count_plans --
-- How many plans that have ended or stopped, and have not changed after $2 (business time), still know their customer.
SELECT count(*) FROM plans
WHERE merchant_id = $1::integer AND status IN ('ended', 'stopped') AND email <> '' AND changed_at <= $2::timestamptz;

-- erase_plans --
-- Forget the customer of the next of them that nobody holds.
WITH batch AS MATERIALIZED (
    SELECT number FROM plans
    WHERE merchant_id = $1::integer AND status IN ('ended', 'stopped') AND email <> '' AND changed_at <= $2::timestamptz
    ORDER BY number
    LIMIT $3::integer
    FOR UPDATE SKIP LOCKED)
UPDATE plans p SET email = '', description = ''
FROM batch b
WHERE p.merchant_id = $1::integer AND p.number = b.number
RETURNING p.number;

-- count_deliveries --
-- Deliveries that ended by $2 (business time) and still have their body or their log; of one payment ($3) or of all (0).
SELECT count(*) FROM deliveries d
WHERE d.merchant_id = $1::integer AND d.created_at <= $2::timestamptz AND d.state <> 'waiting' AND d.ended_at <= $2::timestamptz
  AND ($3::bigint = 0 OR d.payment_id = $3)
  AND (d.body IS NOT NULL OR EXISTS (
       SELECT FROM delivery_attempts a
       WHERE a.merchant_id = d.merchant_id AND a.endpoint_id = d.endpoint_id AND a.payment_id = d.payment_id AND a.sequence = d.sequence));

-- erase_deliveries --
-- Take body and log from the next of them that nobody holds.
WITH batch AS MATERIALIZED (
    SELECT d.endpoint_id, d.payment_id, d.sequence FROM deliveries d
    WHERE d.merchant_id = $1::integer AND d.created_at <= $2::timestamptz AND d.state <> 'waiting' AND d.ended_at <= $2::timestamptz
      AND ($3::bigint = 0 OR d.payment_id = $3)
      AND (d.body IS NOT NULL OR EXISTS (
           SELECT FROM delivery_attempts a
           WHERE a.merchant_id = d.merchant_id AND a.endpoint_id = d.endpoint_id AND a.payment_id = d.payment_id AND a.sequence = d.sequence))
    ORDER BY d.endpoint_id, d.payment_id, d.sequence
    LIMIT $4::integer
    FOR UPDATE SKIP LOCKED
), log AS (
    DELETE FROM delivery_attempts a USING batch b
    WHERE a.merchant_id = $1::integer AND a.endpoint_id = b.endpoint_id AND a.payment_id = b.payment_id AND a.sequence = b.sequence)
UPDATE deliveries d SET body = NULL
FROM batch b
WHERE d.merchant_id = $1::integer AND d.endpoint_id = b.endpoint_id AND d.payment_id = b.payment_id AND d.sequence = b.sequence
RETURNING d.sequence;

-- count_sdk_tokens --
-- How many tokens of devices ended by $2 (business time).
SELECT count(*) FROM sdk_tokens WHERE merchant_id = $1::integer AND expires_at <= $2::timestamptz;

-- erase_sdk_tokens --
-- Forget the next of them.
DELETE FROM sdk_tokens s
WHERE s.merchant_id = $1::integer AND s.sdk_token IN (
    SELECT t.sdk_token FROM sdk_tokens t
    WHERE t.merchant_id = $1::integer AND t.expires_at <= $2::timestamptz
    ORDER BY t.sdk_token
    LIMIT $3::integer
    FOR UPDATE SKIP LOCKED)
RETURNING s.sdk_token;

-- count_reports --
-- How many reports ended by $2 (business time).
SELECT count(*) FROM reports
WHERE merchant_id = $1::integer AND state NOT IN ('waiting', 'erased') AND ended_at <= $2::timestamptz;

-- erase_reports --
-- Take the rows and the filters from the next of them; the reference stays, so that it names no other.
WITH batch AS MATERIALIZED (
    SELECT reference, report_id FROM reports
    WHERE merchant_id = $1::integer AND state NOT IN ('waiting', 'erased') AND ended_at <= $2::timestamptz
    ORDER BY report_id
    LIMIT $3::integer
    FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM report_chunks c USING batch b WHERE c.merchant_id = $1::integer AND c.report_id = b.report_id)
UPDATE reports r SET state = 'erased', columns = '{}', filters = '{}', rows = 0, chunks = 0
FROM batch b
WHERE r.merchant_id = $1::integer AND r.reference = b.reference
RETURNING r.report_id;

-- payments_named --
-- The payments that a name means: an id ($1, null where the name is none) or the key of a first operation ($2); of one merchant
-- ($3) or any.
SELECT m.merchant_id, m.identifier, o.payment_id
FROM merchants m
CROSS JOIN LATERAL (
    SELECT a.payment_id FROM operations a
    WHERE a.merchant_id = m.merchant_id AND a.payment_id = $1::bigint AND a.operation_id = $1::bigint
    UNION
    SELECT b.payment_id FROM operations b
    WHERE b.merchant_id = m.merchant_id AND b.key = ANY ($2::text[]) AND b.key IS NOT NULL AND b.operation_id = b.payment_id) o
WHERE $3::text IS NULL OR m.identifier = $3
ORDER BY m.merchant_id, o.payment_id
LIMIT 20;

-- deliveries_waiting --
-- How many deliveries of a payment wait.
SELECT count(*) FROM endpoints e JOIN deliveries d USING (merchant_id, endpoint_id)
WHERE e.merchant_id = $1::integer AND d.payment_id = $2::bigint AND d.state = 'waiting';

-- events_to_tell --
-- How many events of a payment were not handed to deliveries yet; whoever words them needs what the door echoes.
SELECT count(*)
FROM events e JOIN batches b USING (batch_id) LEFT JOIN follows f USING (lane)
WHERE e.merchant_id = $1::integer AND e.payment_id = $2::bigint AND b.number > coalesce(f.number, 0);

-- disputes_open --
-- How many disputes about a payment have not ended.
SELECT count(*) FROM disputes
WHERE merchant_id = $1::integer AND payment_id = $2::bigint AND status NOT IN ('reported', 'won', 'lost', 'offer_accepted');

-- count_evidence --
-- How many disputes that ended, and have not changed after $2 (business time), still have evidence or messages; of one payment ($3) or of
-- all (0).
SELECT count(*) FROM disputes d
WHERE d.merchant_id = $1::integer AND ($3::bigint = 0 OR d.payment_id = $3) AND d.status IN ('won', 'lost', 'offer_accepted') AND d.changed_at <= $2::timestamptz
  AND (EXISTS (SELECT FROM dispute_files f WHERE f.merchant_id = d.merchant_id AND f.dispute_id = d.dispute_id)
       OR EXISTS (SELECT FROM dispute_messages m WHERE m.merchant_id = d.merchant_id AND m.dispute_id = d.dispute_id));

-- erase_evidence --
-- Forget what was said and shown about the next of them that nobody holds.
WITH batch AS MATERIALIZED (
    SELECT d.dispute_id FROM disputes d
    WHERE d.merchant_id = $1::integer AND ($4::bigint = 0 OR d.payment_id = $4) AND d.status IN ('won', 'lost', 'offer_accepted') AND d.changed_at <= $2::timestamptz
      AND (EXISTS (SELECT FROM dispute_files f WHERE f.merchant_id = d.merchant_id AND f.dispute_id = d.dispute_id)
           OR EXISTS (SELECT FROM dispute_messages m WHERE m.merchant_id = d.merchant_id AND m.dispute_id = d.dispute_id))
    ORDER BY d.dispute_id
    LIMIT $3::integer
    FOR UPDATE SKIP LOCKED
), files AS (
    DELETE FROM dispute_files f USING batch b WHERE f.merchant_id = $1::integer AND f.dispute_id = b.dispute_id
), messages AS (
    DELETE FROM dispute_messages m USING batch b WHERE m.merchant_id = $1::integer AND m.dispute_id = b.dispute_id
), answers AS (
    UPDATE dispute_answers a SET message = '' FROM batch b WHERE a.merchant_id = $1::integer AND a.dispute_id = b.dispute_id)
SELECT dispute_id FROM batch;

-- reversals_owed --
-- How many reversals of a payment nobody has acknowledged.
SELECT count(*) FROM reversals WHERE merchant_id = $1::integer AND payment_id = $2::bigint AND acknowledged_at IS NULL;

-- cards_of --
-- The cards of a payment that something is left of.
SELECT DISTINCT c.card_id
FROM operations o JOIN cards c USING (merchant_id, card_id)
WHERE o.merchant_id = $1::integer AND o.payment_id = $2::bigint AND c.erased_at IS NULL
ORDER BY c.card_id;

-- done_until --
-- The business day up to which erasure was done; null before its first.
SELECT done_until FROM sweeps WHERE job = $1::text;

-- note_done --
-- Remember it; it never goes back.
INSERT INTO sweeps AS s (job, done_until) VALUES ($1::text, $2::timestamptz)
ON CONFLICT (job) DO UPDATE SET done_until = greatest(s.done_until, excluded.done_until);
