-- +goose Up

-- How far each room is stored without a gap. It is moved up lazily, and is never above the truth.
CREATE TABLE watermarks (
    room TEXT NOT NULL PRIMARY KEY CHECK (room <> ''),
    seq  INTEGER NOT NULL CHECK (seq >= 0)
) STRICT, WITHOUT ROWID;

-- +goose Down
DROP TABLE watermarks;
