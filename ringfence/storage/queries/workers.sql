-- lease_number --
-- Take the lowest worker number that nobody holds; nothing is returned when all are held, or when another took it this moment.
INSERT INTO workers (number, owner, leased_until)
SELECT free, $1::text, now() + make_interval(secs => $3::float8)
FROM generate_series(0, $2::int - 1) AS free
WHERE NOT EXISTS (SELECT FROM workers w WHERE w.number = free AND w.leased_until > now())
ORDER BY free LIMIT 1
ON CONFLICT (number) DO UPDATE SET owner = excluded.owner, leased_until = excluded.leased_until
WHERE workers.leased_until <= now()
RETURNING number;

-- renew_lease --
-- Hold a number for longer; nothing is returned when it is another's by now.
UPDATE workers SET leased_until = now() + make_interval(secs => $3::float8)
WHERE number = $1::int AND owner = $2::text RETURNING number;

-- give_back --
-- Free a number at once.
DELETE FROM workers WHERE number = $1::int AND owner = $2::text;

-- highest_id --
-- The highest id of the whole installation, whatever was made under it: an operation, a card, a batch, a fact from
-- outside, a payment link, a message about one.
SELECT greatest(
    (SELECT coalesce(max(operation_id), 0) FROM operations), (SELECT coalesce(max(card_id), 0) FROM cards),
    (SELECT coalesce(max(batch_id), 0) FROM batches), (SELECT coalesce(max(operation_id), 0) FROM notices),
    (SELECT coalesce(max(link_id), 0) FROM links), (SELECT coalesce(max(message_id), 0) FROM messages));

-- names --
-- The names of all tokens, of cards and of devices.
SELECT token_name FROM tokens UNION ALL SELECT sdk_token FROM sdk_tokens;
