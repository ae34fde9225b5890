package persister

// advanceOverHolesSQL is the bug of a mark that takes the highest stored seq for the end of an unbroken run, for the mutant
// mark-over-holes; an ordinary build does not use it.
const advanceOverHolesSQL = `
SELECT t.room, t.mark, t.mark, coalesce((
	SELECT max(m.seq) - t.mark FROM persister.messages m WHERE m.room = t.room AND m.seq > t.mark AND $3::bigint > 0
), 0)
FROM (
	SELECT u.room, greatest(u.known, (SELECT w.seq FROM persister.watermarks w WHERE w.room = u.room)) AS mark
	FROM unnest($1::text[], $2::bigint[], $4::bigint[], $5::bigint[]) AS u (room, known, first, last)
) t`
