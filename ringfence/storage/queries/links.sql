-- Payment links, and what is sent about them.  Instants are business time.

-- create --
-- Make links; one whose reference names a link already, or whose key an order has used, is not returned.
INSERT INTO links (merchant_id, link_id, reference, order_key, command, minor, currency, language, access_code, email, phone, name,
                   description, payment_option, return_url, media, expires_at, created_at, created_by)
SELECT $1::integer, r.link_id, r.reference, r.order_key, r.command, r.minor, r.currency, r.language, r.access_code, r.email, r.phone, r.name,
       r.description, r.payment_option, r.return_url, string_to_array(r.media, ','), r.expires_at, $2::timestamptz, r.created_by
FROM unnest($3::bigint[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[],
            $13::text[], $14::text[], $15::text[], $16::text[], $17::text[], $18::timestamptz[], $19::text[])
     AS r (link_id, reference, order_key, command, minor, currency, language, access_code, email, phone, name, description, payment_option,
           return_url, media, expires_at, created_by)
WHERE NOT EXISTS (SELECT FROM operations o WHERE o.merchant_id = $1::integer AND o.key = r.order_key)
ORDER BY r.reference
ON CONFLICT DO NOTHING
RETURNING link_id;

-- find --
-- Links by their numbers ($2) or references ($3), each with what the payments of its order amount to: of the order's key and of
-- the keys of its further tries, up to $4 of them, how many were tried, and the one that was approved or is in doubt.
SELECT l.merchant_id, l.link_id, l.reference, l.order_key, l.command, l.minor, l.currency, l.language, l.access_code, l.email, l.phone, l.name,
       l.description, l.payment_option, l.return_url, l.media, l.expires_at, l.created_at, l.created_by, l.cancelled_at, l.holder,
       l.held_until, l.paid_at, l.payment_id, coalesce(p.tries, 0)::integer AS tries, p.approved, p.approved_at, p.doubtful
FROM links l
LEFT JOIN LATERAL (
    SELECT count(*) AS tries,
           min(o.payment_id) FILTER (WHERE p.status IN ('authorized', 'captured', 'voided')) AS approved,
           min(o.asked_at) FILTER (WHERE p.status IN ('authorized', 'captured', 'voided')) AS approved_at,
           min(o.payment_id) FILTER (WHERE p.status IS NULL OR p.status NOT IN ('authorized', 'captured', 'voided', 'declined')) AS doubtful
    FROM operations o
    LEFT JOIN payments p ON p.merchant_id = o.merchant_id AND p.payment_id = o.payment_id
    WHERE o.merchant_id = l.merchant_id
      AND o.key IN (SELECT l.order_key UNION ALL SELECT l.order_key || '#' || k FROM generate_series(2, $4::integer) AS s (k))
) p ON l.paid_at IS NULL
WHERE l.merchant_id = $1 AND (l.link_id = ANY($2::bigint[]) OR l.reference = ANY($3::text[]));

-- page --
-- Whose links are the newest below $2, of these merchants ($1), the newest first.
SELECT p.merchant_id, p.link_id FROM unnest($1::integer[]) AS m (merchant_id)
CROSS JOIN LATERAL (
    SELECT l.merchant_id, l.link_id FROM links l
    WHERE l.merchant_id = m.merchant_id AND l.link_id < $2 ORDER BY l.link_id DESC LIMIT $3) p
ORDER BY p.link_id DESC LIMIT $3;

-- place --
-- The merchant of a link, by its number alone: for operators, merchant by merchant.
SELECT l.merchant_id FROM merchants m JOIN links l ON l.merchant_id = m.merchant_id AND l.link_id = $1 LIMIT 1;

-- hold --
-- Hold a link until the transaction ends.
SELECT true FROM links WHERE merchant_id = $1 AND link_id = $2 FOR UPDATE;

-- change --
-- Change what may change of a link.
UPDATE links SET command = $3, minor = $4, currency = $5, language = $6, access_code = $7, email = $8, phone = $9, name = $10,
       description = $11, payment_option = $12, return_url = $13, media = $14::text[], expires_at = $15
WHERE merchant_id = $1 AND link_id = $2;

-- open --
-- Note who has a link open, and until when.
UPDATE links SET holder = $3, held_until = $4 WHERE merchant_id = $1 AND link_id = $2;

-- leave --
-- Forget who has a link open, unless another has it by now.
UPDATE links SET holder = '', held_until = NULL WHERE merchant_id = $1 AND link_id = $2 AND holder = $3;

-- give_back --
-- Forget who has a link open, whoever that is.
UPDATE links SET holder = '', held_until = NULL WHERE merchant_id = $1 AND link_id = $2;

-- cancel --
-- Take a link back.
UPDATE links SET cancelled_at = $3, cancelled_by = $4 WHERE merchant_id = $1 AND link_id = $2 AND cancelled_at IS NULL;

-- note_paid --
-- Remember what was seen: these links ($2) were paid at ($3) by these payments ($4).
UPDATE links l SET paid_at = r.paid_at, payment_id = r.payment_id
FROM unnest($2::bigint[], $3::timestamptz[], $4::bigint[]) AS r (link_id, paid_at, payment_id)
WHERE l.merchant_id = $1 AND l.link_id = r.link_id AND l.paid_at IS NULL;

-- ask --
-- Ask for messages about links of one merchant.
INSERT INTO messages (merchant_id, message_id, link_id, medium, recipient, asked_at, deadline_at)
SELECT $1::integer, r.message_id, r.link_id, r.medium, r.recipient, $2::timestamptz, r.deadline_at
FROM unnest($3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::timestamptz[]) AS r (message_id, link_id, medium, recipient, deadline_at);

-- messages_of --
-- What was asked to be sent about a link, oldest first.
SELECT message_id, medium, recipient, asked_at, state, note, ended_at FROM messages
WHERE merchant_id = $1 AND link_id = $2 ORDER BY asked_at, message_id;

-- message --
-- One message.
SELECT merchant_id, message_id, link_id, medium, recipient, asked_at, deadline_at, state FROM messages WHERE merchant_id = $1 AND message_id = $2;

-- ended --
-- Say how a message ended, once.
UPDATE messages SET state = $3, note = $4, ended_at = $5 WHERE merchant_id = $1 AND message_id = $2 AND state = 'waiting' RETURNING true;

-- noted --
-- What the last try met.
UPDATE messages SET note = $3 WHERE merchant_id = $1 AND message_id = $2 AND state = 'waiting';

-- waiting --
-- Whether any message of a medium waits to be sent.
SELECT EXISTS (SELECT FROM merchants m JOIN messages s ON s.merchant_id = m.merchant_id AND s.state = 'waiting' AND s.medium = $1);

-- put --
-- Put a message into the sandbox's inbox.
INSERT INTO inbox (merchant_id, message_id, medium, recipient, sender, subject, body, html, received_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING;

-- inbox --
-- The newest of what lies in the inbox, of one merchant ($1) or of all.
SELECT b.merchant_id, m.identifier, b.message_id, b.medium, b.recipient, b.sender, b.subject, b.body, b.html, b.received_at
FROM merchants m JOIN inbox b USING (merchant_id)
WHERE $1::text IS NULL OR m.identifier = $1
ORDER BY b.message_id DESC LIMIT $2;

-- letter --
-- One of them.
SELECT b.merchant_id, m.identifier, b.message_id, b.medium, b.recipient, b.sender, b.subject, b.body, b.html, b.received_at
FROM merchants m JOIN inbox b USING (merchant_id)
WHERE b.message_id = $1 LIMIT 1;

-- of_payment --
-- The links of a payment's order that still say who their customer is.
SELECT l.link_id FROM operations o
JOIN links l ON l.merchant_id = o.merchant_id AND l.reference = o.reference AND (o.key = l.order_key OR o.key LIKE l.order_key || '#%')
WHERE o.merchant_id = $1 AND o.payment_id = $2 AND o.operation_id = $2
  AND (l.email <> '' OR l.phone <> '' OR l.name <> '' OR l.description <> '');

-- erase_links --
-- Take that from these links ($2), and from what was sent about them.
WITH said AS (
    UPDATE messages SET recipient = '' WHERE merchant_id = $1 AND link_id = ANY($2::bigint[]) RETURNING message_id
), arrived AS (
    DELETE FROM inbox i USING said s WHERE i.merchant_id = $1 AND i.message_id = s.message_id
)
UPDATE links SET email = '', phone = '', name = '', description = '' WHERE merchant_id = $1 AND link_id = ANY($2::bigint[]);

-- count_personal --
-- How many links were made by $2 and still say who their customer is; what may still be paid is left alone.
SELECT count(*) FROM links
WHERE merchant_id = $1 AND created_at <= $2 AND expires_at <= $2 AND (email <> '' OR phone <> '' OR name <> '' OR description <> '');

-- erase_personal --
-- Take that from the next of them, and from what was sent about them.
WITH batch AS (
    SELECT merchant_id, link_id FROM links
    WHERE merchant_id = $1 AND created_at <= $2 AND expires_at <= $2 AND (email <> '' OR phone <> '' OR name <> '' OR description <> '')
    ORDER BY link_id LIMIT $3
    FOR UPDATE SKIP LOCKED
), said AS (
    UPDATE messages s SET recipient = '' FROM batch b WHERE s.merchant_id = b.merchant_id AND s.link_id = b.link_id
    RETURNING s.merchant_id, s.message_id
), arrived AS (
    DELETE FROM inbox i USING said s WHERE i.merchant_id = s.merchant_id AND i.message_id = s.message_id
)
UPDATE links l SET email = '', phone = '', name = '', description = '' FROM batch b WHERE (l.merchant_id, l.link_id) = (b.merchant_id, b.link_id);
