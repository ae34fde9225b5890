package store

// FreshSQL is the statement that accepts what is taken for new, for the test of its plan, with its parameters as PREPARE takes
// them, and arguments.
var (
	FreshSQL   = freshSQL
	FreshTypes = "bytea[], bytea[], bytea[], text[], bytea[], text[], bigint[], text[], text[], bigint[], bigint[], timestamptz[], smallint[], text[], bigint[], bigint[]"
	FreshArgs  = `ARRAY[''::bytea], ARRAY[''::bytea], ARRAY[''::bytea], ARRAY['id'], ARRAY[sha256('')], ARRAY['room1', 'room2'], ARRAY[1::bigint, 0],
		ARRAY['ann'], ARRAY['room1'], ARRAY[1::bigint], ARRAY[1::bigint], ARRAY[now()], ARRAY[1::smallint], ARRAY['room1'], ARRAY[1::bigint], ARRAY[1::bigint]`
)
