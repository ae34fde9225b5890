-- +goose Up

-- How far each room is stored without a gap. It is moved up lazily, and is never above the truth.
CREATE TABLE persister.watermarks (
    room text COLLATE "C" PRIMARY KEY CHECK (room <> ''),
    seq  bigint NOT NULL CHECK (seq >= 0)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);

-- +goose Down
DROP TABLE persister.watermarks;
