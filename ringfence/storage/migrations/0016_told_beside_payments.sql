-- What merchants are told beside the events of payments: of agreements, instruments, disputes, money and reports.

-- Written in the commit that it tells of; handed to the merchant's address a moment later, by whoever follows.
CREATE TABLE door_events (
    merchant_id   integer     NOT NULL,
    door          text        NOT NULL,               -- in whose words it is told
    subject_id    bigint      NOT NULL,               -- what it is about; of a chargeback the payment
    sequence      integer     NOT NULL,               -- from 1, without a gap
    kind          text        NOT NULL,               -- what kind of thing that is, as the door names such things: agr, instr, dispute, ...
    type          text        NOT NULL,               -- what happened, in the door's word
    data          bytea,                              -- what is told of it, as it was then (JSON); erased after a while
    webhooks_url  text        NOT NULL,               -- the address that it has of its own, '' for the account's
    occurred_at   timestamptz NOT NULL,               -- business time
    written_at    timestamptz NOT NULL DEFAULT clock_timestamp(),   -- wall time
    is_handed     boolean     NOT NULL DEFAULT false,
    PRIMARY KEY (merchant_id, door, subject_id, sequence)
);
CREATE INDEX door_events_waiting ON door_events (written_at) WHERE NOT is_handed;
CREATE INDEX door_events_written ON door_events (merchant_id, written_at);

-- What is told of disputes is handed out from there.
ALTER TABLE dispute_events DROP COLUMN handed_at;
