-- Disputes, what was said about them, and what they moved.

-- origin --
-- How a payment began, where it has begun: what a case about it needs to know.
SELECT o.currency, o.door, o.reference, coalesce(c.brand, '') AS brand
FROM operations o LEFT JOIN cards c USING (merchant_id, card_id)
WHERE o.merchant_id = $1::integer AND o.payment_id = $2::bigint AND o.operation_id = $2::bigint;

-- captured --
-- What was captured of a payment, oldest first.
SELECT o.operation_id, x.minor, o.currency, o.processor
FROM operations o JOIN outcomes x USING (merchant_id, payment_id, operation_id)
WHERE o.merchant_id = $1::integer AND o.payment_id = $2::bigint AND o.kind IN ('capture', 'purchase') AND x.result = 'approved'
ORDER BY o.operation_id;

-- open_case --
-- Make the row of a case, unless it is there.
INSERT INTO disputes VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26)
ON CONFLICT (merchant_id, processor, case_name) DO NOTHING;

-- lock_case --
-- A case by its processor's name for it, held until the commit: what is decided about it is decided here.
SELECT * FROM disputes WHERE merchant_id = $1::integer AND processor = $2::text AND case_name = $3::text FOR UPDATE;

-- lock_one --
-- A case by its id, held until the commit.
SELECT * FROM disputes WHERE merchant_id = $1::integer AND dispute_id = $2::bigint FOR UPDATE;

-- one --
-- A case by its id.
SELECT * FROM disputes WHERE merchant_id = $1::integer AND dispute_id = $2::bigint;

-- named --
-- A case by its processor's name for it.
SELECT * FROM disputes WHERE merchant_id = $1::integer AND processor = $2::text AND case_name = $3::text;

-- of_payment --
-- The cases about a payment, in the order they came.
SELECT * FROM disputes WHERE merchant_id = $1::integer AND payment_id = $2::bigint ORDER BY dispute_id;

-- by_id --
-- A case by its id alone, of whatever merchant.
SELECT d.* FROM merchants m JOIN disputes d USING (merchant_id) WHERE d.dispute_id = $1::bigint;

-- listed --
-- Cases of one merchant ($1) or all, only those that have not ended ($2), the latest first, at most $3.
SELECT * FROM disputes d
WHERE ($1::integer IS NULL OR d.merchant_id = $1) AND (NOT $2::boolean OR d.status NOT IN ('won', 'lost', 'offer_accepted'))
ORDER BY d.opened_at DESC, d.dispute_id DESC LIMIT $3::integer;

-- opened_between --
-- Cases of a merchant that were opened from $2 (included) to $3 (not), at most $4.
SELECT * FROM disputes
WHERE merchant_id = $1::integer AND opened_at >= $2::timestamptz AND opened_at < $3::timestamptz
ORDER BY opened_at, dispute_id LIMIT $4::integer;

-- save --
-- Store what has changed of a case that is held.
UPDATE disputes
SET minor = $3, phase = $4, status = $5, due_at = $6, round = $7, offered = $8, heard = $9, taken = $10, returned = $11, lost = $12,
    closing = $13, closing_note = $14, changed_at = $15
WHERE merchant_id = $1::integer AND dispute_id = $2::bigint;

-- hear --
-- Keep a notice; nothing is returned where it was kept before.
INSERT INTO dispute_notices VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING RETURNING number;

-- heard --
-- The notices behind one number, in their order.
SELECT number, said, minor, phase, due_at, note, heard_at FROM dispute_notices
WHERE merchant_id = $1::integer AND dispute_id = $2::bigint AND number > $3::integer ORDER BY number;

-- answer --
-- Keep an answer.
INSERT INTO dispute_answers VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, NULL);

-- answers --
-- What was answered, in order.
SELECT round, action, minor, resolution, message, actor, asked_at, sent_at FROM dispute_answers
WHERE merchant_id = $1::integer AND dispute_id = $2::bigint ORDER BY round;

-- note_sent --
-- The processor has an answer, and the evidence that was there.
WITH files AS (
    UPDATE dispute_files SET synced = true WHERE merchant_id = $1::integer AND dispute_id = $2::bigint AND added_at <= $4::timestamptz AND NOT synced)
UPDATE dispute_answers SET sent_at = $4::timestamptz
WHERE merchant_id = $1::integer AND dispute_id = $2::bigint AND round = $3::integer;

-- write --
-- Keep a message.
INSERT INTO dispute_messages VALUES ($1, $2, $3, $4, $5, $6, $7);

-- messages --
-- What was written, in order.
SELECT message_id, sender, phase, content, written_at FROM dispute_messages
WHERE merchant_id = $1::integer AND dispute_id = $2::bigint ORDER BY message_id;

-- attach --
-- Keep a file, sealed.
INSERT INTO dispute_files (merchant_id, dispute_id, file_id, name, content_type, bytes, phase, sender, added_at, wrapped_key, content)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11);

-- files --
-- The files of a case, without what is in them.
SELECT file_id, name, content_type, bytes, phase, sender, synced, added_at FROM dispute_files
WHERE merchant_id = $1::integer AND dispute_id = $2::bigint ORDER BY file_id;

-- file --
-- One file, sealed.
SELECT name, content_type, wrapped_key, content FROM dispute_files
WHERE merchant_id = $1::integer AND dispute_id = $2::bigint AND file_id = $3::bigint;

