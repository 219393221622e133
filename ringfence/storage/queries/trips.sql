-- Stores, the trips through them, and the payments of those.

-- put_store --
-- Make a store, or change it.
INSERT INTO stores (merchant_id, store, title, currency, hold, least, address, merchant_shown, terminals, changed_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (merchant_id, store) DO UPDATE SET
    title = excluded.title, currency = excluded.currency, hold = excluded.hold, least = excluded.least, address = excluded.address,
    merchant_shown = excluded.merchant_shown, terminals = excluded.terminals, changed_at = excluded.changed_at;

-- store --
-- A store.
SELECT merchant_id, store, title, currency, hold, least, address, merchant_shown, terminals
FROM stores WHERE merchant_id = $1 AND store = $2;

-- stores --
-- A merchant's stores, by name.
SELECT merchant_id, store, title, currency, hold, least, address, merchant_shown, terminals
FROM stores WHERE merchant_id = $1 ORDER BY store;

-- make --
-- Begin a trip; nothing comes back where its store has one of that name.
INSERT INTO trips (
    merchant_id, store, name, number, payment_id, holds, card_id, shopper, company, people, card_read, currency, hold, started_at, expires_at,
    never_expires, refused, level, level_behind, cancelled_at, ended_at, alarms, alarm_at, actor)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24)
ON CONFLICT (merchant_id, store, name) DO NOTHING
RETURNING number;

-- together --
-- Trips by their stores and names.  Places as asked.
SELECT w.place, t.merchant_id, t.store, t.name, t.number, t.payment_id, t.holds, t.card_id, t.shopper, t.company, t.people, t.card_read,
       t.currency, t.hold, t.started_at, t.expires_at, t.never_expires, t.refused, t.level, t.level_behind, t.cancelled_at, t.ended_at,
       t.alarms, t.alarm_at, t.actor
FROM unnest($1::integer[], $2::text[], $3::text[]) WITH ORDINALITY AS w (merchant_id, store, name, place)
JOIN trips t ON t.merchant_id = w.merchant_id AND t.store = w.store AND t.name = w.name;

-- named --
-- A merchant's trips of a name, in whichever store, the newest first.
SELECT merchant_id, store, name, number, payment_id, holds, card_id, shopper, company, people, card_read, currency, hold, started_at, expires_at,
       never_expires, refused, level, level_behind, cancelled_at, ended_at, alarms, alarm_at, actor
FROM trips WHERE merchant_id = $1 AND name = $2 ORDER BY number DESC;

-- numbered --
-- A trip by its number.
SELECT merchant_id, store, name, number, payment_id, holds, card_id, shopper, company, people, card_read, currency, hold, started_at, expires_at,
       never_expires, refused, level, level_behind, cancelled_at, ended_at, alarms, alarm_at, actor
FROM trips WHERE merchant_id = $1 AND number = $2;

-- of_payment --
-- The trip that a payment is, or was, of.
SELECT t.merchant_id, t.store, t.name, t.number, t.payment_id, t.holds, t.card_id, t.shopper, t.company, t.people, t.card_read, t.currency, t.hold,
       t.started_at, t.expires_at, t.never_expires, t.refused, t.level, t.level_behind, t.cancelled_at, t.ended_at, t.alarms, t.alarm_at, t.actor
FROM trip_payments p JOIN trips t USING (merchant_id, number)
WHERE p.merchant_id = $1 AND p.payment_id = $2;

-- listed --
-- Trips that began from $2 until before $3, those of store $4 only unless it is empty, behind one of them, oldest first.
SELECT merchant_id, store, name, number, payment_id, holds, card_id, shopper, company, people, card_read, currency, hold, started_at, expires_at,
       never_expires, refused, level, level_behind, cancelled_at, ended_at, alarms, alarm_at, actor
FROM trips
WHERE merchant_id = $1 AND started_at >= $2 AND started_at < $3 AND ($4 = '' OR store = $4) AND number > $5
ORDER BY number LIMIT $6;

-- pay --
-- Note a payment of a trip.
INSERT INTO trip_payments (merchant_id, payment_id, number) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING;

-- adopt --
-- Give a trip its next payment, where it has had $4 so far.
UPDATE trips SET payment_id = $3, holds = holds + 1, level = NULL, level_behind = 0
WHERE merchant_id = $1 AND number = $2 AND holds = $4
RETURNING number;

-- renew --
-- A trip begins anew, with another payment.
UPDATE trips SET
    payment_id = $3, holds = holds + 1, card_read = $4, started_at = $5, expires_at = $6, hold = $7, refused = $8, level = NULL,
    level_behind = 0, cancelled_at = NULL, ended_at = NULL, alarms = 0, alarm_at = $9, currency = $10, card_id = $11
WHERE merchant_id = $1 AND number = $2 AND holds = $12
RETURNING number;

