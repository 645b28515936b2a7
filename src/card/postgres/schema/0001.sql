-- The tables of the first version. Numbers without a sign are stored bit by bit as those with one.

-- One row a card. Columns with an index never change in a commit, so that its updates stay within their page; the free
-- part of a page is for them. `body` is the record as `card::codec` writes it; `version` is the one that counts.
CREATE TABLE card (
    pan_hash bytea NOT NULL,
    sequence int2 NOT NULL,
    version int8 NOT NULL,
    card_id text COLLATE "C",
    pan_token text COLLATE "C",
    payment_instrument text COLLATE "C",
    body bytea NOT NULL,
    PRIMARY KEY (pan_hash, sequence)
) WITH (fillfactor = 75);
CREATE UNIQUE INDEX card_card_id ON card (card_id) WHERE card_id IS NOT NULL;
CREATE UNIQUE INDEX card_pan_token ON card (pan_token) WHERE pan_token IS NOT NULL;
CREATE UNIQUE INDEX card_payment_instrument ON card (payment_instrument) WHERE payment_instrument IS NOT NULL;

-- The order in which changes were sent, over all nodes: one number a batch, then by position.
CREATE SEQUENCE sending;

-- What became of each key within the retention. Its primary key is what makes one request one change on all nodes.
-- state: 0 answered, 1 sent to a host, 2 refused because a reversal came first. code: 0 approved, else the reason.
-- The last three columns are those of forwarded changes.
CREATE TABLE transaction (
    key bytea PRIMARY KEY,
    fingerprint int8 NOT NULL,
    state int2 NOT NULL,
    code int2 NOT NULL,
    host int4 NOT NULL,
    position int8 NOT NULL,
    at int8 NOT NULL,
    intent int8,
    sent int8,
    pan_hash bytea
) WITH (fillfactor = 90);

-- Every record of every node, back to back with its MAC. position: 10^13 times the node, and its own number.
CREATE TABLE journal (
    position int8 PRIMARY KEY,
    at int8 NOT NULL,
    record bytea NOT NULL
);

-- Forwarded changes whose end is not known. While `in_flight_until` is ahead, the node that sent one answers for it.
CREATE TABLE unsettled (
    key bytea PRIMARY KEY,
    sent int8 NOT NULL,
    host int4 NOT NULL,
    pan_hash bytea,
    position int8 NOT NULL,
    node int2 NOT NULL,
    epoch int8 NOT NULL,
    in_flight_until timestamptz NOT NULL,
    at int8 NOT NULL,
    change bytea NOT NULL
) WITH (fillfactor = 75, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000);
CREATE INDEX unsettled_sent ON unsettled (sent, position);
CREATE INDEX unsettled_card ON unsettled (pan_hash);

-- The newest record of each node and the one before its oldest. The row's lock is what one node's writers meet at.
CREATE TABLE chain (
    node int2 PRIMARY KEY,
    epoch int8 NOT NULL,
    position int8 NOT NULL,
    mac bytea NOT NULL,
    anchor int8 NOT NULL,
    anchor_mac bytea NOT NULL,
    stan int4
) WITH (fillfactor = 10);

-- Who sends the reversals of which hosts. Times are the database's.
CREATE TABLE lease (
    first int4 NOT NULL,
    last int4 NOT NULL,
    node int2 NOT NULL,
    epoch int8 NOT NULL,
    until timestamptz NOT NULL,
    PRIMARY KEY (first, last)
) WITH (fillfactor = 10);

-- Facts: which keys the store was made with.
CREATE TABLE meta (
    name text PRIMARY KEY,
    value bytea NOT NULL
);