-- not_sealed --
-- A file that was stored before files were sealed.
SELECT merchant_id, dispute_id, file_id, content FROM dispute_files WHERE wrapped_key = '' LIMIT 1;

-- seal --
-- Store it sealed, unless somebody else has.
UPDATE dispute_files SET wrapped_key = $4::bytea, content = $5::bytea
WHERE merchant_id = $1::integer AND dispute_id = $2::bigint AND file_id = $3::bigint AND wrapped_key = '';

-- book --
-- Keep what is to be booked, behind what is there already.
INSERT INTO dispute_bookings
SELECT $1::integer, $2::bigint, coalesce((SELECT max(b.place) FROM dispute_bookings b WHERE b.merchant_id = $1 AND b.dispute_id = $2), 0) + 1,
       $3::bigint, $4::bigint, $5::text, $6::bigint, $7::timestamptz, NULL;

-- bookings --
-- What cases moved, in order: of one case ($2), of one payment ($3), or the one of an id ($4); null leaves a condition out.
SELECT b.booking_id, b.dispute_id, b.payment_id, b.place, b.noticed, b.minor, b.made_at, b.booked_at, d.currency, d.reason, d.reason_code
FROM dispute_bookings b JOIN disputes d USING (merchant_id, dispute_id)
WHERE b.merchant_id = $1::integer AND ($2::bigint IS NULL OR b.dispute_id = $2) AND ($3::bigint IS NULL OR b.payment_id = $3)
  AND ($4::bigint IS NULL OR b.booking_id = $4)
ORDER BY b.dispute_id, b.place;

-- unbooked --
-- What of a case is not on its payment yet, in order.
SELECT place, noticed, minor FROM dispute_bookings
WHERE merchant_id = $1::integer AND dispute_id = $2::bigint AND booked_at IS NULL ORDER BY place;

-- note_booked --
-- It is.
UPDATE dispute_bookings SET booked_at = $4::timestamptz
WHERE merchant_id = $1::integer AND dispute_id = $2::bigint AND place = $3::integer AND booked_at IS NULL;

-- tell --
-- Keep what a merchant is to be told.
INSERT INTO dispute_events VALUES ($1, $2, $3, $4, $5, $6, $7);

-- events --
-- What was told of a case or a report, in order.
SELECT event_id, event, payload, occurred_at FROM dispute_events
WHERE merchant_id = $1::integer AND subject = $2::bigint ORDER BY event_id;

-- ask_report --
-- Keep a report that is asked for.
INSERT INTO dispute_reports (merchant_id, report_id, since, until, webhook_url, state, asked_at, changed_at)
VALUES ($1, $2, $3, $4, $5, 'pending', $6, $6);

-- report --
-- A report, without its rows.
SELECT report_id, since, until, webhook_url, state, rows, coalesce(octet_length(content), 0) AS bytes, asked_at, changed_at, expires_at
FROM dispute_reports WHERE merchant_id = $1::integer AND report_id = $2::bigint;

-- lock_report --
-- The same, held until the commit.
SELECT report_id, since, until, webhook_url, state, rows, coalesce(octet_length(content), 0) AS bytes, asked_at, changed_at, expires_at
FROM dispute_reports WHERE merchant_id = $1::integer AND report_id = $2::bigint FOR UPDATE;

-- reports_waiting --
-- How many reports of a merchant wait to be made.
SELECT count(*) FROM dispute_reports WHERE merchant_id = $1::integer AND state = 'pending';

-- report_content --
-- The rows of one that is ready, of a merchant, or (null) of any.
SELECT r.content FROM merchants m JOIN dispute_reports r USING (merchant_id)
WHERE ($1::integer IS NULL OR m.merchant_id = $1) AND r.report_id = $2::bigint AND r.state = 'processed';

-- end_report --
-- How it ended, and until when it is kept.
UPDATE dispute_reports SET state = $3::text, rows = $4::integer, content = $5::bytea, changed_at = $6::timestamptz, expires_at = $7::timestamptz
WHERE merchant_id = $1::integer AND report_id = $2::bigint;

-- funds --
-- Captures and refunds of a payment with an end, oldest first: whether what they moved was settled, was rejected by clearing, or came back.
SELECT o.operation_id, o.kind, o.reference, x.minor,
       EXISTS (SELECT FROM transfers t JOIN transfer_kinds k USING (kind)
               WHERE t.merchant_id = o.merchant_id AND t.payment_id = o.payment_id AND t.operation_id = o.operation_id
                 AND k.name IN ('settle_in', 'settle_out')) AS is_settled,
       EXISTS (SELECT FROM notices n WHERE n.merchant_id = o.merchant_id AND n.payment_id = o.payment_id
                 AND n.noticed = 'capture_rejected' AND n.capture_id IN (o.operation_id, 0)) AS is_rejected,
       EXISTS (SELECT FROM notices n WHERE n.merchant_id = o.merchant_id AND n.payment_id = o.payment_id
                 AND n.noticed = 'refund_returned' AND n.identity LIKE '%:' || o.operation_id) AS came_back
FROM operations o JOIN outcomes x USING (merchant_id, payment_id, operation_id)
WHERE o.merchant_id = $1::integer AND o.payment_id = $2::bigint AND o.kind IN ('purchase', 'capture', 'refund') AND x.result = 'approved'
ORDER BY o.operation_id;
