-- Tokens as the documents promise: made in a payment's flow, and one for a card where the merchant wants it so.

-- A token made by a tokenization is temporary until a payment with it succeeds; null for one that is there to stay.
ALTER TABLE tokens ADD COLUMN temporary_until timestamptz;         -- business time
CREATE INDEX tokens_temporary ON tokens (merchant_id, temporary_until) WHERE temporary_until IS NOT NULL AND active;

-- What a tokenization left for the payment that follows with the same reference and token.  The security code itself is in no
-- table: this says only that one was posted.
CREATE TABLE tokenizations (
    merchant_id      integer     NOT NULL,
    reference        text        NOT NULL,
    token_name       text        NOT NULL,
    tokenization_id  bigint      NOT NULL,              -- a new one each time: under it a security code waits
    card_id          bigint      NOT NULL,
    expiry           text        NOT NULL,              -- YYMM
    holder           text        NOT NULL,
    code_waits       boolean     NOT NULL,
    remembers        boolean     NOT NULL,              -- the payer does not mind that the card is kept
    return_url       text        NOT NULL,
    created_at       timestamptz NOT NULL,              -- business time
    PRIMARY KEY (merchant_id, reference, token_name)
);
CREATE INDEX tokenizations_token ON tokenizations (merchant_id, token_name);
CREATE INDEX tokenizations_created ON tokenizations (merchant_id, created_at);

-- Cards that were presented where a token stood for them already, and tokens that got another card.  Append only.
CREATE TABLE token_events (
    merchant_id   integer     NOT NULL,
    event_id      bigint      GENERATED ALWAYS AS IDENTITY,
    token_name    text        NOT NULL,
    card_id       bigint      NOT NULL,
    event         text        NOT NULL,                 -- found: by its card; updated: by its name
    source        text        NOT NULL,                 -- who presented the card
    reference     text        NOT NULL,
    created_at    timestamptz NOT NULL,                 -- business time
    PRIMARY KEY (merchant_id, event_id)
);
