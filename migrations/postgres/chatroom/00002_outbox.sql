-- +goose Up

-- Events on their way to the persister. A row stays until the persister has announced it stored; published_at only
-- keeps it from being sent again at once. (key, seq) is the order that counts: identity values become visible out of
-- order and serve as a hint of age only.
-- The table lives by insert, one update and a delete, so autovacuum looks at it by number of rows, not by share.
CREATE TABLE chatroom.outbox (
    shard        smallint NOT NULL CHECK (shard >= 0),
    id           bigint GENERATED ALWAYS AS IDENTITY,
    key          text COLLATE "C" NOT NULL CHECK (key <> ''),
    seq          bigint NOT NULL CHECK (seq > 0),
    payload      bytea NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    published_at timestamptz,
    attempts     integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    PRIMARY KEY (key, seq)
) WITH (
    fillfactor = 85,
    autovacuum_vacuum_threshold = 10000, autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_vacuum_insert_threshold = 100000, autovacuum_vacuum_insert_scale_factor = 0.1,
    autovacuum_analyze_threshold = 10000, autovacuum_analyze_scale_factor = 0.05
);

-- What the relay fetches. The sweep walks the primary key instead: an index on published rows would be paid for on each.
CREATE INDEX outbox_unpublished ON chatroom.outbox (shard, id) WHERE published_at IS NULL;

-- Which of several chat rooms relays a shard. expires_at is judged by the database's clock alone.
CREATE TABLE chatroom.outbox_leases (
    shard      smallint PRIMARY KEY CHECK (shard >= 0),
    owner      text NOT NULL CHECK (owner <> ''),
    expires_at timestamptz NOT NULL
) WITH (fillfactor = 50);

-- +goose Down
DROP TABLE chatroom.outbox_leases;
DROP TABLE chatroom.outbox;
