-- +goose Up

-- Nothing changes here: RabbitMQ keeps the dead letters, and keeping them must not hang on this database. SQLite, where no
-- broker runs, has a table for them.
SELECT 1;

-- +goose Down
SELECT 1;
