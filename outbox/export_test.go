package outbox

// Statements, for the tests of their plans.
var (
	PlanByIndex = planByIndex
	Fetch16     = fetchPostgres(16)
	Mark        = markPostgres
	RemoveRows  = removePostgres
	Unstored    = unstoredPostgres
	Republish   = republishPostgres
	Oldest      = oldestPostgres
)

// VacuumRows is how many rows are removed before a vacuum.
const VacuumRows = vacuumRows

// Unmarked is how many rows are published and, as far as the relay knows, not marked.
func (r *Relay) Unmarked() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.unmarked.rows
}
