-- +goose Up

-- Nothing changes here. Both services carry the same numbers, so that a step back takes back one release in each.
SELECT 1;

-- +goose Down
SELECT 1;