-- settle --
-- What came of the entry: why the gate stayed shut, '' where it opened; what the reader recorded; and when to look whether it is charged.
UPDATE trips SET refused = $3, card_read = $4, alarm_at = $5 WHERE merchant_id = $1 AND number = $2;

-- wait --
-- A merchant's trips that never expire begin anew when somebody next asks for them; only one of that number, unless $2 is 0.
UPDATE trips SET refused = $3 WHERE merchant_id = $1 AND never_expires AND ($2::bigint = 0 OR number = $2)
RETURNING number;

-- leave --
-- The shopper left; the first instant stays.
UPDATE trips SET ended_at = coalesce(ended_at, $3) WHERE merchant_id = $1 AND number = $2
RETURNING ended_at;

-- note_level --
-- An adjust that nobody had to be asked for.
UPDATE trips SET level = $3, level_behind = $4 WHERE merchant_id = $1 AND number = $2;

-- give_up --
-- Nothing was held, and nothing will be.
UPDATE trips SET cancelled_at = $3 WHERE merchant_id = $1 AND number = $2 AND cancelled_at IS NULL;

-- waiting --
-- Which of these merchants ($1) have a trip whose alarm is due at $2, or a capture that clearing refused behind $3 and nobody has heard of.
SELECT m.merchant_id FROM unnest($1::integer[]) AS m (merchant_id)
WHERE EXISTS (SELECT FROM trips t WHERE t.merchant_id = m.merchant_id AND t.alarm_at <= $2::timestamptz)
   OR EXISTS (SELECT FROM notices n JOIN trip_payments p USING (merchant_id, payment_id)
              WHERE n.merchant_id = m.merchant_id AND n.noticed = 'capture_rejected' AND n.noticed_at > $3::timestamptz AND p.rejected_at IS NULL)
ORDER BY m.merchant_id;

-- alarming --
-- The next trips whose alarm is due, each locked by whoever raises it.
SELECT merchant_id, store, name, number, payment_id, holds, card_id, shopper, company, people, card_read, currency, hold, started_at, expires_at,
       never_expires, refused, level, level_behind, cancelled_at, ended_at, alarms, alarm_at, actor
FROM trips WHERE merchant_id = $1 AND alarm_at <= $2
ORDER BY alarm_at, number LIMIT $3
FOR UPDATE SKIP LOCKED;

-- alarmed --
-- So many alarms were raised, and when the next one is due.
UPDATE trips SET alarms = $3, alarm_at = $4 WHERE merchant_id = $1 AND number = $2;

-- rejected --
-- Captures of trips that clearing refused behind an instant, and nobody has heard of: the payment and its trip.
SELECT p.payment_id, p.number
FROM notices n JOIN trip_payments p USING (merchant_id, payment_id)
WHERE n.merchant_id = $1 AND n.noticed = 'capture_rejected' AND n.noticed_at > $2 AND p.rejected_at IS NULL
ORDER BY n.noticed_at, p.payment_id LIMIT $3;

-- note_rejected --
-- Somebody has.
UPDATE trip_payments SET rejected_at = $3 WHERE merchant_id = $1 AND payment_id = $2 AND rejected_at IS NULL
RETURNING number;

-- happened --
-- What was told of trips behind an instant (business time), those of trip $3 only unless it is 0, oldest first.
SELECT subject_id, sequence, type, data, occurred_at FROM door_events
WHERE merchant_id = $1 AND door = 'jwo' AND kind = 'trip' AND data IS NOT NULL AND occurred_at > $2 AND ($3::bigint = 0 OR subject_id = $3)
ORDER BY occurred_at, subject_id, sequence LIMIT $4;

-- count_personal --
-- How many trips of a merchant that ended by $2 (business time) still say who came, or until when his card was good.
SELECT count(*) FROM trips
WHERE merchant_id = $1::integer AND NOT never_expires AND expires_at <= $2::timestamptz
  AND (shopper <> '' OR company <> '' OR convert_from(card_read, 'UTF8')::jsonb ->> 'expiry' <> '');

-- erase_personal --
-- Forget that of the next $3 that nobody holds; what the reader recorded beside stays, as receipts need it.
WITH batch AS MATERIALIZED (
    SELECT number FROM trips
    WHERE merchant_id = $1::integer AND NOT never_expires AND expires_at <= $2::timestamptz
      AND (shopper <> '' OR company <> '' OR convert_from(card_read, 'UTF8')::jsonb ->> 'expiry' <> '')
    ORDER BY number
    LIMIT $3::integer
    FOR UPDATE SKIP LOCKED)
UPDATE trips t
SET shopper = '', company = '', card_read = convert_to((convert_from(t.card_read, 'UTF8')::jsonb - 'expiry')::text, 'UTF8')
FROM batch b
WHERE t.merchant_id = $1::integer AND t.number = b.number
RETURNING t.number;
