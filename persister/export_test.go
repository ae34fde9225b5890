package persister

// Statements whose plans a test looks at, as PREPARE takes them, with arguments.
var Statements = []struct{ Name, Types, SQL, Args string }{
	{"insert", "text[], text[], text[], text[], text[], bigint[], timestamptz[]", insertSQL,
		`ARRAY[''], ARRAY['id'], ARRAY['ann'], ARRAY['long'], ARRAY['message'], ARRAY[1::bigint], ARRAY[now()]`},
	{"insert new", "text[], text[], text[], text[], text[], bigint[], timestamptz[]", insertNewSQL,
		`ARRAY[''], ARRAY['id'], ARRAY['ann'], ARRAY['long'], ARRAY['message'], ARRAY[0::bigint], ARRAY[now()]`},
	{"stored", "text[], bigint[]", storedSQL, `array_fill('long'::text, ARRAY[1024]), array_fill(7::bigint, ARRAY[1024])`},
	{"advance", "text[], bigint[], bigint, bigint[], bigint[]", advanceSQL,
		`ARRAY['long', 'room7', 'nobody'], ARRAY[0::bigint, 0, 0], 10000, ARRAY[1::bigint, 0, 0], ARRAY[7::bigint, 0, 0]`},
	{"mark", "text", markSQL, `'long'`},
	{"page forward", "text, bigint, bigint, bigint", pageForwardSQL, `'long', 50000, 51000, 1048576`},
	{"page backward", "text, bigint, bigint, bigint", pageBackwardSQL, `'long', 50000, 51000, 1048576`},
}
