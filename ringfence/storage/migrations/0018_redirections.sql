-- Payers who are sent somewhere before anybody is asked for money: one row for each, by what it is for.

CREATE TABLE redirections (
    merchant_id  integer     NOT NULL,
    subject      bigint      NOT NULL,                -- the payment's id, or that of an agreement that nothing is charged with
    payment_id   bigint      NOT NULL,                -- the payment, 0 for none
    agreement_id bigint      NOT NULL,                -- what the payer agrees to with it, 0 for nothing
    method       text        NOT NULL,                -- AMAZON_PAY, MOCK
    ways         text        NOT NULL,                -- how he may act, separated by commas
    kind         text        NOT NULL,                -- what is asked for behind it: authorization, purchase; '' for nothing
    minor        bigint      NOT NULL,
    currency     text        NOT NULL,
    recurrence   text        NOT NULL,                -- what is agreed to: unit, number and minor units by colons; '' for nothing
    language     text        NOT NULL,
    leave_url    text        NOT NULL,                -- where the browser goes behind it, where no payment says so
    session      text        NOT NULL,                -- the other side's session, '' until a browser brought one
    made_at      timestamptz NOT NULL,                -- business time
    due_at       timestamptz NOT NULL,                -- business time: the payer must have acted by then
    ended_at     timestamptz,                         -- business time
    why          text        NOT NULL,                -- how it ended: approved, else the reason that nobody was asked; '' before
    claim        text,                                -- names whoever carries on behind its end
    claim_until  timestamptz,                         -- wall time: without a payment, behind which its sweep looks after the claim
    PRIMARY KEY (merchant_id, subject)
);
