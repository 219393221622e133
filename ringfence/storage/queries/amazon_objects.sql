-- Which of Amazon Pay's objects belongs to which message of ours.  Every row is merchant, key, payment, operation, kind, minor, session,
-- permission, charge, refund, holds, undone, state, begun_at.

-- begin --
-- A message that is about to be asked; nothing is returned where one is stored under its key, or for its session.
INSERT INTO amazon_objects VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
ON CONFLICT DO NOTHING
RETURNING *;

-- stored --
-- What is stored under a key, else for a session.
SELECT * FROM amazon_objects
WHERE merchant_id = $1 AND (key = $2 OR $3 <> '' AND session_id = $3)
ORDER BY key = $2 DESC LIMIT 1;

-- know --
-- What is known of a message now: ids that are not empty, its state, and that it is undone, which stays.
UPDATE amazon_objects
SET session_id = coalesce(nullif($3, ''), session_id), permission_id = coalesce(nullif($4, ''), permission_id),
    charge_id = coalesce(nullif($5, ''), charge_id), refund_id = coalesce(nullif($6, ''), refund_id),
    undone = undone OR $7, state = $8
WHERE merchant_id = $1 AND key = $2;

-- take --
-- Begin a capture or cancellation of the payment's oldest charge that holds, and that no other message has taken; nothing is returned where
-- none holds, or another was quicker.
INSERT INTO amazon_objects
SELECT $1, $2, $3, $4, $5, $6, '', h.permission_id, h.charge_id, '', false, false, '', $7
FROM amazon_objects h
WHERE h.merchant_id = $1 AND h.payment_id = $3 AND h.holds AND NOT h.undone AND h.charge_id <> ''
  AND NOT EXISTS (SELECT FROM amazon_objects t
                  WHERE t.merchant_id = h.merchant_id AND t.charge_id = h.charge_id AND t.kind IN ('capture', 'cancel'))
ORDER BY h.operation_id LIMIT 1
ON CONFLICT DO NOTHING
RETURNING *;

-- holding --
-- Whether a charge of the payment holds that no message has taken.
SELECT EXISTS (
    SELECT FROM amazon_objects h
    WHERE h.merchant_id = $1 AND h.payment_id = $2 AND h.holds AND NOT h.undone AND h.charge_id <> ''
      AND NOT EXISTS (SELECT FROM amazon_objects t
                      WHERE t.merchant_id = h.merchant_id AND t.charge_id = h.charge_id AND t.kind IN ('capture', 'cancel')));

-- release --
-- Forget a message that certainly was never carried out.
DELETE FROM amazon_objects WHERE merchant_id = $1 AND key = $2 AND NOT undone;

-- of_payment --
-- Everything of a payment, the oldest first.
SELECT * FROM amazon_objects WHERE merchant_id = $1 AND payment_id = $2 ORDER BY operation_id, key;

-- named --
-- The messages about the session, charge, refund or permission of this name.
SELECT * FROM amazon_objects WHERE merchant_id = $1 AND session_id = $2 AND $2 <> ''
UNION SELECT * FROM amazon_objects WHERE merchant_id = $1 AND charge_id = $2 AND charge_id <> ''
UNION SELECT * FROM amazon_objects WHERE merchant_id = $1 AND refund_id = $2 AND refund_id <> ''
UNION SELECT * FROM amazon_objects WHERE merchant_id = $1 AND permission_id = $2 AND permission_id <> ''
ORDER BY operation_id, key;

-- notified --
-- Take a notification in; nothing is returned where it was before.
INSERT INTO amazon_notifications VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING true;

-- forget_notification --
-- It could not be worked off: whoever sends it again is heard.
DELETE FROM amazon_notifications WHERE merchant_id = $1 AND notification_id = $2;

-- sweep_notifications --
-- Drop some of a merchant's notifications that were taken in before an instant.
DELETE FROM amazon_notifications WHERE (merchant_id, notification_id) IN (
    SELECT merchant_id, notification_id FROM amazon_notifications WHERE merchant_id = $1 AND received_at < $2 ORDER BY received_at LIMIT $3)
RETURNING notification_id;
