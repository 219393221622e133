-- What comes in bulk is written in fewer words: rows that say the same in most columns travel as what they share, once, and as what is
-- their own; and which operations the rows of a batch file are is one row for each commit that took some.

-- What is an operation's own among first operations of one sort; see payments.claim_alike.
CREATE TYPE own_operation AS (
    payment_id    bigint,
    minor         bigint,
    reference     text,
    key           text,
    content       bytea,
    details       bytea,
    card_id       bigint,
    token_name    text,
    token_version integer
);

-- What is its own of a purchase that was approved whole; see payments.finish_alike.
CREATE TYPE own_purchase AS (
    payment_id          bigint,
    minor               bigint,
    approval_code       text,
    scheme_reference    text,
    processor_reference text
);

-- Which operations the lines are that one commit took, stored in that commit; or the code a line was refused with, and then nothing was
-- asked.  All arrays are as long as lines; operation_ids is null where every operation began its payment, codes where every line has one.
CREATE TABLE batch_taken (
    merchant_id   integer     NOT NULL,
    batch_id      bigint      NOT NULL,
    first_line    integer     NOT NULL,
    last_line     integer     NOT NULL,
    lines         integer[]   NOT NULL,
    payment_ids   bigint[]    NOT NULL,
    operation_ids bigint[],
    codes         text[],
    card_numbers  text[]      NOT NULL,                         -- masked
    expiry_dates  text[]      NOT NULL,
    PRIMARY KEY (merchant_id, batch_id, first_line)
);
-- Packing them costs more than the room they take.
ALTER TABLE batch_taken
    ALTER lines SET STORAGE EXTERNAL, ALTER payment_ids SET STORAGE EXTERNAL, ALTER operation_ids SET STORAGE EXTERNAL,
    ALTER codes SET STORAGE EXTERNAL, ALTER card_numbers SET STORAGE EXTERNAL, ALTER expiry_dates SET STORAGE EXTERNAL;
INSERT INTO batch_taken
SELECT merchant_id, batch_id, min(line), max(line), array_agg(line ORDER BY line), array_agg(payment_id ORDER BY line),
       array_agg(operation_id ORDER BY line), array_agg(code ORDER BY line), array_agg(card_number ORDER BY line),
       array_agg(expiry_date ORDER BY line)
FROM batch_results GROUP BY merchant_id, batch_id, line / 1000;
DROP TABLE batch_results;
