package outbox

// Statements, for the tests of their plans.
var (
	PlanByIndex = planByIndex
	Fetch16     = fetchPostgres(16)
	Mark        = markPostgres
	RemoveRows  = removePostgres
	Unstored    = unstoredPostgres
	Republish   = republishPostgres
)
